"""`moa status`: how the last turn of a thread stands."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, Json, KeyEnv, ThreadId
from moa_graph.cli.place import place_of
from moa_graph.cli.proposals import is_needless, left
from moa_graph.cli.store import with_runs
from moa_graph.cli.tables import columns
from moa_graph.cli.text import count, dollars, one_line, reason, seconds, to_json, tokens
from moa_graph.runs.commands import thread_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moa_graph.cli.place import Place
    from moa_graph.runs.run import Run
    from moa_graph.runs.threads import Runs
    from moa_graph.state import Proposal

__all__ = ["status"]

_Widths = dict[str, int]
_NEEDLESS = "not needed"
_STATUSES = ("ok", "failed", "cut", "dropped", _NEEDLESS)


def status(
    command: typer.Context,
    thread: ThreadId,
    *,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    as_json: Json = False,
) -> None:
    """Show how the last turn of a thread stands.

    What is done in each layer, what failed and why, what was paid so far, what is left, and how to go on.
    """

    async def look(runs: Runs) -> tuple[Run, _Widths]:
        spec = (await runs.record(thread)).load_spec()
        return await runs.status(thread), {layer.name: layer.width for layer in spec.layers}

    run, widths = with_runs(db, key_env, look)
    if as_json:
        typer.echo(to_json(run.plain()))
    else:
        typer.echo(
            "\n".join([*_standing(run, widths), *_outlook(run, place_of(command, thread, db, key_env))])
        )


def _standing(run: Run, widths: _Widths) -> Iterator[str]:
    why = f" ({one_line(run.reason, 300)})" if run.reason else ""
    yield f"{thread_name(run.thread)}: {run.status}{why}"
    yield f"question: {one_line(run.question)}"
    yield from columns([*_layers(run, widths), ("  aggregator", _aggregator(run))])
    records = [*run.proposals, *run.aggregators]
    failed = [record for record in records if _state(record) in ("failed", "cut")]
    if failed:
        yield "failed:"
        yield from (f"  {one_line(record['id'])}: {reason(record['failure'])}" for record in failed)


def _state(record: Mapping[str, Any]) -> str:
    return _NEEDLESS if is_needless(cast("Proposal", record)) else str(record["status"])


def _layers(run: Run, widths: _Widths) -> Iterator[tuple[str, str]]:
    enough = False
    for name, width in widths.items():
        if enough:
            yield f"  {name}", _NEEDLESS
            continue
        counts = Counter(_state(record) for record in run.proposals if record["layer"] == name)
        done = ", ".join(f"{counts[each]} {each}" for each in _STATUSES if counts[each]) or "0"
        state = f"{done} of {width}"
        if enough := run.stopped is not None and run.stopped["layer"] == name:
            state += f"; enough: {one_line(run.stopped['reason'])}"
        yield f"  {name}", f"{state}, next" if name == run.next_layer else state


def _aggregator(run: Run) -> str:
    if run.answered_by:
        return f"answered by {one_line(run.answered_by)}"
    return "next" if run.next_layer == "aggregator" else "waits"


def _outlook(run: Run, place: Place) -> Iterator[str]:
    took = f"{count(run.calls, 'call')}, {tokens(run.usage)} tokens, cost {dollars(run.cost)}"
    yield f"paid so far: {took}, {seconds(run.seconds)}"
    yield f"left: {left(run)}"
    if run.status == "answered":
        yield f"see it: {place.command('show')}"
    elif run.status == "running":
        yield "somebody runs it now"
    else:
        yield f"go on: {place.command('resume')}"
        yield f"one step only: {place.command('step')}"
