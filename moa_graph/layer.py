"""The layer node: fan out to the proposers, wait for the quorum, join what came into the state."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from moa_graph.errors import QuorumNotMet
from moa_graph.execution import Execution, enter
from moa_graph.node import Dispatch, Node
from moa_graph.proposers import NoProposal, Proposer, Request
from moa_graph.resources import Resources
from moa_graph.spec.schema import LayerSpec
from moa_graph.state import MoAState, Proposal, references_from

__all__ = ["LayerNode"]


class LayerNode(Node):
    """Run one layer: one LangGraph task per proposer, joined in spec order.

    Raises QuorumNotMet, DeadlineExceeded or BudgetExceeded when too few proposers succeed; what they
    wrote is in the error, and with a checkpointer in the thread.
    """

    def __init__(self, resources: Resources, index: int, proposers: Sequence[Proposer]) -> None:
        spec = resources.spec
        self.resources = resources
        self.layer = spec.layers[index]
        self.previous: LayerSpec | None = spec.layers[index - 1] if index else None
        self.begins = self.previous is None and not spec.retrieve
        self.proposers = proposers
        self.name = self.layer.name

    async def run(self, state: MoAState, dispatch: Dispatch[Proposal]) -> dict[str, Any]:
        """Return the layer's proposals as an update of the state."""
        execution = await enter(self.resources, state, first=self.begins)
        references = execution.references(self.previous)
        if self.previous is not None and not references:
            raise execution.failed(
                QuorumNotMet, f"layer {self.name}: layer {self.previous.name} left no proposal", []
            )
        execution.emit(
            {
                "type": "layer.started",
                "layer": self.layer.name,
                "proposers": [proposer.id for proposer in self.proposers],
                "references": len(references),
            }
        )
        request = execution.request(references, self.previous, self.layer.deadline)
        began = time.monotonic()
        records = await self._join(request, dispatch, execution.kept_in(self.layer))
        self._report(execution, records, time.monotonic() - began)
        ok = len(references_from(records.values()))
        if ok < self.layer.quorum:
            message = f"layer {self.name}: {ok} of {len(records)} proposals, quorum {self.layer.quorum}"
            raise execution.failed(QuorumNotMet, message, list(records.values()))
        return execution.update(records)

    async def _join(
        self, request: Request, dispatch: Dispatch[Proposal], kept: dict[str, Proposal]
    ) -> dict[str, Proposal]:
        """Wait for the proposers; once the quorum is there and the grace is over, cut the rest."""
        records = dict(kept)  # of this layer, maybe with some that were added by hand
        for record in records.values():
            _report_call(record, request)
        futures = {
            dispatch(proposer.id, partial(proposer.propose, request)): proposer.id
            for proposer in self.proposers
            if proposer.id not in records
        }
        raised: list[BaseException] = []
        pending = set(futures)
        patience_ends: float | None = None
        try:
            while pending:
                ok = sum(record["status"] == "ok" for record in records.values())
                if patience_ends is None and self.layer.grace is not None and ok >= self.layer.quorum:
                    patience_ends = time.monotonic() + self.layer.grace
                timeout = None
                if patience_ends is not None and not request.stop.done():
                    timeout = max(0.0, patience_ends - time.monotonic())
                done, pending = await asyncio.wait(
                    pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                for future in done:
                    error = future.exception()
                    if error is not None and not isinstance(error, NoProposal):
                        raised.append(error)  # an interrupt: its siblings may finish
                    else:
                        records[futures[future]] = _collect(future, error, request)
                if patience_ends is not None and time.monotonic() >= patience_ends:
                    request.end_all()
        finally:
            request.end_all()  # when this wait is cancelled, LangGraph's threads do not hear of it
        if raised:
            raise raised[0]
        return {proposer.id: records[proposer.id] for proposer in self.proposers} | records

    def _report(self, execution: Execution, records: dict[str, Proposal], seconds: float) -> None:
        statuses = Counter(record["status"] for record in records.values())
        execution.emit(
            {
                "type": "layer.joined",
                "layer": self.layer.name,
                "ok": statuses["ok"],
                "failed": statuses["failed"],
                "cut": statuses["cut"],
                "seconds": round(seconds, 4),
            }
        )


def _collect(future: asyncio.Future[Proposal], none: NoProposal | None, request: Request) -> Proposal:
    """Return the record of a call that has ended, and report it."""
    proposal = none.proposal if none else future.result()
    _report_call(proposal, request, failed=none is not None)
    return proposal


def _report_call(proposal: Proposal, request: Request, *, failed: bool = False) -> None:
    id_ = proposal["id"]
    if id_ not in request.budget.ran:
        request.budget.book(proposal)
    if failed:
        request.emit({"type": "call.failed", "id": id_, "role": "proposer", "proposal": proposal})
    else:
        request.emit({"type": "call.finished", "id": id_, "role": "proposer", "proposal": proposal})
