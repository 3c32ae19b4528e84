"""`moa run`: answer a question by a spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moa_graph.cli.options import (
    DEFAULT_DB,
    Breakpoint,
    Db,
    Json,
    KeyEnv,
    Quiet,
    Record,
    ShowProposals,
    Stream,
    Wait,
    check_options,
)
from moa_graph.cli.place import place_of, said
from moa_graph.cli.store import complete_thread
from moa_graph.runs.commands import new_thread

__all__ = ["run"]

_OF_THREADS = ("turn", "breakpoint_", "abandon", "wait", "key_env")
"""Options that mean something in a thread only."""


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
    stream: Stream = False,
    as_json: Json = False,
    quiet: Quiet = False,
    show_proposals: ShowProposals = False,
    record: Record = None,
    thread: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Keep the run in a thread: a new one, or the next question of one that is there.",
            autocompletion=complete_thread,
        ),
    ] = None,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    turn: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Name the question: asked again under its name it costs nothing."),
    ] = None,
    breakpoint_: Breakpoint = None,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give up the thread's last question if it has no answer.")
    ] = False,
    wait: Wait = False,
) -> None:
    """Answer a question by a spec.

    The answer alone goes to stdout; progress and a summary go to stderr.
    Ctrl-C ends the run and says what it took; a second one ends it at once.
    With --thread or --db all that finishes is kept, and moa resume goes on after any end.
    """
    if command.args:
        raise typer.BadParameter("several words: put the question in quotes", param_hint="QUESTION")
    check_options(stream=stream, as_json=as_json, quiet=quiet, show_proposals=show_proposals)
    threaded = thread is not None or said(command, "db")
    lost = next((name for name in _OF_THREADS if said(command, name) and not threaded), None)
    if lost:
        option = f"--{lost.rstrip('_').replace('_', '-')}"
        raise typer.BadParameter("this needs a thread: give --thread or --db", param_hint=option)
    # These are imported here because `moa --help` must not wait for the graph.
    from moa_graph.cli.question import compose, read_documents, read_question  # noqa: PLC0415 -- see above
    from moa_graph.cli.running import run_spec  # noqa: PLC0415 -- see above
    from moa_graph.cli.screen import Manner  # noqa: PLC0415 -- see above

    message = compose(read_question(question), read_documents(context or []))
    manner = Manner(stream, as_json, quiet, show_proposals, record)
    if not threaded:
        run_spec(spec, message, manner)
        return
    from moa_graph.cli.threaded import Asked, ask  # noqa: PLC0415 -- see above

    # An id is made here, so that any end of the run can tell it.
    place = place_of(command, new_thread() if thread is None else thread, db, key_env)
    ask(spec, Asked(message, turn, breakpoint_ or [], abandon), place, manner, wait=wait)
