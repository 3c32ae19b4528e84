"""Waiting for work that may have to be given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from moa_graph.proposers import Request

__all__ = ["aside", "look_at", "until"]

T = TypeVar("T")

CANCEL_GRACE = 0.5
"""Seconds that a cancelled call gets to close its connection before it is left behind.

A model that ignores cancellation keeps its place in `limits.max_concurrency` until it ends.
"""
_SMALL = 100_000
"""Characters that are read and compared in some hundredths of a second."""


async def until(work: Coroutine[Any, Any, T], request: Request) -> asyncio.Future[T] | None:
    """Return work that has ended; None if it was given up, at the deadline or at `request.stop`."""
    future = asyncio.ensure_future(work)
    future.add_done_callback(look_at)
    try:
        ends: set[asyncio.Future[Any]] = {future, request.stop}
        await asyncio.wait(ends, timeout=request.remaining, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not future.done():
            future.cancel()
            await asyncio.wait({future}, timeout=CANCEL_GRACE)
    return future if future.done() and not future.cancelled() else None


async def aside(work: Callable[[], T], size: int, request: Request) -> T:
    """Return what work on so many characters gives; big work is done in a thread, and others go on meanwhile.

    Raises TimeoutError at the deadline. The thread is left behind then, as nothing can end it.
    """
    if size <= _SMALL:
        return work()
    ended = await until(asyncio.to_thread(work), request)
    if ended is None:
        raise TimeoutError
    return ended.result()


def look_at(work: asyncio.Future[Any]) -> None:
    """Look at the outcome of a call that may have been left behind: asyncio logs those nobody looked at."""
    if not work.cancelled():
        work.exception()
