"""How callbacks are added to the config of a call, and nothing else of it is changed."""

from __future__ import annotations

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables import RunnableConfig

__all__ = ["heard_by"]


def heard_by(config: RunnableConfig, *handlers: BaseCallbackHandler) -> RunnableConfig:
    """Return a config with more handlers, for all that runs under it.

    Not LangChain's `merge_configs`: it takes the surrounding run's metadata and configurable in again, over
    those that the config has.
    """
    callbacks = config.get("callbacks")
    if not isinstance(callbacks, BaseCallbackManager):
        return {**config, "callbacks": [*(callbacks or []), *handlers]}
    manager = callbacks.copy()
    for handler in handlers:
        manager.add_handler(handler, inherit=True)
    return {**config, "callbacks": manager}
