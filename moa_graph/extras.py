"""Packages of an extra: imported when they are needed, and what to say without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moa_graph.errors import ModelNotReady

__all__ = ["needing"]


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Import packages of an extra inside; raise ModelNotReady, which says how to install what is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("moa_graph"):
            raise
        missing = f"the package {error.name or error} is missing"
        raise ModelNotReady(f"{missing}; install it with pip install 'moa-graph[{extra}]'.") from error
