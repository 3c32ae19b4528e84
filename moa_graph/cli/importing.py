"""`moa import`: a thread from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, KeyEnv
from moa_graph.cli.store import with_runs

__all__ = ["import_"]


def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What `moa export` wrote; - reads it from stdin.")
    ],
    *,
    to: Annotated[
        str | None,
        typer.Option("--as", metavar="ID", help="The new thread's id, by default the one in FILE."),
    ] = None,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
) -> None:
    """Make a thread of an exported one; no model is called.

    The new thread's id goes to stdout. It belongs to the spec that is in the file: look at that before you
    resume a stranger's thread, for it says which servers are asked.
    """
    # Imported here because `moa --help` must not wait for the graph.
    from moa_graph.cli.text import plain  # noqa: PLC0415 -- see above
    from moa_graph.runs.reading import MAX_BYTES  # noqa: PLC0415 -- see above

    content = _read(file, MAX_BYTES + 1)
    shown = "<stdin>" if file == "-" else file
    run = with_runs(db, key_env, lambda runs: runs.import_(content, to=to, file=shown), create=True)
    typer.echo(plain(run.thread))
    standing = f"{run.status}: {run.reason}" if run.reason else run.status
    typer.echo(plain(f"imported; {standing}"), err=True)


def _read(file: str, limit: int) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(limit)
    try:
        with Path(file).open("rb") as stream:
            return stream.read(limit)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no usable path"
        raise typer.BadParameter(f"{file}: {reason}", param_hint="FILE") from error
