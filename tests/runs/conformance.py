"""LangGraph's own conformance suite, run on the checkpointer of a store as the package wires it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import validate
from langgraph.checkpoint.conformance.initializer import RegisteredCheckpointer
from langgraph.checkpoint.conformance.report import CapabilityReport

from moa_graph.runs.stores import Store

__all__ = ["check"]


async def check(open_store: Callable[[], AbstractAsyncContextManager[Store]]) -> CapabilityReport:
    """Assert that all a store's checkpointer claims to do is done right; `open_store` gives an empty one."""

    async def savers() -> AsyncIterator[BaseCheckpointSaver[str]]:
        async with open_store() as store:
            yield store.saver()

    report = await validate(RegisteredCheckpointer("store", savers))  # type: ignore[arg-type]
    failures = {name: result.failures for name, result in report.results.items() if result.failures}
    assert failures == {}
    assert report.passed_all_base()
    return report
