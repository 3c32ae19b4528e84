"""Retrieval: the retrievers of a spec, over local files or registered by the host program."""

from moa_graph.retrieval.pool import RetrievalError, RetrieverPool

__all__ = ["RetrievalError", "RetrieverPool"]
