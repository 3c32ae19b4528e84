"""From `provider:model` to a chat model that is ready to be called."""

from moa_graph.models.failures import ModelOutputError, ProviderError
from moa_graph.models.pool import ModelPool

__all__ = ["ModelOutputError", "ModelPool", "ProviderError"]
