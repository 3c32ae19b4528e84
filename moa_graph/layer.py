"""The layer node: fan out to the proposers, wait for the quorum, join what came into the state."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from moa_graph.calls import collect, report
from moa_graph.errors import QuorumNotMet
from moa_graph.execution import LEFT, Execution, enter
from moa_graph.node import Dispatch, Node
from moa_graph.proposers import Proposer, Request
from moa_graph.proposers.outcomes import failure
from moa_graph.resources import Resources
from moa_graph.seeing import Sight
from moa_graph.settling import Settling
from moa_graph.state import AGREED, MoAState, Proposal, is_proposal

__all__ = ["LayerNode"]

_BLIND = "not asked: there is nothing for it to see"
_STRAGGLER = "as a straggler once the quorum was there"


class LayerNode(Node):
    """Run one layer: one LangGraph task per proposer, joined in spec order.

    Raises QuorumNotMet, DeadlineExceeded or BudgetExceeded when too few proposers succeed; what they
    wrote is in the error, and with a checkpointer in the thread.
    """

    def __init__(self, resources: Resources, index: int, proposers: Sequence[Proposer]) -> None:
        spec = resources.spec
        self.resources = resources
        self.layer = spec.layers[index]
        self.begins = index == 0 and not spec.retrieve
        self.proposers = proposers
        self.settling = Settling(resources, index)
        self.name = self.layer.name

    async def run(self, state: MoAState, dispatch: Dispatch[Proposal]) -> dict[str, Any]:
        """Return the layer's proposals as an update of the state."""
        execution = await enter(self.resources, state, first=self.begins)
        ran = execution.before(self.layer)
        sight = Sight(self.resources, self.layer.name, self.layer.references, execution, ran)
        if sight.missing:
            message = f"layer {self.name}: layer {ran[-1].name} left no proposal"
            raise execution.failed(QuorumNotMet, message, [])
        aides = await sight.sum_up([proposer.id for proposer in self.proposers], dispatch)
        request = execution.request(sight.of(self.proposers[0].id), ran, self.layer.deadline)
        requests = {proposer.id: request.about(sight.of(proposer.id)) for proposer in self.proposers}
        execution.emit(
            {
                "type": "layer.started",
                "layer": self.layer.name,
                "proposers": list(requests),
                "references": max(len(each.references) for each in requests.values()),
            }
        )
        began = time.monotonic()
        join = _Join(self, requests, dispatch)
        records = await join.run(execution.kept_in(self.layer))
        self._report(execution, records, time.monotonic() - began)
        ok = sum(record["status"] == "ok" for record in records.values())
        if ok < self.layer.quorum and join.agreement.among(records.values()) is None:
            message = f"layer {self.name}: {ok} of {len(records)} proposals, quorum {self.layer.quorum}"
            raise execution.failed(QuorumNotMet, message, [*aides.values(), *records.values()])
        records, stopped = await self.settling.settle(execution, {**aides, **records}, dispatch)
        update = execution.update(records)
        # Also None: the same message may have been answered before, and now be answered anew.
        return update | {"moa_stopped": stopped} if self.settling.spec.stop else update

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


class _Join:
    """Wait for the proposers of one layer; once enough is there, cut or leave out the rest."""

    def __init__(self, node: LayerNode, requests: dict[str, Request], dispatch: Dispatch[Proposal]) -> None:
        self.layer = node.layer
        self.agreement = node.settling.agreement()
        self.proposers = node.proposers
        self.requests = requests
        self.dispatch = dispatch
        self.request = next(iter(requests.values()))
        self.records: dict[str, Proposal] = {}
        self.futures: dict[asyncio.Future[Proposal], str] = {}
        self.pending: set[asyncio.Future[Proposal]] = set()
        self.waiting: deque[Proposer] = deque()
        self.patience_ends: float | None = None

    async def run(self, kept: dict[str, Proposal]) -> dict[str, Proposal]:
        """Return a record for each proposer, in spec order; `kept` are there already."""
        # Of this layer, maybe with some that were added by hand; who was asked about them is asked later.
        self.records = {id_: record for id_, record in kept.items() if is_proposal(record)}
        for record in self.records.values():
            report(record, self.request)
        for proposer in self.proposers:
            if proposer.id not in self.records:
                self._enlist(proposer)
        raised: list[Exception] = []
        try:
            self._look(enough=None)
            while self.pending:
                done, self.pending = await asyncio.wait(
                    self.pending, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED
                )
                for future in done:
                    try:
                        self.records[self.futures[future]] = collect(future, self.request)
                    except Exception as error:  # noqa: BLE001 - an interrupt: its siblings may finish
                        raised.append(error)
                self._look(enough=_STRAGGLER if self._is_over() else None)
        finally:
            # When this wait is cancelled, LangGraph's threads do not hear of it.
            self.request.end_all(LEFT)
        if raised:
            raise raised[0]
        return {proposer.id: self.records[proposer.id] for proposer in self.proposers} | self.records

    def _enlist(self, proposer: Proposer) -> None:
        """Have a proposer wait to be asked, or note that there is nothing that it could be asked about."""
        request = self.requests[proposer.id]
        if request.references or self.layer.references.instruction is None:
            self.waiting.append(proposer)
        else:  # without references nothing would be said of what it is to do with them
            self.records[proposer.id] = record = proposer.unasked(request, failure("error", _BLIND))
            report(record, request, failed=True)

    def _look(self, enough: str | None) -> None:
        """Ask those who are next, or nobody else where it is enough."""
        if enough is None and self.agreement.among(self.records.values()) is not None:
            enough = AGREED
        if enough is not None:
            self.request.end_all(enough)
        while self.waiting and (late := self._too_late(self.waiting[0])) is not None:
            self.records[late["id"]] = late
            self.waiting.popleft()
        most = self.layer.concurrency or len(self.proposers)
        while self.waiting and len(self.pending) < most:
            proposer = self.waiting.popleft()
            work = partial(proposer.propose, self.requests[proposer.id])
            future = self.dispatch(proposer.id, work)
            self.futures[future] = proposer.id
            self.pending.add(future)
        ok = sum(record["status"] == "ok" for record in self.records.values())
        if self.patience_ends is None and self.layer.grace is not None and ok >= self.layer.quorum:
            self.patience_ends = time.monotonic() + self.layer.grace

    def _too_late(self, proposer: Proposer) -> Proposal | None:
        return proposer.too_late(self.requests[proposer.id])

    def _patience(self) -> float | None:
        """Return the seconds until stragglers are cut; None: wait for all."""
        if self.patience_ends is None or self.request.stop.done():
            return None
        return max(0.0, self.patience_ends - time.monotonic())

    def _is_over(self) -> bool:
        return self.patience_ends is not None and time.monotonic() >= self.patience_ends
