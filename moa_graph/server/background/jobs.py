"""One turn in the background, from where it stands to its end, and how it stands when nobody runs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moa_graph.errors import MoAError, StoreError, ThreadBusy
from moa_graph.runs.records import QUEUED, RunStatus, ThreadRecord, Turn, key_of, now, read_record
from moa_graph.runs.stores import Store
from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key
from moa_graph.server.performing import Ask, Place
from moa_graph.terms import Terms

if TYPE_CHECKING:
    from moa_graph.server.asking import Served

__all__ = ["Job", "cancelled", "has_ended", "interrupted", "work"]

_LOG = logging.getLogger(__name__)

SOON = 1.0
"""Seconds until the next attempt at what failed for a reason that passes, such as a store that is away."""
LONGEST = 60.0
"""Seconds until the next attempt at most, where a key's limits say longer: they may be raised meanwhile."""
PATIENCE = 10.0
"""Seconds for whoever runs a turn to let go of it."""
_CANCELLED = "cancelled"


@dataclass(frozen=True)
class Job:
    """Say which turn is to be run: of which served spec, in whose name (the id of a key)."""

    model: str
    thread: str
    turn: str
    owner: str


def has_ended(record: ThreadRecord, turn: Turn) -> bool:
    """Tell whether a turn is not to be run any more: it is answered, failed, cancelled or given up."""
    return (
        turn is not record.turn or turn.status in ("answered", "failed") or bool(turn.notes.get(_CANCELLED))
    )


async def work(served: Served, job: Job) -> float | None:
    """Run a turn to its end, whatever that is; return seconds until the next attempt if there must be one."""
    store = served.performer.store
    try:
        record, turn = await _find(store, job)
        if record is not None and turn is not None and not has_ended(record, turn):
            await _run(served, job)
    except Exception as error:  # noqa: BLE001 -- whoever asks for the turn is to hear that it ended
        return await _after(store, job, error)
    return None


async def _after(store: Store, job: Job, error: Exception) -> float | None:
    """Note that a turn failed, unless its run has done so; return seconds where it is to be tried again."""
    match error:
        case StoreError() | ThreadBusy():
            # If the store could take down that the run failed, the next attempt finds it ended.
            _LOG.warning("turn %s of thread %s: %s", job.turn, job.thread, error.message)
            return SOON
        case Refused(status=429 | 503):
            return min(_seconds(error.headers), LONGEST)
        case Refused():
            reason = f"{Refused.__name__}: {error.message}"
        case MoAError():
            reason = f"{type(error).__name__}: {error.message}"
            _LOG.warning("turn %s of thread %s: %s", job.turn, job.thread, reason)
        case _:
            _LOG.error("turn %s of thread %s", job.turn, job.thread, exc_info=error)
            reason = f"{type(error).__name__}: the server failed; the error is in its log"
    try:
        await _note(store, job, "failed", reason)
    except (StoreError, ThreadBusy):
        return SOON
    return None


async def _run(served: Served, job: Job) -> None:
    from moa_graph.server.asking import parts_of  # noqa: PLC0415 -- which knows Background

    ask = Ask(job.model, (), Terms(), Place(job.thread, job.turn, {}, resume=True))
    async with aclosing(parts_of(served, _owner(served, job), ask)) as parts:
        async for _ in parts:
            pass


def _owner(served: Served, job: Job) -> Key:
    """Return the key in whose name a turn runs; raise Refused for one that was revoked."""
    if not served.keys.guarded:
        # Whoever showed the key showed it to a server: a worker without the file runs everybody's turns.
        return Key(job.owner, job.owner, served.settings.limits)
    key = served.keys.by_id(job.owner)
    if key is None:
        raise Refused(401, "the key that asked for it was revoked", code="invalid_api_key")
    return key


async def cancelled(store: Store, job: Job) -> bool:
    """Note that somebody cancelled a turn, once nobody runs it; return False if it had ended otherwise.

    Raises ThreadBusy when whoever runs it does not let go in time.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            noted = await _note(store, job, "interrupted", _CANCELLED, {_CANCELLED: True})
            _, turn = await _find(store, job)
            return noted or (turn is not None and bool(turn.notes.get(_CANCELLED)))
    except TimeoutError as error:
        raise ThreadBusy(
            f"thread {job.thread!r} is still being run", hint="Cancel the turn again in a moment."
        ) from error


async def interrupted(store: Store, job: Job) -> None:
    """Note that a turn that was interrupted waits to be gone on with; it is so even without that note."""
    with suppress(StoreError, ThreadBusy, TimeoutError):
        async with asyncio.timeout(SOON):
            await _note(store, job, "interrupted", QUEUED)


async def _note(
    store: Store, job: Job, status: RunStatus, reason: str, notes: Mapping[str, Any] | None = None
) -> bool:
    """Note how a turn stands, once nobody runs it; return False if it has ended by then."""
    async with store.lease(key_of(job.thread), wait=True):
        record, turn = await _find(store, job)
        if record is None or turn is None or has_ended(record, turn):
            return False
        turn.status, turn.reason, turn.ended = status, reason, now()
        turn.notes |= notes or {}
        await record.save(store)
        return True


async def _find(store: Store, job: Job) -> tuple[ThreadRecord | None, Turn | None]:
    record = await read_record(store, job.thread)
    turns = record.turns if record else []
    return record, next((turn for turn in turns if turn.id == job.turn), None)


def _seconds(headers: Mapping[str, str]) -> float:
    try:
        return max(float(headers.get("Retry-After", SOON)), SOON)
    except ValueError:
        return SOON
