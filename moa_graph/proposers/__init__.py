"""Members of a layer: what they are asked, what they give back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from langchain_core.messages import BaseMessage

from moa_graph.budget import Budget
from moa_graph.events import Emit
from moa_graph.passages import Passage, ShownSource
from moa_graph.prompts import View
from moa_graph.proposers.relay import Relay
from moa_graph.state import Failure, Proposal, Reference

__all__ = ["NoProposal", "Proposer", "Request"]


class NoProposal(Exception):
    """Carry the record of a call that gave nothing usable.

    Raised, not returned, so that LangGraph does not keep it as a result and a resumed run tries again.
    """

    def __init__(self, proposal: Proposal) -> None:
        failure = proposal["failure"]
        super().__init__(f"{proposal['id']}: {failure['message'] if failure else proposal['status']}")
        self.proposal = proposal


@dataclass(frozen=True)
class Request:
    """Hold what one call needs to know: the conversation, what it may see, and how long it may take.

    `minimum` is the number of references below which a prompt that is too long is given up. `deadline`
    is a `time.monotonic()` time. All calls that share a request end when `stop` has a result, which says why.
    `changes` are what the last layer changed, where somebody wrote that down. `passages` are
    those that everybody sees, `sources` those of all that a text may cite. With `carried` they hold what the
    call retrieved earlier in the turn, too. `acting` are the arguments of the call that the aggregator alone
    gets, such as tools; `relay` gets its tokens.
    """

    messages: Sequence[BaseMessage]
    references: Sequence[Reference]
    minimum: int
    nonce: str
    budget: Budget
    emit: Emit
    deadline: float
    stop: asyncio.Future[str]
    passages: Sequence[Passage] = ()
    sources: Sequence[ShownSource] = ()
    carried: bool = False
    acting: Mapping[str, Any] = field(default_factory=dict)
    relay: Relay | None = None
    changes: str | None = None
    _composed: dict[Hashable, list[BaseMessage]] = field(default_factory=dict, repr=False)

    @property
    def remaining(self) -> float:
        """Return the seconds left until the deadline, never negative."""
        return max(0.0, self.deadline - time.monotonic())

    def prompt(self, view: View) -> list[BaseMessage]:
        """Return the messages for a call; calls that see the same share the text, which can be long."""
        key = view.key
        if key not in self._composed:
            self._composed[key] = view.of(self.messages, self.nonce)
        return list(self._composed[key])

    def about(self, references: Sequence[Reference]) -> Request:
        """Return this request with other references."""
        return self if references is self.references else replace(self, references=references)

    def end_all(self, why: str) -> None:
        """Cut all calls that are still under way."""
        if not self.stop.done():
            self.stop.set_result(why)


class Proposer(Protocol):
    """Be a member of a layer: a model, a tool, an agent, a nested graph."""

    @property
    def id(self) -> str:
        """Return "layer/proposer"."""
        ...

    def propose(self, request: Request) -> Coroutine[Any, Any, Proposal]:
        """Return a proposal that is ok, or raise NoProposal with the record of what went wrong."""
        ...

    def unasked(self, request: Request, why: Failure) -> Proposal:
        """Return the record of one who is not asked."""
        ...

    def too_late(self, request: Request) -> Proposal | None:
        """Return the record of one whom it is too late to ask, None while there is time."""
        ...
