"""From many proposals to one: choose it, or fold them window by window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from moa_graph.calls import ask_all
from moa_graph.errors import AggregatorFailed
from moa_graph.execution import Execution
from moa_graph.node import Dispatch
from moa_graph.proposers import Request
from moa_graph.proposers.call import Caller
from moa_graph.proposers.resolve import chooser_callers, window_callers
from moa_graph.proposers.waiting import aside
from moa_graph.resources import Resources
from moa_graph.seeing import Sight
from moa_graph.selecting.answers import extract, vote
from moa_graph.selecting.asking import read_choice
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.state import Proposal, Reference

__all__ = ["FINAL", "Decision", "Reducer"]

_UNREAD = "Mend `extract` or what the proposals say, or take the first proposal then (`on_error: first`)."
_UNCHOSEN = "Mend who chooses, give it fallbacks, or take the first proposal then (`on_error: first`)."

FINAL: frozenset[str] = frozenset({"budget", "deadline"})
"""Failures after which no fallback can do better."""


@dataclass(frozen=True)
class Decision:
    """Hold the proposal that was taken as the answer, verbatim, and how that came.

    `summary` has `by` ("vote", "pick", "consistency", "alone" for the only one there was, or "first"), the
    `proposal`'s id, and for a vote the `answer`, its `votes` and the `total`.
    """

    proposal: Proposal
    seen: Sequence[Proposal]
    summary: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    @property
    def record(self) -> Proposal:
        """Return the answer's record: no call wrote it, so it cost nothing; who was asked has its own."""
        by = str(self.summary["by"])
        return {
            **self.proposal,
            "id": f"aggregator/{by}",
            "layer": "aggregator",
            "proposer": by,
            "reasoning": "",
            "requested_model": by,
            "attempts": 0,
            "usage": None,
            "cost": 0.0,
            "seconds": 0.0,
            "first_token_seconds": None,
            "edited": False,
            "warnings": [],
            "references": [record["id"] for record in self.seen],
            "passages": [],
        }


class Reducer:
    """Reduce what the aggregator sees; every call on the way is kept in `execution`."""

    def __init__(self, resources: Resources, execution: Execution, dispatch: Dispatch[Any]) -> None:
        self.resources = resources
        self.spec = resources.spec.aggregator
        self.execution = execution
        self.dispatch = dispatch

    @property
    def request(self) -> Request:
        """Return what a call without references needs."""
        return self.execution.request([])

    def add(self, records: Mapping[str, Proposal]) -> None:
        """Keep the records of calls on the way."""
        self.execution = replace(self.execution, proposals={**self.execution.proposals, **records})

    async def fold(self, callers: Sequence[Caller], references: list[Reference]) -> list[Reference]:
        """Return the references of the last window, the synthesis of those before it in front.

        Self-MoA-Seq (Li et al. 2025, arXiv 2502.00674): a window of w takes w references, then the synthesis
        and w - 1 more, and so on. Without a window all are returned.
        """
        size, number = self.spec.window, 0
        while size is not None and len(references) > size:
            number += 1
            synthesis = await self._first_of(window_callers(callers, number), references[:size])
            if synthesis is None:
                raise self._failed(f"no synthesis of window {number}")
            references = [{"id": synthesis["id"], "text": synthesis["text"]}, *references[size:]]
        return references

    async def choose(self, sight: Sight) -> Decision:
        """Return the proposal that is taken; raise AggregatorFailed if none can be and `on_error` is fail."""
        references = sight.of(None)
        seen = [sight.proposal(reference) for reference in references]
        if not seen:
            raise self._failed("there is no proposal to take one of")
        if self.spec.reduce == "vote":
            decision, problem = await self._vote(seen)
        elif len(seen) == 1:  # nobody need be asked
            return _alone(seen)
        else:
            decision = await self._ask(sight, references)
            problem = "nobody could choose among the proposals"
        if decision is not None:
            return decision
        if self.spec.on_error == "fail":
            raise self._failed(problem, _UNREAD if self.spec.reduce == "vote" else _UNCHOSEN)
        summary = {"by": "first", "proposal": seen[0]["id"]}
        return Decision(seen[0], seen, summary, [f"{problem}: the first one was taken"])

    async def _vote(self, seen: Sequence[Proposal]) -> tuple[Decision | None, str]:
        """Return the decision, or none and what stood in its way."""
        how = self.spec.extract or ExtractSpec(by="last-line")
        texts = [record["text"] for record in seen]
        try:
            size = sum(map(len, texts))
            answers = await aside(lambda: [extract(text, how) for text in texts], size, self.request)
        except TimeoutError:
            raise self._failed("the deadline passed before the votes were counted") from None
        found = vote(answers, [self.spec.weights.get(record["proposer"], 1.0) for record in seen])
        if found is None and set(answers) == {None}:
            return None, "no answer could be read from any proposal"
        if found is None:
            return None, "no proposal with an answer that could be read has a weight"
        if len(seen) == 1:
            return _alone(seen), ""
        taken = seen[found.first]
        tally = {"answer": found.answer, "votes": found.votes, "total": found.total}
        return Decision(taken, seen, {"by": "vote", "proposal": taken["id"], **tally}), ""

    async def _ask(self, sight: Sight, references: list[Reference]) -> Decision | None:
        record = await self._first_of(chooser_callers(self.resources), references)
        if record is None:
            return None
        shown = [reference for reference in references if reference["id"] in record["references"]]
        seen = [sight.proposal(reference) for reference in shown]
        place = read_choice(record["text"], len(seen))
        if place is None:
            return None
        taken = seen[place]
        return Decision(taken, seen, {"by": self.spec.reduce, "proposal": taken["id"]})

    async def _first_of(self, callers: Sequence[Caller], references: list[Reference]) -> Proposal | None:
        """Return the record of the first that succeeds, or has before; all that were asked are kept."""
        spoken = [caller for caller in callers if self.execution.known(caller.id, references) is not None]
        for caller in spoken or callers:
            request = self.execution.request(references, self.execution.before(None))
            request = replace(request, acting={}, relay=None)
            (record,) = await ask_all([(caller, request)], self.dispatch, self.execution)
            self.add({record["id"]: record})
            if record["status"] == "ok":
                return record
            if record["failure"] and record["failure"]["kind"] in FINAL:
                break
        return None

    def _failed(self, message: str, hint: str = "") -> Exception:
        mine = [each for each in self.execution.proposals.values() if each["layer"] == "aggregator"]
        known = {id_: each for id_, each in self.execution.proposals.items() if each not in mine}
        return replace(self.execution, proposals=known).failed(
            AggregatorFailed, f"aggregator: {message}", mine, hint
        )


def _alone(seen: Sequence[Proposal]) -> Decision:
    return Decision(seen[0], seen, {"by": "alone", "proposal": seen[0]["id"]})
