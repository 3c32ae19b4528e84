"""`moa delete`: take away a thread."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, Json, KeyEnv, ThreadId
from moa_graph.cli.store import with_runs
from moa_graph.cli.tables import family
from moa_graph.cli.text import count, one_line, to_json
from moa_graph.runs.commands import thread_name

if TYPE_CHECKING:
    from moa_graph.runs.summaries import Summary
    from moa_graph.runs.threads import Runs

__all__ = ["delete"]


def delete(
    thread: ThreadId,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    as_json: Json = False,
) -> None:
    """Take away a thread with all its checkpoints.

    Its forks stay: they stand alone. Asks on a terminal; elsewhere --yes is needed.
    """
    summary, forks = with_runs(db, key_env, lambda runs: _look(runs, thread))
    name = thread_name(thread)
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise typer.BadParameter("nobody can be asked here: say that it is meant", param_hint="--yes")
        turns = f"{summary.status}, {count(summary.turns, 'turn')}: {one_line(summary.question, 60)}"
        typer.confirm(f"Delete {name} ({turns})?", abort=True, err=True)
    with_runs(db, key_env, lambda runs: runs.delete(thread))
    if as_json:
        typer.echo(to_json({"deleted": thread, "forks": forks}))
        return
    typer.echo(f"deleted {name}")
    if forks:
        typer.echo(f"its forks stay: {', '.join(thread_name(fork) for fork in forks)}", err=True)


async def _look(runs: Runs, thread: str) -> tuple[Summary, list[str]]:
    """Return a thread's summary and the ids of its forks; raise ThreadError if there is no such thread."""
    found = await runs.threads()
    by_id = {summary.thread: summary for summary in found}
    if thread not in by_id:
        await runs.record(thread)  # says so, and which ids are near
    return by_id[thread], [fork.thread for depth, fork in family(found, thread) if not depth]
