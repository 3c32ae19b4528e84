"""Calls of a node as LangGraph tasks: started together, awaited, and reported as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from moa_graph.events import Role
from moa_graph.execution import LEFT, Execution
from moa_graph.node import Dispatch
from moa_graph.proposers import NoProposal, Request
from moa_graph.proposers.call import Caller
from moa_graph.state import Proposal

__all__ = ["ask_all", "collect", "report"]


async def ask_all(
    asked: Sequence[tuple[Caller, Request]], dispatch: Dispatch[Proposal], execution: Execution
) -> list[Proposal]:
    """Ask at once who has not spoken yet; return all records in order, of those that failed as well."""
    kept = {
        caller.id: record
        for caller, request in asked
        if (record := execution.known(caller.id, request.references)) is not None
    }
    left = [each for each in asked if each[0].id not in kept]
    try:
        futures = await _ended(left, dispatch, execution.spec.limits.max_concurrency)
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


async def _ended(
    asked: Sequence[tuple[Caller, Request]], dispatch: Dispatch[Proposal], most: int
) -> dict[str, asyncio.Future[Proposal]]:
    """Return all calls by their ids when they have ended; `most` are tasks at a time.

    They begin in order, as LangGraph knows tasks by their places. Each of its tasks looks at all the others
    when it ends, and with `invoke` takes a thread: so there are no more of them than may send a request.
    """
    futures: dict[str, asyncio.Future[Proposal]] = {}
    pending: set[asyncio.Future[Proposal]] = set()
    for caller, request in asked:
        if len(pending) >= most:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if (late := caller.too_late(request)) is None:
            futures[caller.id] = dispatch(caller.id, partial(caller.propose, request))
            pending.add(futures[caller.id])
        else:
            futures[caller.id] = asyncio.get_running_loop().create_future()
            futures[caller.id].set_exception(NoProposal(late))
            futures[caller.id].exception()  # looked at, also where this is cancelled before it is collected
    if pending:
        await asyncio.wait(pending)
    return futures


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
