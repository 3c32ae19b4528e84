"""`moa history`: what happened in a thread."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, Json, KeyEnv, ThreadId
from moa_graph.cli.store import with_runs
from moa_graph.cli.tables import columns, family, local_time
from moa_graph.cli.text import dollars, one_line, to_json
from moa_graph.errors import StoreError, ThreadError
from moa_graph.runs.commands import thread_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moa_graph.runs.history import Checkpoint
    from moa_graph.runs.records import Origin
    from moa_graph.runs.summaries import Summary
    from moa_graph.runs.threads import Runs

__all__ = ["history"]

_HEAD = ("#", "time", "event", "next", "ok", "failed", "calls", "cost")


@dataclass(frozen=True)
class _Past:
    """Hold a thread's checkpoints, where it comes from, and its forks, each with depth and checkpoint."""

    thread: str
    checkpoints: list[Checkpoint]
    origin: Origin | None
    origin_number: int | None
    forks: list[tuple[int, Summary, int | None]]


def history(thread: ThreadId, *, db: Db = DEFAULT_DB, key_env: KeyEnv = None, as_json: Json = False) -> None:
    """Show what happened in a thread, checkpoint by checkpoint.

    Their numbers serve `moa show --checkpoint` and `moa fork --checkpoint`. Calls and cost are those of the
    turn's proposals so far. Below are the forks of the thread.
    """
    past = with_runs(db, key_env, lambda runs: _look(runs, thread))
    typer.echo(to_json(_record(past)) if as_json else "\n".join(_lines(past)))


async def _look(runs: Runs, thread: str) -> _Past:
    checkpoints = await runs.history(thread)
    origin = (await runs.record(thread)).origin
    forks = [
        (depth, summary, await _number(runs, summary.thread))
        for depth, summary in family(await runs.threads(), thread)
    ]
    return _Past(thread, checkpoints, origin, await _number(runs, thread), forks)


async def _number(runs: Runs, fork: str) -> int | None:
    """Return the number of the checkpoint that a fork was taken from; None where it cannot be seen."""
    try:
        origin = (await runs.record(fork)).origin
        found = await runs.history(origin.thread) if origin else []
    except (ThreadError, StoreError):  # the origin is deleted, or one of them is unreadable
        return None
    return next((each.number for each in found if origin and each.id == origin.checkpoint), None)


def _record(past: _Past) -> dict[str, Any]:
    return {
        "thread": past.thread,
        "origin": {**past.origin.model_dump(), "number": past.origin_number} if past.origin else None,
        "checkpoints": [asdict(checkpoint) for checkpoint in past.checkpoints],
        "forks": [{**asdict(summary), "number": number} for _, summary, number in past.forks],
    }


def _lines(past: _Past) -> Iterator[str]:
    if past.origin:
        place = ", which is gone" if past.origin_number is None else f" at {past.origin_number}"
        yield f"{_name(past.thread)}: fork of {_name(past.origin.thread)}{place}"
    yield from _table(past.checkpoints)
    for depth, summary, number in past.forks:
        place = f" at {number}" if number is not None else ""
        yield f"{'  ' * depth}fork{place}: {_name(summary.thread)} ({summary.status})"


def _table(checkpoints: Sequence[Checkpoint]) -> Iterator[str]:
    """Yield a line for each checkpoint, and one before each turn."""
    head, *lines = columns([_HEAD, *map(_row, checkpoints)], right={0, 4, 5, 6, 7})
    yield head
    turns: list[str] = []
    for line, checkpoint in zip(lines, checkpoints, strict=True):
        if checkpoint.turn not in turns:
            turns.append(checkpoint.turn)
            yield f"── turn {len(turns)}: {one_line(checkpoint.question, 100)}"
        yield line


def _row(checkpoint: Checkpoint) -> tuple[str, ...]:
    by = f" by {one_line(checkpoint.by)}" if checkpoint.by else ""
    return (
        str(checkpoint.number),
        local_time(checkpoint.when),
        one_line(checkpoint.event) + by,
        checkpoint.next_layer or "–",
        str(checkpoint.ok),
        str(checkpoint.failed),
        str(checkpoint.calls),
        dollars(checkpoint.cost),
    )


def _name(thread: str) -> str:
    return thread_name(thread)
