"""What a trace is told of calls that are cut off: LangChain itself reports a cancelled model to nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.callbacks.manager import ahandle_event
from langchain_core.runnables.config import (
    RunnableConfig,
    get_async_callback_manager_for_config,
)

from moa_graph.budget import BudgetSpent
from moa_graph.proposers.listening import heard_by
from moa_graph.proposers.watch import TokenWatch

__all__ = ["ending_traces"]

_CUT = "ended from outside, before its answer was complete"


def ending_traces(config: RunnableConfig) -> AbstractAsyncContextManager[RunnableConfig]:
    """Yield the config for a call; if it is cut off, report what it had begun as ended by an error.

    Otherwise LangSmith would show those runs as pending, OpenTelemetry would export no span of them, and
    tracers would keep their prompts in memory for ever.
    """
    return _ending(config) if _is_heard(config) else nullcontext(config)  # listening takes time


@asynccontextmanager
async def _ending(config: RunnableConfig) -> AsyncIterator[RunnableConfig]:
    watch = _OpenRuns()
    try:
        yield heard_by(config, watch)
    # What a cancellation was made into, too, such as a timeout.
    except (asyncio.CancelledError, BudgetSpent, Exception):
        handlers = get_async_callback_manager_for_config(config).handlers
        for id_, run in reversed(list(watch.open.items())):  # the innermost first
            await ahandle_event(
                handlers,
                f"on_{run.kind}_error",
                _IGNORED_AS[run.kind],
                asyncio.CancelledError(_CUT),
                run_id=id_,
                parent_run_id=run.parent,
                tags=run.tags,
            )
        raise


def _is_heard(config: RunnableConfig) -> bool:
    """Tell whether anybody but a call's own watch listens."""
    callbacks = config.get("callbacks") or []
    handlers = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks
    return not all(isinstance(handler, TokenWatch) for handler in handlers)


_IGNORED_AS = {"llm": "ignore_llm", "retriever": "ignore_retriever", "tool": "ignore_agent"}
"""The mark by which a callback handler says that it does not want the events of a kind."""


class _Run(NamedTuple):
    kind: str
    parent: UUID | None
    tags: list[str] | None


class _OpenRuns(BaseCallbackHandler):
    """Know the chat models, retrievers and tools that have begun and not ended; others report their end."""

    run_inline = True

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[UUID, _Run] = {}

    def _begin(self, kind: str, ids: dict[str, Any]) -> None:
        self.open[ids["run_id"]] = _Run(kind, ids.get("parent_run_id"), ids.get("tags"))

    def on_chat_model_start(self, *_: Any, **ids: Any) -> None:
        self._begin("llm", ids)

    def on_retriever_start(self, *_: Any, **ids: Any) -> None:
        self._begin("retriever", ids)

    def on_tool_start(self, *_: Any, **ids: Any) -> None:
        self._begin("tool", ids)

    def _end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.open.pop(run_id, None)

    on_llm_end = on_llm_error = _end
    on_retriever_end = on_retriever_error = _end
    on_tool_end = on_tool_error = _end
