"""Calls that failed after much was paid for: asked again, they go on instead of beginning anew."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from langchain_core.messages import BaseMessage, messages_to_dict

from moa_graph.errors import BudgetExceeded
from moa_graph.events import Event
from moa_graph.state import Proposal, is_proposal

__all__ = ["Made", "Unfinished", "Work", "key_of"]

_MOST = 64
"""Conversations that are remembered; whoever asks again does so soon."""


class Work(NamedTuple):
    """Hold what a failed run made (`kept`), and the records of calls that gave nothing but were paid for."""

    kept: dict[str, Proposal]
    paid: list[Proposal]


class Made:
    """Take down what a run makes, so that it is not lost if the run ends without an answer."""

    def __init__(self, before: Work) -> None:
        self._before = before
        self._records: dict[str, Proposal] = dict(before.kept)

    def take(self, event: Event) -> None:
        """Note a call that has ended."""
        if event["type"] == "call.finished" or event["type"] == "call.failed":
            self._records[event["proposal"]["id"]] = event["proposal"]

    @property
    def records(self) -> list[Proposal]:
        """Return the records of all calls that have ended."""
        return list(self._records.values())

    def work(self, error: BaseException) -> Work:
        """Return what is worth keeping of a run that ended with an error.

        Nothing of one that used up its budget: going on would break the limit at once, for ever.
        """
        if isinstance(error, BudgetExceeded):
            return Work({}, [])
        records = self.records
        layers = [record["layer"] for record in records]
        reached = layers[-1] if layers else None
        kept = {
            record["id"]: record
            for record in records
            # A layer that had ended is kept whole, of the last step what succeeded: of the aggregator's own
            # records that is what it had asked on its way to the answer.
            if (record["status"] == "ok" or record["layer"] != reached)
            and (record["layer"] != "aggregator" or not is_proposal(record))
        }
        lost = [record for record in records if record["id"] not in kept and record["attempts"]]
        return Work(kept, [*self._before.paid, *lost])


class Unfinished:
    """Remember, in this process, what failed runs made, by what they were asked."""

    def __init__(self) -> None:
        self._works: OrderedDict[str, Work] = OrderedDict()

    def take(self, key: Callable[[], str]) -> Work:
        """Return what an earlier run of the same question made, and forget it; mostly nothing.

        `key` is computed only where something is remembered: a conversation can be long.
        """
        found = self._works.pop(key(), None) if self._works else None
        return found or Work({}, [])

    def keep(self, key: Callable[[], str], work: Work) -> None:
        """Remember what a run made; the oldest is forgotten in its place."""
        if work.kept or work.paid:
            self._works[key()] = work
        if len(self._works) > _MOST:
            self._works.popitem(last=False)


def key_of(messages: Sequence[BaseMessage], *marks: object) -> str:
    """Return what tells a question apart from others: its messages without their ids, and `marks`."""
    bare = messages_to_dict([message.model_copy(update={"id": None}) for message in messages])
    return hashlib.sha256(repr((bare, marks)).encode("utf-8", "backslashreplace")).hexdigest()
