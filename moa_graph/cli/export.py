"""`moa export`: a thread as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, KeyEnv, ThreadId
from moa_graph.cli.store import with_runs

__all__ = ["export"]


def export(
    thread: ThreadId,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to FILE, of mode 0600."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    without_texts: Annotated[
        bool,
        typer.Option(
            "--without-texts",
            help="Write lengths in the place of questions, proposals and answers; nobody can import that.",
        ),
    ] = False,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
) -> None:
    """Write a thread as JSON lines: its questions, proposals, edits and answers, one event a line.

    Without -o it goes to stdout. Keys, and the names of this machine and of the store, are taken out; texts
    and the spec are in it. A file is written whole or not at all.
    """
    # Imported here because `moa --help` must not wait for the graph.
    from moa_graph.cli.files import write_whole  # noqa: PLC0415 -- see above
    from moa_graph.runs.portable import dump_line  # noqa: PLC0415 -- see above

    lines = with_runs(db, key_env, lambda runs: runs.export(thread, texts=not without_texts))
    content = "".join(map(dump_line, lines)).encode()
    if output is None:
        typer.echo(content, nl=False)
        return
    try:
        write_whole(output, content, force=force)
    except FileExistsError as error:
        raise typer.BadParameter(
            f"{output} is there already; --force replaces it", param_hint="-o"
        ) from error
    except OSError as error:
        raise typer.BadParameter(f"{output}: {error.strerror or error}", param_hint="-o") from error
    typer.echo(f"wrote {output}: {len(lines)} lines", err=True)
