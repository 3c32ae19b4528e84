"""Calls that failed after much was paid for: asked again, they go on instead of beginning anew."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, cast

from langchain_core.messages import BaseMessage, messages_to_dict

from moa_graph.errors import BudgetExceeded, RunError
from moa_graph.state import Proposal

__all__ = ["Unfinished", "Work", "key_of"]

_MOST = 64
"""Conversations that are remembered; whoever asks again does so soon."""


class Work(NamedTuple):
    """Hold what a failed run made (`kept`), and the records of calls that gave nothing but were paid for."""

    kept: dict[str, Proposal]
    paid: list[Proposal]


class Unfinished:
    """Remember, in this process, what failed runs made, by what they were asked."""

    def __init__(self) -> None:
        self._works: OrderedDict[str, Work] = OrderedDict()

    def take(self, key: str) -> Work:
        """Return what an earlier run of the same question made, and forget it; mostly nothing."""
        return self._works.pop(key, None) or Work({}, [])

    def keep(self, key: str, error: RunError, before: Work) -> None:
        """Remember what a run made that has failed; `before` is what it had begun with.

        A run that used up its budget is forgotten: going on would break the limit at once, for ever.
        """
        if isinstance(error, BudgetExceeded):
            return
        work = _work(cast("Sequence[Proposal]", error.proposals), before)
        if not work.kept:
            return
        self._works[key] = work
        if len(self._works) > _MOST:
            self._works.popitem(last=False)


def key_of(messages: Sequence[BaseMessage], *marks: object) -> str:
    """Return what tells a question apart from others: its messages without their ids, and `marks`."""
    bare = messages_to_dict([message.model_copy(update={"id": None}) for message in messages])
    return hashlib.sha256(repr((bare, marks)).encode("utf-8", "backslashreplace")).hexdigest()


def _work(records: Sequence[Proposal], before: Work) -> Work:
    """Sort the records of a run: layers that had ended are kept whole, of the last one what succeeded."""
    layers = [record["layer"] for record in records]
    reached = layers[-1] if layers else None
    kept = {
        record["id"]: record
        for record in records
        if record["layer"] != "aggregator" and (record["status"] == "ok" or record["layer"] != reached)
    }
    lost = [record for record in records if record["id"] not in kept and record["attempts"]]
    return Work(kept, [*before.paid, *lost])
