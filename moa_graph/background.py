"""Sync on top of the async core: one event loop in a daemon thread that serves every `invoke`."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, cast

__all__ = ["iterate", "run"]

T = TypeVar("T")

_THREADS = 64


class _Loop:
    """Keep an event loop running in a thread of its own; `pid` tells a forked child that it has none."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        # For models and Runnables that are sync only, which may call something sync of ours in turn.
        self.loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="moa_graph"))
        self.thread = threading.Thread(target=self._serve, name="moa_graph", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            # A task that raises SystemExit ends `run_forever`, too; whoever waits for it gets the error.
            with suppress(BaseException):
                self.loop.run_forever()


_lock = threading.Lock()
_current: _Loop | None = None


def _get() -> _Loop:
    global _current  # noqa: PLW0603 - one loop a process is the point
    with _lock:
        if _current is None or _current.pid != os.getpid():
            _current = _Loop()
        return _current


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and return its result; context variables go along.

    Works from a script, from inside a running event loop (a notebook) and from many threads at once.
    When the wait is interrupted (Ctrl-C) the coroutine is cancelled. Raises RuntimeError when called on
    the background loop itself: waiting there would stop the loop that is waited for.
    """
    background = _get()
    if threading.current_thread() is background.thread:
        coroutine.close()
        raise RuntimeError("invoke was called by async code of an invoke; use ainvoke there")
    future = asyncio.run_coroutine_threadsafe(coroutine, background.loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def iterate(items: AsyncIterator[T]) -> Iterator[T]:
    """Yield what an async iterator yields on the background loop; closing this one closes it, too."""
    under_way: list[asyncio.Task[Any]] = []

    async def following() -> tuple[T] | None:
        under_way[:] = [cast("asyncio.Task[Any]", asyncio.current_task())]
        async for item in items:
            return (item,)
        return None

    async def close() -> None:
        for task in under_way:  # a wait that was interrupted may have left it running
            task.cancel()
            await asyncio.wait({task})
        if isinstance(items, AsyncGenerator):
            await items.aclose()

    try:
        while (item := run(following())) is not None:
            yield item[0]
    finally:
        run(close())
