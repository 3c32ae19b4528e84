"""Calls of a node as LangGraph tasks: started together, awaited, and reported as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from moa_graph.events import Role
from moa_graph.execution import LEFT
from moa_graph.node import Dispatch
from moa_graph.proposers import NoProposal, Request
from moa_graph.proposers.call import Caller
from moa_graph.state import Proposal

__all__ = ["ask_all", "collect", "report"]


async def ask_all(
    asked: Sequence[tuple[Caller, Request]], dispatch: Dispatch[Proposal], kept: Mapping[str, Proposal]
) -> list[Proposal]:
    """Ask several at once; return their records in order, of those that failed as well.

    Who is among `kept` has spoken before, if it was asked about the same proposals.
    """
    kept = {
        caller.id: kept[caller.id]
        for caller, request in asked
        if caller.id in kept and kept[caller.id]["references"] == [each["id"] for each in request.references]
    }
    futures = {
        caller.id: dispatch(caller.id, partial(caller.propose, request))
        for caller, request in asked
        if caller.id not in kept
    }
    try:
        if futures:
            await asyncio.wait(futures.values())
    finally:
        for _, request in asked:
            request.end_all(LEFT)  # when this wait is cancelled, LangGraph's threads do not hear of it
    found: list[Proposal] = []
    raised: list[Exception] = []
    for caller, request in asked:
        if caller.id in kept:
            report(kept[caller.id], request)
            found.append(kept[caller.id])
            continue
        try:
            found.append(collect(futures[caller.id], request))
        except Exception as error:  # noqa: BLE001 - an interrupt: what the others took is reported first
            raised.append(error)
    if raised:
        raise raised[0]
    return found


def collect(future: asyncio.Future[Proposal], request: Request) -> Proposal:
    """Return the record of a call that has ended, and report it; raise what is no failure of a call."""
    error = future.exception()
    if error is None:
        proposal = future.result()
    elif isinstance(error, NoProposal):
        proposal = error.proposal
    else:
        raise error
    report(proposal, request, failed=error is not None)
    return proposal


def report(proposal: Proposal, request: Request, *, failed: bool = False) -> None:
    """Tell what came of a call; one that was not made in this process is booked now."""
    id_, role = proposal["id"], _role(proposal)
    if id_ not in request.budget.ran:
        request.budget.book(proposal)
    if failed:
        request.emit({"type": "call.failed", "id": id_, "role": role, "proposal": proposal})
    else:
        request.emit({"type": "call.finished", "id": id_, "role": role, "proposal": proposal})


def _role(proposal: Proposal) -> Role:
    return proposal.get("role", "proposer")
