"""Take a fork: a new thread that goes on from a checkpoint of another one, maybe under a changed spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langgraph.graph import START

from moa_graph.errors import ThreadError
from moa_graph.runs.mixtures import Mixture
from moa_graph.runs.records import Origin, ThreadRecord, key_of, now, read_record
from moa_graph.runs.reuse import Reuse, reusable
from moa_graph.runs.standing import settle
from moa_graph.runs.stores import Store
from moa_graph.runs.thread import AGGREGATOR, RETRIEVE, Thread
from moa_graph.runs.ways import same_passages
from moa_graph.state import Proposal
from moa_graph.terms import going_on_at

__all__ = ["fork_thread", "free_name"]


async def free_name(store: Store, thread: str) -> str:
    """Return the first of `thread~1`, `thread~2`, … that names no thread."""
    taken, number = set(await store.keys()), 1
    while key_of(f"{thread}~{number}") in taken:
        number += 1
    return f"{thread}~{number}"


async def fork_thread(source: Thread, name: str, mixture: Mixture, *, unfinished: bool = True) -> Thread:
    """Make a thread of what is valid of `source` under the spec of `mixture`; nothing is called.

    The proposals of a layer that did not end are taken over, too, unless `unfinished` is False. The caller
    holds the lease of the new thread, and a fork of that name that was not completed is made again. Raises
    ThreadError when its name is taken, or when `source` has no checkpoint yet.
    """
    store = source.store
    if not source.begun:
        raise ThreadError(
            f"thread {source.record.thread!r} has not begun: there is nothing to fork",
            hint="Ask the question in a new thread.",
        )
    source.check_reply()
    alone = going_on_at(source.fan_out, mixture.spec, source.conversation)
    taken = await read_record(store, name)
    if taken is not None and not await _was_left(store, taken):
        raise ThreadError(f"there is a thread {name!r} already", hint="Give the fork another id.")
    if source.carried or alone:
        # Without the proposals of a fan-out: an answer holds where the same was carried on to it.
        found = Reuse(0, {}, {}, answered=source.answered and source.carried == alone)
    else:
        found = reusable(
            source.spec,
            mixture.spec,
            source.proposals,
            _spoken(source) if unfinished else {},
            sum(step != RETRIEVE for step in source.ended_steps),
            source.stopped,
        )
    record = ThreadRecord.new(
        name, mixture.spec, Origin(thread=source.record.thread, checkpoint=source.checkpoint)
    )
    turn = source.turn.model_copy(
        update={
            "status": "interrupted",
            "reason": "a fork that has not run yet",
            "began": now(),
            "ended": None,
            "seconds": 0.0,
            "failures": [],
            "messages": [],
            "checkpoint": None,
            "notes": {},  # the host's, about the thread that this is a fork of
        }
    )
    record.turns.append(turn)
    fork = await Thread.load(store, record, mixture)
    fork.check_unused()
    # First: a fork without checkpoints is refused, checkpoints without a record are strangers.
    await record.save(store)
    retrieved = RETRIEVE in source.ended_steps and not alone and same_passages(source.spec, mixture.spec)
    layers = [layer.name for layer in mixture.spec.layers]
    steps = [START] + [RETRIEVE] * retrieved + layers[: found.ended] + [AGGREGATOR] * found.answered
    await mixture.graph(store).aupdate_state(
        fork.config(), _values(source, found, layers, retrieved=retrieved), as_node=steps[-1]
    )
    fork = await Thread.load(store, record, mixture)
    if settle(fork):
        await record.save(store)
    return fork


async def _was_left(store: Store, taken: ThreadRecord) -> bool:
    """Tell whether a thread is a fork that was not completed, and in which nothing was asked since."""
    if taken.origin is None or len(taken.turns) > 1:
        return False
    return await store.saver().aget_tuple({"configurable": {"thread_id": key_of(taken.thread)}}) is None


def _spoken(source: Thread) -> dict[str, Proposal]:
    """Return what came of the calls of the layer that has not ended, also of those that failed."""
    failed = {record["id"]: record for record in source.failures if record["layer"] == source.next_step}
    return {**failed, **source.kept, **source.finished}


def _values(source: Thread, found: Reuse, layers: Sequence[str], *, retrieved: bool) -> dict[str, Any]:
    values = source.values
    state: dict[str, Any] = {"messages": source.conversation}
    if found.answered:
        state["messages"] = values["messages"]
    if found.ended:
        state["proposals"] = found.proposals
    if retrieved:
        state |= {key: values[key] for key in ("passages", "moa_warnings") if values.get(key)}
    if (found.ended or retrieved) and "nonce" in values:
        state["nonce"] = values["nonce"]
    message = source.conversation[-1].id
    if found.stopped is not None:
        state["moa_stopped"] = {"message": message, "layer": layers[found.ended - 1], "reason": found.stopped}
    if found.kept:
        state["moa_kept"] = {"message": message, "proposals": found.kept}
    return state | {"status": "answered" if found.answered else "running"}
