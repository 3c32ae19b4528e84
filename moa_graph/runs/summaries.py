"""All threads of a store at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from moa_graph.errors import StoreError
from moa_graph.runs.records import SILENT_END, RunStatus, key_of, read_record, thread_of
from moa_graph.runs.stores import Store

__all__ = ["Summary", "summaries"]


@dataclass(frozen=True)
class Summary:
    """Describe a thread in a line; `forked_from` is the thread that it was forked from.

    `status` is "unreadable" for a record that cannot be trusted; `reason` then says why.
    """

    thread: str
    status: RunStatus | str
    reason: str
    question: str
    turns: int
    forked_from: str | None
    created: str
    updated: str


async def summaries(store: Store) -> list[Summary]:
    """Return a summary of each thread, the one that was used last first."""
    found = [await _summary(store, thread_of(key)) for key in await store.keys()]
    return sorted(
        [summary for summary in found if summary], key=lambda summary: summary.updated, reverse=True
    )


async def _summary(store: Store, thread: str) -> Summary | None:
    try:
        record = await read_record(store, thread)
    except StoreError as error:
        return Summary(thread, "unreadable", error.message, "", 0, None, "", "")
    if record is None:  # deleted in the meantime
        return None
    turn = record.turn
    status, reason = turn.status, turn.reason
    if status == "running" and not await store.leased(key_of(thread)):
        status, reason = "interrupted", SILENT_END
    return Summary(
        thread=thread,
        status=status,
        reason=reason,
        question=turn.question,
        turns=len(record.turns),
        forked_from=record.origin.thread if record.origin else None,
        created=record.created,
        updated=record.updated,
    )
