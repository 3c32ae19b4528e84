"""Who hears of the calls inside a chat model: tracers record them, all others hear of one call."""

from __future__ import annotations

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManagerForLLMRun,
)
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.tracers.context import _configure_hooks
from langchain_core.tracers.log_stream import LogStreamCallbackHandler

__all__ = ["Manager", "children", "hear_nobody_else"]

Manager = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None
"""What LangChain hands to a chat model for the callbacks of one call."""


def children(manager: Manager) -> AsyncCallbackManager | None:
    """Return the callbacks of the calls inside: tracers record them as children of this call.

    Other handlers hear of this call alone, or they would count its tokens twice and show them several times.
    """
    if manager is None:
        return None
    tracers: list[BaseCallbackHandler] = [handler for handler in manager.handlers if _records(handler)]
    return AsyncCallbackManager(
        handlers=tracers,
        inheritable_handlers=tracers,
        parent_run_id=manager.run_id,
        tags=manager.inheritable_tags,
        inheritable_tags=manager.inheritable_tags,
        metadata=manager.inheritable_metadata,
        inheritable_metadata=manager.inheritable_metadata,
    )


def hear_nobody_else() -> None:
    """Take handlers out of this context that would hear the calls inside as well and count them again.

    LangChain adds them to each call by context variables (`get_usage_metadata_callback`, for one); it has no
    public list of those.
    """
    for variable, *_ in _configure_hooks:
        if (handler := variable.get(None)) is not None and not _records(handler):
            variable.set(None)


def _records(handler: BaseCallbackHandler) -> bool:
    """Tell whether a handler records what happens; of LangChain's tracers one shows a stream."""
    return isinstance(handler, BaseTracer | AsyncBaseTracer) and not isinstance(
        handler, LogStreamCallbackHandler
    )
