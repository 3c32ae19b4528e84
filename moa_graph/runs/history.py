"""What happened in a thread, checkpoint by checkpoint, and what each of its models was shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import BaseMessage

from moa_graph.errors import ThreadError
from moa_graph.execution import totals
from moa_graph.runs.commands import command
from moa_graph.runs.showing import view_of
from moa_graph.runs.thread import Thread
from moa_graph.runs.trusting import check_names, check_state, trusting
from moa_graph.state import Proposal, is_needless, is_proposal

__all__ = ["Checkpoint", "find_checkpoint", "history_of", "prompt_of", "threads_of", "when_asked"]


@dataclass(frozen=True)
class Checkpoint:
    """Describe one checkpoint of a thread; its numbers are those of its turn so far.

    `number` counts the thread's checkpoints from 0 and names it in commands. `event` says what
    made it: "question", the name of the step that ended, an edit ("dropped draft/a"), "fork". `by` is who
    edited. `cost` is USD, None where a price is unknown; `when` is ISO 8601, UTC.
    """

    number: int
    id: str
    when: str
    turn: str
    question: str
    event: str
    by: str | None
    next_layer: str | None
    ok: int
    failed: int
    calls: int
    cost: float | None
    seconds: float


async def threads_of(latest: Thread) -> list[Thread]:
    """Return a thread at each of its checkpoints, the oldest first."""
    config = {"configurable": {"thread_id": latest.config()["configurable"]["thread_id"]}}
    graph = latest.mixture.graph(latest.store)
    turns = {turn.id: turn for turn in latest.record.turns}
    found = []
    with trusting(f"{latest.store.url}: thread {latest.record.thread!r}"):
        async for snapshot in graph.aget_state_history(config):
            if snapshot.metadata.get("source") == "input":
                continue  # the next one says the same, and is where a run begins
            turn = turns.get(str(snapshot.metadata.get("moa_turn")), latest.turn)
            thread = replace(latest, snapshot=snapshot, turn=turn, finished={}, given=None)
            check_state(thread.values, (), answered=thread.answered)
            check_names({**thread.proposals, **thread.kept}, thread.steps)
            found.append(thread)
    return found[::-1]


async def history_of(latest: Thread) -> list[Checkpoint]:
    """Return what happened in a thread, the oldest first."""
    return [
        _describe(number, thread) for number, thread in enumerate(await threads_of(latest)) if thread.begun
    ]


async def find_checkpoint(
    latest: Thread, *, checkpoint: str | int | None = None, before: str | None = None
) -> Thread:
    """Return a thread at a checkpoint: one of its history, or the last turn's newest before a step."""
    if before is not None and before not in latest.steps:
        raise ThreadError(f"there is no step {before!r}", hint=f"The steps are: {', '.join(latest.steps)}.")
    found = [
        thread
        for number, thread in enumerate(await threads_of(latest))
        if thread.begun
        and (
            (thread.turn.id == latest.turn.id and thread.next_step == before)
            if before is not None
            else str(checkpoint) in (str(number), thread.checkpoint)
        )
    ]
    if not found:
        what = f"stands before {before}" if before is not None else f"is {checkpoint}"
        raise ThreadError(
            f"no checkpoint of thread {latest.record.thread!r} {what}",
            hint=f"See `{command('history', latest.record.thread)}`.",
        )
    return found[-1]


async def when_asked(thread: Thread, id_: str) -> Thread:
    """Return the thread as it stood when somebody was asked about proposals that were edited since.

    Raises ThreadError in a fork, which has only what they have become.
    """
    about = thread.proposals[id_]["references"] if id_ in thread.proposals else []
    if not _is_edited(thread, id_, about):
        return thread
    for earlier in await threads_of(thread):
        known = earlier.turn.id == thread.turn.id and id_ in earlier.proposals
        if known and not _is_edited(earlier, id_, about):
            return earlier
    raise ThreadError(
        f"what {id_!r} was shown has been edited since", hint="The thread that this is a fork of has it."
    )


def _is_edited(thread: Thread, id_: str, about: Sequence[str]) -> bool:
    """Tell whether a call is about proposals of its own layer that were edited; earlier ones cannot be."""
    records = [thread.proposals[other] for other in about if other in thread.proposals]
    return any(record["edited"] for record in records if record["layer"] == id_.partition("/")[0])


def prompt_of(thread: Thread, id_: str) -> list[BaseMessage]:
    """Return the exact messages that a proposer, or an aggregator ("aggregator/slot"), was shown.

    Raises ThreadError when that call was not made.
    """
    answer = thread.answer
    aggregators: list[Any] = []
    if answer is not None:
        summary = answer.response_metadata["moa"]
        aggregators = [*summary["failed_aggregators"], summary["aggregator"]]
    calls: dict[str, Proposal] = {
        record["id"]: record
        for record in [
            *thread.failures,
            *thread.finished.values(),
            *thread.kept.values(),
            *thread.proposals.values(),
            *aggregators,
        ]
    }
    if id_ not in calls or not calls[id_]["attempts"]:
        asked = f"There are: {', '.join(calls)}." if calls else "Nobody has been asked so far."
        raise ThreadError(f"{id_!r} was not asked", hint=asked)
    try:
        view = view_of(thread, calls[id_], calls)
    except LookupError:
        raise ThreadError(
            f"the spec of thread {thread.record.thread!r} asks for no {id_!r}",
            hint="The thread that this is a fork of has it.",
        ) from None
    return view.of(thread.conversation, calls[id_].get("nonce") or thread.nonce)


def _describe(number: int, thread: Thread) -> Checkpoint:
    proposals = [record for record in thread.proposals.values() if is_proposal(record)]
    statuses = Counter(record["status"] for record in proposals)
    answer = thread.answer
    sums = answer.response_metadata["moa"] if answer else totals(list(thread.proposals.values()))
    return Checkpoint(
        number=number,
        id=str(thread.checkpoint),
        when=str(thread.metadata.get("moa_when") or thread.snapshot.created_at),
        turn=thread.turn.id,
        question=thread.turn.question,
        event=_event(thread),
        by=thread.metadata.get("moa_by"),
        next_layer=thread.next_step,
        ok=statuses["ok"],
        failed=len(proposals) - statuses["ok"] - sum(map(is_needless, proposals)),
        calls=sums["calls"],
        cost=sums["cost"],
        seconds=round(sum(record["seconds"] for record in thread.proposals.values()), 4),
    )


def _event(thread: Thread) -> str:
    if event := thread.metadata.get("moa_edit") or thread.metadata.get("moa_event"):
        return str(event)
    if thread.metadata.get("source") == "update":
        return "fork"
    return thread.ended_steps[-1] if thread.ended_steps else "question"
