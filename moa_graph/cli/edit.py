"""`moa edit`: change, drop or add a proposal before the next step sees it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, Json, KeyEnv, ThreadId
from moa_graph.cli.place import place_of
from moa_graph.cli.proposals import error_of
from moa_graph.cli.store import with_runs
from moa_graph.cli.text import one_line, plain, to_json
from moa_graph.errors import MoAError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moa_graph.runs.run import Run
    from moa_graph.state import Proposal

__all__ = ["edit"]


def edit(
    command: typer.Context,
    thread: ThreadId,
    proposal: Annotated[str, typer.Argument(metavar="PROPOSAL", help="Its id: LAYER/NAME.")],
    *,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="What it says from now on.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Read the text from FILE; - is stdin.")
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Take it out: the next step does not see it.")] = False,
    add: Annotated[bool, typer.Option("--add", help="Add a proposal of your own under this id.")] = False,
    who: Annotated[
        str | None, typer.Option("--who", metavar="NAME", help="Who edits; you, where nobody is named.")
    ] = None,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    as_json: Json = False,
) -> None:
    """Change, drop or add a proposal that no later step has seen.

    What was there stays in the history, and who changed it is noted. On a terminal, without --text,
    --file and --drop, the text is opened in $VISUAL or $EDITOR.
    """
    if (text is not None) + (file is not None) + drop > 1:
        raise typer.BadParameter("use one of --text, --file and --drop", param_hint="--text")
    if add and drop:
        raise typer.BadParameter("use either --add or --drop", param_hint="--add")
    old = _find(with_runs(db, key_env, lambda runs: runs.show(thread)), proposal)

    def change(text: str | None) -> Run:
        return with_runs(
            db, key_env, lambda runs: runs.edit(thread, proposal, text=text, drop=drop, add=add, who=who)
        )

    if text is None and file is None and not drop:
        run = _change_in_editor(change, old, proposal, add=add)
    else:
        run = change(text if file is None else _read(file))
    if run is None:
        typer.echo("nothing is changed", err=True)
    elif as_json:
        typer.echo(to_json(run.plain()))
    else:
        typer.echo("\n".join(_changed(proposal, old, _find(run, proposal))))
        typer.echo(f"go on: {place_of(command, thread, db, key_env).command('resume')}", err=True)


def _changed(id_: str, old: Proposal | None, new: Proposal | None) -> Iterator[str]:
    from moa_graph.cli.differences import differing  # noqa: PLC0415 -- difflib and the graph cost start-up time

    if old is None or new is None:
        yield f"{one_line(id_)}: added"
    elif new["status"] == "dropped":
        yield f"{one_line(id_)}: dropped"
    elif old["status"] != "ok":
        yield f"{one_line(id_)}: edited; it was {error_of(old)}"
        yield plain(new["text"])
    else:
        yield f"{one_line(id_)}: edited"
        yield differing(old["text"], new["text"])


def _find(run: Run, id_: str) -> Proposal | None:
    return next((record for record in run.proposals if record["id"] == id_), None)


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror or error if isinstance(error, OSError) else "not UTF-8 text"
        raise typer.BadParameter(f"{file}: {problem}", param_hint="--file") from error


def _change_in_editor(
    change: Callable[[str], Run], old: Proposal | None, id_: str, *, add: bool
) -> Run | None:
    """Let the user write the text; return None if it was left as it is. What was written is never lost."""
    from moa_graph.cli.editor import write_in_editor  # noqa: PLC0415 -- needed without options only

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise typer.BadParameter("say what: --text, --file or --drop", param_hint="--text")
    if old is None and not add:
        raise MoAError(f"there is no proposal {id_!r}", hint="One of your own is added with --add.")
    before = old["text"] if old is not None else ""
    text, path = write_in_editor(before)
    try:
        run = change(text) if text != before else None
    except MoAError:
        typer.echo(f"what you wrote is in {path}", err=True)
        raise
    path.unlink()
    return run
