"""A call that is cut off ends in traces, whatever it had begun: models, tools, retrievers."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

from moa_graph.proposers.tracing import ending_traces
from tests.fakes.models import ScriptedChatModel as Model


class Tracer(BaseTracer):
    """Keep the runs that have ended, roots and all below them."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[str, Run] = {}

    def _persist_run(self, run: Run) -> None:
        pass

    def _end_trace(self, run: Run) -> None:
        self.ended[run.run_type] = run
        super()._end_trace(run)


reached: ContextVar[asyncio.Event] = ContextVar("reached")


async def hang() -> None:
    """Say that the call is under way, and never end."""
    reached.get().set()
    await asyncio.Event().wait()


class Searching(BaseRetriever):
    """Be a retriever that never finds anything."""

    def _get_relevant_documents(self, *_: Any, **__: Any) -> list[Document]:
        raise AssertionError("only the asynchronous form is used")

    async def _aget_relevant_documents(self, *_: Any, **__: Any) -> list[Document]:
        await hang()
        return []


@tool
async def look_up(question: str) -> str:
    """Look something up, for ever."""
    await hang()
    return question


HANGING: dict[str, Runnable[Any, Any]] = {
    "llm": Model(wait=hang),
    "retriever": Searching(),
    "tool": look_up,
}


async def cut(runnable: Runnable[Any, Any], config: RunnableConfig) -> None:
    """Cancel a call once it is under way."""
    there = asyncio.Event()
    reached.set(there)

    async def call() -> None:
        async with ending_traces(config) as watched:
            await runnable.ainvoke("Why?", watched)

    work = asyncio.create_task(call())
    await there.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


@pytest.mark.parametrize("kind", HANGING)
async def test_what_was_begun_ends_with_an_error(kind: str) -> None:
    tracer = Tracer()
    await cut(HANGING[kind], {"callbacks": [tracer]})
    assert str(tracer.ended[kind].error).startswith("CancelledError('ended from outside")
    assert tracer.run_map == {}


async def test_what_is_inside_a_chain_ends_and_so_does_the_chain() -> None:
    tracer = Tracer()
    await cut(RunnableLambda(str) | Model(wait=hang), {"callbacks": [tracer]})
    assert tracer.ended.keys() == {"chain", "llm"}
    assert all(run.error for run in tracer.ended.values())


async def test_a_call_that_had_ended_is_not_ended_again(caplog: pytest.LogCaptureFixture) -> None:
    tracer = Tracer()

    async def go_on(answer: Any) -> Any:
        await hang()
        return answer

    await cut(Model("Done.") | RunnableLambda(go_on), {"callbacks": [tracer]})
    assert tracer.ended["llm"].error is None
    assert caplog.records == []


async def test_without_a_tracer_nothing_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    await cut(HANGING["llm"], {})
    assert caplog.records == []
