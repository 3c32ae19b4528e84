"""A thread as it stands: its record, its newest checkpoint, and what both say together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from uuid import UUID

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, messages_from_dict
from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot

from moa_graph.advising import Carried
from moa_graph.errors import StoreError, ThreadError
from moa_graph.passages import Passage
from moa_graph.retrieve import RETRIEVE
from moa_graph.runs.commands import command
from moa_graph.runs.mixtures import Mixture
from moa_graph.runs.records import FORMAT, ThreadRecord, Turn, key_of
from moa_graph.runs.stores import Store
from moa_graph.runs.trusting import (
    check_marks,
    check_names,
    check_state,
    check_writes,
    is_answer,
    is_proposal,
    trusting,
)
from moa_graph.spec.schema import MoASpec
from moa_graph.state import Proposal, Stopped
from moa_graph.terms import TERMS, Cadence, Terms, going_on_at, tokens_of

__all__ = ["AGGREGATOR", "RETRIEVE", "Thread", "steps_of", "used_first"]

AGGREGATOR = "aggregator"

_UNIX_EPOCH = 0x01B21DD213814000
"""The Unix epoch in 100 ns since the start of the Gregorian calendar (RFC 9562, §5.1)."""
_SHORT_WAIT = 5.0
"""Seconds that a clock may be behind the last checkpoint without a refusal."""


@dataclass(frozen=True)
class Thread:
    """Hold what is known of a thread at one checkpoint.

    `begun` tells whether the checkpoint belongs to `turn` or to the one before it. `finished` are proposals
    that are committed, but whose layer has not ended; `given` is an answer that is committed, but not yet in
    the conversation.
    """

    store: Store
    record: ThreadRecord
    turn: Turn
    mixture: Mixture
    snapshot: StateSnapshot
    finished: Mapping[str, Proposal] = field(default_factory=dict)
    given: Mapping[str, Any] | None = None

    @classmethod
    async def load(
        cls,
        store: Store,
        record: ThreadRecord,
        mixture: Mixture,
        *,
        turn: Turn | None = None,
        checkpoint: str | None = None,
    ) -> Thread:
        """Read a thread's newest checkpoint, or another one; raise StoreError if it cannot be trusted."""
        configurable = {"thread_id": key_of(record.thread)}
        if checkpoint:
            configurable["checkpoint_id"] = checkpoint
        config: RunnableConfig = {"configurable": configurable}
        graph = mixture.graph(store)
        turn = turn or record.turn
        with trusting(f"{store.url}: thread {record.thread!r}"):
            saver: Any = graph.checkpointer
            found = await saver.aget_tuple(config)
            # Asked for by its id, a checkpoint is shown as it is. Else LangGraph adds what a step gave that
            # has ended but has no checkpoint yet, and names no step that is next.
            snapshot = await graph.aget_state(found.config) if found else _nothing(config)
            thread = cls(store, record, turn, mixture, snapshot)
            if "moa_turn" not in thread.metadata:  # another program's, or none
                return thread
            check_marks(thread.metadata, [known.id for known in record.turns])
            writes = found.pending_writes or []
            check_writes(writes, thread.steps, retrieving=RETRIEVE in snapshot.next)
            ended = set(thread.ended_steps)
            due = [id_ for id_ in thread.ids if id_.partition("/")[0] in ended]
            check_state(thread.values, due, answered=thread.answered)
            check_names({**thread.proposals, **thread.kept}, thread.steps)
        if not thread.begun:
            return thread
        made = {value["id"]: value for _, _, value in writes if is_proposal(value)}
        order = {id_: place for place, id_ in enumerate(thread.ids)}
        made = dict(sorted(made.items(), key=lambda item: order.get(item[0], len(order))))
        given = next((value for _, _, value in writes if is_answer(value)), None)
        return cls(store, record, thread.turn, mixture, snapshot, used_first(made), given)

    def at(self, written: Mapping[str, Any]) -> Thread:
        """Return the thread at a checkpoint that its run has just written, as LangGraph streams it."""
        metadata: Any = {**written["metadata"], **self.marks()}
        snapshot = StateSnapshot(
            written["values"], tuple(written["next"]), written["config"], metadata, None, None, (), ()
        )
        return replace(self, snapshot=snapshot, finished={}, given=None)

    @property
    def spec(self) -> MoASpec:
        """Return the spec that the thread is pinned to."""
        return self.mixture.spec

    @property
    def values(self) -> dict[str, Any]:
        """Return the state at the checkpoint."""
        values: dict[str, Any] = self.snapshot.values or {}
        return values

    @property
    def checkpoint(self) -> str | None:
        """Return the checkpoint's id."""
        id_: str | None = self.snapshot.config["configurable"].get("checkpoint_id")
        return id_ if self.snapshot.metadata is not None else None

    @property
    def begun(self) -> bool:
        """Tell whether the checkpoint is one of this turn's."""
        return self.metadata.get("moa_turn") == self.turn.id

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Return what LangGraph keeps beside the checkpoint."""
        return self.snapshot.metadata or {}

    @property
    def fan_out(self) -> Cadence:
        """Return when this turn asks the proposers."""
        return self.turn.terms.get("fan_out", "every_call")

    @property
    def given_up(self) -> set[str]:
        """Return the ids of the messages of turns that were given up."""
        turns = self.record.turns[:-1]
        return {id_ for turn in turns if turn.checkpoint is None for id_ in turn.message_ids}

    @cached_property
    def carried(self) -> Carried | None:
        """Return what the aggregator goes on with, alone, after tools it called; None: all are asked."""
        if self.fan_out == "every_call":
            return None
        messages: list[BaseMessage] = list(self.values.get("messages") or [])
        if self.begun:
            ids = [message.id for message in messages]
            asked = self.turn.message_ids[-1]
            messages = messages[: ids.index(asked) + 1] if asked in ids else []
        else:
            given_up = self.given_up
            messages = [message for message in messages if message.id not in given_up]
            messages += messages_from_dict(self.turn.messages)
        return going_on_at(self.fan_out, self.spec, messages)

    @cached_property
    def steps(self) -> list[str]:
        """Return the names of all steps of this turn, as `steps_of` does."""
        return [AGGREGATOR] if self.carried else steps_of(self.spec, self.stopped)

    @property
    def stopped(self) -> Stopped | None:
        """Return after which layer of this turn it was enough, and why; None while all layers are to run."""
        stopped: Stopped | None = self.values.get("moa_stopped") if self.begun else None
        return stopped if stopped and stopped["message"] == self.turn.message_ids[-1] else None

    @cached_property
    def ids(self) -> list[str]:
        """Return the ids of all proposals that this turn asks for, in the order of the spec."""
        layers = [layer for layer in self.spec.layers if layer.name in self.steps]
        return [f"{layer.name}/{id_}" for layer in layers for id_, _ in layer.ids()]

    @property
    def ended_steps(self) -> list[str]:
        """Return the names of the steps that have ended in this turn."""
        if not self.begun:
            return []
        following = self.snapshot.next
        if not following:
            return self.steps
        return self.steps[: self.steps.index(following[0])] if following[0] in self.steps else []

    @property
    def next_step(self) -> str | None:
        """Return the name of the step that comes next, or None after the aggregator."""
        ended = len(self.ended_steps)
        return self.steps[ended] if ended < len(self.steps) else None

    @property
    def proposals(self) -> dict[str, Proposal]:
        """Return the proposals of the layers that have ended in this turn."""
        # An aggregator that goes on alone leaves in the state what the turn before had.
        there = self.ended_steps and not self.carried
        return dict(self.values.get("proposals") or {}) if there else {}

    @property
    def nonce(self) -> str | None:
        """Return the mark that delimits proposals and passages in this turn's prompts."""
        return self.carried["nonce"] if self.carried else self.values.get("nonce")

    @property
    def passages(self) -> list[Passage]:
        """Return the passages that this turn retrieved for everybody."""
        return list(self.values.get("passages") or []) if self.ended_steps and not self.carried else []

    @property
    def kept(self) -> dict[str, Proposal]:
        """Return what a fork or an import carried over for a step that has not ended."""
        kept = self.values.get("moa_kept") if self.begun else None
        # A turn that was given up may have left some behind.
        there = kept["proposals"] if kept and kept["message"] == self.conversation[-1].id else {}
        return {id_: record for id_, record in there.items() if record["layer"] not in self.ended_steps}

    @property
    def reply(self) -> Proposal | None:
        """Return the record of the answer that is committed, but not yet in the conversation."""
        return self.given["proposal"] if self.given else None

    @property
    def answered(self) -> bool:
        """Tell whether the state says that this turn is answered."""
        return self.next_step is None and self.values.get("status") == "answered"

    @property
    def answer(self) -> AIMessage | None:
        """Return the answer's message."""
        message = self.values["messages"][-1] if self.answered else None
        return message if isinstance(message, AIMessage) else None

    @property
    def conversation(self) -> list[AnyMessage]:
        """Return the messages up to the turn's question, as the models of this turn see them."""
        messages: list[AnyMessage] = list(self.values.get("messages") or [])
        return messages[:-1] if self.answered else messages

    @property
    def failures(self) -> list[Proposal]:
        """Return the calls that failed and are not in the state: their layer goes on, or tried again."""
        answer = self.answer
        known = [
            *self.proposals.values(),
            *(answer.response_metadata["moa"]["failed_aggregators"] if answer else []),
        ]
        there = [_call_of(record) for record in known if record["status"] != "ok" or record["edited"]]
        failures = []
        for record in self.turn.failures:
            if (call := _call_of(record)) in there:
                there.remove(call)
            else:
                failures.append(record)
        return failures

    def check_unused(self) -> None:
        """Raise ThreadError where checkpoints stand under the thread's id already."""
        if self.checkpoint is not None:
            raise ThreadError(
                f"thread {self.record.thread!r} has checkpoints that moa_graph's threads did not write",
                hint="Use another thread id; those checkpoints stay as they are.",
            )

    def check_reply(self) -> None:
        """Raise ThreadError where going on from here would lose an answer that is committed already."""
        if self.reply is not None:
            name = self.record.thread
            raise ThreadError(
                f"the answer of thread {name!r} is made, and only has to be written down",
                hint=f"Resume it, which calls nothing: `{command('resume', name)}`.",
            )

    @property
    def question_tokens(self) -> int:
        """Return about how many tokens a call is asked with: the conversation, and what may be acted with."""
        asked = [] if self.begun else messages_from_dict(self.turn.messages)
        return tokens_of([*self.conversation, *asked], self.turn.terms.get("acting"))

    def config(self) -> RunnableConfig:
        """Return the config to go on from the newest checkpoint with."""
        return {
            "configurable": {
                "thread_id": key_of(self.record.thread),
                TERMS: Terms(fan_out=self.fan_out),  # which decides with which step the turn begins
            },
            "metadata": self.marks(),
        }

    def marks(self) -> dict[str, Any]:
        """Return what every checkpoint of this turn bears."""
        return {"moa_turn": self.turn.id, "moa_spec": self.record.spec_hash, "moa_format": FORMAT}

    async def check_clock(self) -> None:
        """Raise StoreError when the clock stands before the last checkpoint; wait if it is but a moment.

        Checkpoints are found again by the time in their ids: one from a clock that was set back would
        be taken for an older one, and what it holds would be paid for again.
        """
        if self.checkpoint is None:
            return
        ahead = _seconds(self.checkpoint) - time.time()
        if ahead > _SHORT_WAIT:
            raise StoreError(
                f"the clock is {ahead:.0f} s behind the last step of thread {self.record.thread!r}: "
                "new steps would be taken for older ones",
                hint="Set the clock right, or go on in a fork: its steps stand alone.",
            )
        if ahead > 0:
            await asyncio.sleep(ahead)


def steps_of(spec: MoASpec, stopped: Stopped | None = None) -> list[str]:
    """Return the names of all steps: retrieval for all if there is any, the layers, and the aggregator.

    Layers after the one where it was enough are no steps.
    """
    first = [RETRIEVE] if spec.retrieve else []
    layers = [layer.name for layer in spec.layers]
    if stopped is not None and stopped["layer"] in layers:
        layers = layers[: layers.index(stopped["layer"]) + 1]
    return [*first, *layers, AGGREGATOR]


def _nothing(config: RunnableConfig) -> StateSnapshot:
    return StateSnapshot({}, (), config, None, None, None, (), ())


def used_first(records: Mapping[str, Proposal]) -> dict[str, Proposal]:
    """Return records in their order, but for those that others refer to, which come before these."""
    found: dict[str, Proposal] = {}
    left = dict(records)
    while left:
        ready = [id_ for id_, record in left.items() if left.keys().isdisjoint(record["references"])]
        found |= {id_: left.pop(id_) for id_ in ready or list(left)}
    return found


def _call_of(record: Proposal) -> tuple[Any, ...]:
    """Return what tells a call apart and no edit changes."""
    return (record["id"], record["attempts"], record["seconds"], record["usage"])


def _seconds(checkpoint: str) -> float:
    """Return the Unix time in a checkpoint's id, a UUID of version 6 (RFC 9562, §5.6)."""
    number = UUID(checkpoint).int
    ticks = (number >> 96) << 28 | ((number >> 80) & 0xFFFF) << 12 | (number >> 64) & 0xFFF
    return (ticks - _UNIX_EPOCH) / 1e7
