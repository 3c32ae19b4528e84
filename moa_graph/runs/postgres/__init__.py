"""Threads in PostgreSQL; its packages are an extra, imported when a URL asks for them."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from langgraph.checkpoint.serde.base import SerializerProtocol

from moa_graph.errors import MoAError
from moa_graph.runs.stores import Store

__all__ = ["open_postgres"]


def open_postgres(url: str, serializer: SerializerProtocol) -> AbstractAsyncContextManager[Store]:
    """Open `postgresql://user@host/database`; what follows a `?` are libpq's own settings.

    Raises MoAError for a URL that libpq cannot read and when the extra is missing; StoreError when the
    server cannot be reached, which is not tried again: nothing is lost yet.
    """
    try:
        from moa_graph.runs.postgres.store import opened  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise MoAError(
            f"PostgreSQL needs packages that are not installed ({error})",
            hint="pip install 'moa-graph[postgres]'",
        ) from error
    return opened(url, serializer)
