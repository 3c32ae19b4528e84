"""What commands share: their options, and the arguments that name threads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moa_graph.cli.store import DEFAULT_DB, complete_thread

__all__ = [
    "DEFAULT_DB",
    "Breakpoint",
    "Db",
    "Json",
    "KeyEnv",
    "PinnedSpec",
    "Quiet",
    "Record",
    "ShowProposals",
    "Stream",
    "ThreadId",
    "Wait",
    "check_options",
]

Db = Annotated[
    str,
    typer.Option(
        "--db",
        metavar="URL",
        envvar="MOA_DB",
        help="Where threads are kept: sqlite:///PATH or postgresql://…",
    ),
]
KeyEnv = Annotated[
    str | None,
    typer.Option(
        "--key-env",
        metavar="NAME",
        envvar="MOA_KEY_ENV",
        help="The variable with the key that the store is encrypted with.",
    ),
]
ThreadId = Annotated[
    str, typer.Argument(metavar="THREAD", help="The thread.", autocompletion=complete_thread)
]
Stream = Annotated[bool, typer.Option("--stream", help="Write the answer as it comes.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object, also on failure.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Write nothing but errors to stderr.")]
ShowProposals = Annotated[bool, typer.Option("--show-proposals", help="Write every proposal to stderr, too.")]
Record = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Append the models' answers to FILE, for slots replay:FILE."),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="While somebody else runs the thread, wait instead of giving up.")
]
Breakpoint = Annotated[
    list[str] | None,
    typer.Option(
        "--breakpoint",
        metavar="STEP",
        help="Stop before STEP: a layer, aggregator, or all for each of them. Repeatable.",
    ),
]
PinnedSpec = Annotated[
    str | None,
    typer.Option(
        "--spec", metavar="FILE", help="Go on only if this is the spec that the thread was made by."
    ),
]


def check_options(*, stream: bool, as_json: bool, quiet: bool, show_proposals: bool) -> None:
    """Raise typer.BadParameter for options that contradict each other."""
    if stream and as_json:
        raise typer.BadParameter("use either --stream or --json", param_hint="--stream")
    if quiet and show_proposals:
        raise typer.BadParameter("use either --quiet or --show-proposals", param_hint="--quiet")
