"""The retrieve node: passages for everybody, retrieved once, before anybody is asked."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from langchain_core.runnables.config import ensure_config, merge_configs

from moa_graph.errors import RetrievalFailed
from moa_graph.execution import LEFT, enter
from moa_graph.node import Dispatch, Node
from moa_graph.passages import Passage
from moa_graph.proposers import Request
from moa_graph.proposers.around import Paying, go_inside
from moa_graph.proposers.retrieving import Retrieval, sort_out
from moa_graph.proposers.spending import Spending
from moa_graph.proposers.waiting import until
from moa_graph.resources import Resources
from moa_graph.retrieval.pool import RetrievalError
from moa_graph.terms import without_terms

__all__ = ["RETRIEVE", "RetrieveNode"]

RETRIEVE = "retrieve"
"""The name of the node, and of the step in a thread."""


class RetrieveNode(Node):
    """Ask all retrievers of `spec.retrieve` in parallel, one LangGraph task each.

    Raises RetrievalFailed when one fails whose `on_error` is "fail".
    """

    name = RETRIEVE

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.retrieval = Retrieval(RETRIEVE, resources.retrievers, resources.models.redact)

    async def run(self, state: Any, dispatch: Dispatch[list[Passage]]) -> dict[str, Any]:
        """Return the passages, in the order of the spec, as an update of the state."""
        execution = await enter(self.resources, state, first=True)
        request = execution.request([])
        names = execution.spec.retrieve
        futures = [dispatch(f"{RETRIEVE}/{name}", partial(self._ask, name, request)) for name in names]
        try:
            await asyncio.wait(futures)
        finally:
            request.end_all(LEFT)  # when this wait is cancelled, LangGraph's threads do not hear of it
        outcomes = [future.exception() or future.result() for future in futures]
        found = sort_out(execution.spec, names, outcomes)
        if found.failures:
            message = "\n  ".join(["the passages for all could not be retrieved", *found.failures])
            raise execution.failed(RetrievalFailed, message, [])
        update = execution.update({}) | {"passages": found.passages}
        return update | ({"moa_warnings": found.warnings} if found.warnings else {})

    async def _ask(self, name: str, request: Request) -> list[Passage]:
        """Return what one retriever finds; raise what went wrong, so that a resumed run asks again."""
        # A retriever of the host may ask models, and mixtures, too.
        payer = Paying(Spending(request.budget, None, None, holds_place=False), request.deadline)
        go_inside(f"{self.resources.spec.name}: {RETRIEVE}/{name}", payer)
        metadata = {"moa_layer": RETRIEVE, "moa_role": "retriever"}
        config = without_terms(merge_configs(ensure_config(), {"metadata": metadata}))
        work = await until(self.retrieval.ask(name, request, config), request)
        if work is None:
            raise RetrievalError(name, "the deadline passed before it had answered.")
        return work.result()
