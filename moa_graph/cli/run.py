"""`moa run`: answer a question by a spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["run"]


def run(
    command: typer.Context,
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="The spec file.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question; - reads it from stdin.")],
    *,
    context: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="A document to put before the question: UTF-8 text or Markdown, up to 2 MB. Repeatable.",
        ),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Write the answer as it comes.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one JSON object with everything, also on failure.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Write nothing but errors to stderr.")] = False,
    show_proposals: Annotated[
        bool, typer.Option("--show-proposals", help="Write every proposal to stderr, too.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append the models' answers to FILE, for slots replay:FILE."),
    ] = None,
) -> None:
    """Answer a question by a spec.

    The answer alone goes to stdout; progress and a summary go to stderr.
    Ctrl-C ends the run and says what it took; a second one ends it at once.
    """
    if command.args:
        raise typer.BadParameter("several words: put the question in quotes", param_hint="QUESTION")
    if stream and as_json:
        raise typer.BadParameter("use either --stream or --json", param_hint="--stream")
    if quiet and show_proposals:
        raise typer.BadParameter("use either --quiet or --show-proposals", param_hint="--quiet")
    # Both are imported here because `moa --help` must not wait for the graph.
    from moa_graph.cli.question import compose, read_documents, read_question  # noqa: PLC0415 -- see above
    from moa_graph.cli.running import Manner, run_spec  # noqa: PLC0415 -- see above

    message = compose(read_question(question), read_documents(context or []))
    run_spec(spec, message, Manner(stream, as_json, quiet, show_proposals, record))
