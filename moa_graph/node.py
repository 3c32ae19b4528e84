"""A graph node whose one async body serves `invoke` and `ainvoke`, and can run LangGraph tasks from both."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from inspect import Signature
from typing import Any, TypeVar, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.func import task

from moa_graph import background
from moa_graph.state import MoAState

__all__ = ["Dispatch", "Node"]

T = TypeVar("T")

_NO_ARGUMENTS = Signature()

Work = Callable[[], Coroutine[Any, Any, T]]

Dispatch = Callable[[str, Work[T]], "asyncio.Future[T]"]
"""Start named work as a LangGraph task, which keeps its result with the run's checkpoints."""


class Node(Runnable[MoAState, dict[str, Any]]):
    """Be a node: subclasses write `run`, which gets the state and a way to start tasks."""

    def invoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002
        """Run the body on the background loop; its tasks run in LangGraph's threads."""
        return background.run(self.run(input, _choose(config, _dispatch_threaded)))

    async def ainvoke(
        self,
        input: MoAState,  # noqa: A002 - Runnable's own name
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Run the body on the caller's loop."""
        return await self.run(input, _choose(config, _dispatch))

    @abstractmethod
    async def run(self, state: MoAState, dispatch: Dispatch[Any]) -> dict[str, Any]:
        """Do the node's work and return the update of the state."""


def _choose(config: RunnableConfig | None, dispatch: Dispatch[Any]) -> Dispatch[Any]:
    # With max_concurrency = 1 the node itself holds LangGraph's only place, and a task would wait for ever.
    return _dispatch_directly if (config or {}).get("max_concurrency") == 1 else dispatch


def _dispatch(name: str, work: Work[T]) -> asyncio.Future[T]:
    async def call() -> T:
        return await work()

    return cast("asyncio.Future[T]", _as_task(name, call)())


def _dispatch_threaded(name: str, work: Work[T]) -> asyncio.Future[T]:
    def call() -> T:
        return background.run(work())

    return asyncio.wrap_future(cast("Future[T]", _as_task(name, call)()))


def _as_task(name: str, call: Any) -> Any:
    """Return a function as a LangGraph task; its types know neither asyncio's futures nor the threads'."""
    call.__signature__ = _NO_ARGUMENTS  # LangGraph works it out anew for each task, and twice
    return task(name=name)(call)


def _dispatch_directly(name: str, work: Work[T]) -> asyncio.Future[T]:
    return asyncio.create_task(work(), name=name)
