"""`moa fork`: a new thread that goes on from another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, Json, KeyEnv, ThreadId
from moa_graph.cli.place import place_of
from moa_graph.cli.proposals import left
from moa_graph.cli.store import with_runs
from moa_graph.cli.text import count, one_line, to_json
from moa_graph.runs.commands import thread_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moa_graph.cli.place import Place
    from moa_graph.runs.run import Run

__all__ = ["fork"]


def fork(
    command: typer.Context,
    thread: ThreadId,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ID", help="The new thread; THREAD~1 where none is named.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="N", help="Go on from there; see `moa history`."),
    ] = None,
    before: Annotated[
        str | None, typer.Option("--before", metavar="STEP", help="Go on before a layer or the aggregator.")
    ] = None,
    spec: Annotated[
        str | None, typer.Option("--spec", metavar="FILE", help="Go on under another spec.")
    ] = None,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    as_json: Json = False,
) -> None:
    """Make a new thread that goes on from another one; call nothing.

    The new thread's id alone goes to stdout. What is still valid under its spec is re-used; stderr says how
    much that is, and what the rest takes. The other thread stays as it is.
    """
    if checkpoint is not None and before is not None:
        raise typer.BadParameter("use either --checkpoint or --before", param_hint="--before")
    changed = None
    if spec is not None:
        from moa_graph.spec.loading import load_spec  # noqa: PLC0415 -- pydantic costs start-up time

        changed = load_spec(spec)
    run = with_runs(
        db,
        key_env,
        lambda runs: runs.fork(thread, to=to, checkpoint=checkpoint, before=before, spec=changed),
    )
    typer.echo(to_json(run.plain()) if as_json else thread_name(run.thread))
    if not as_json:
        for line in _prospect(run, place_of(command, run.thread, db, key_env)):
            typer.echo(line, err=True)


def _prospect(run: Run, place: Place) -> Iterator[str]:
    answer = " and the answer" if run.answer is not None else ""
    yield f"re-used: {count(len(run.proposals), 'proposal')}{answer}"
    yield from (f"  {one_line(proposal['id'])}" for proposal in run.proposals)
    yield f"left: {left(run)}"
    name, what = ("show", "see it") if run.answer is not None else ("resume", "go on")
    yield f"{what}: {place.command(name)}"
