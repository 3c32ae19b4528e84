"""Runs that nobody waits for: `background: true` on /v1/responses."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from moa_graph.extras import needing
from moa_graph.server.background.interface import Background
from moa_graph.server.background.local import open_local

__all__ = ["Background", "open_background"]


def open_background(url: str) -> AbstractAsyncContextManager[Background]:
    """Open what runs turns in the background, by the store's URL.

    On PostgreSQL they are jobs that every process with the same database takes from one queue; elsewhere
    this process runs them itself. Raises ModelNotReady when the extra `worker` is missing, and StoreError
    when the database cannot be used.
    """
    if url.partition(":")[0] not in ("postgresql", "postgres"):
        return open_local()
    with needing("worker"):
        from moa_graph.server.background.queued import open_queued  # noqa: PLC0415 -- an extra
    return open_queued(url)
