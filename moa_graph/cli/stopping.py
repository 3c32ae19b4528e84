"""Ctrl-C and SIGTERM: the first ends the work in good order, the second ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

__all__ = ["Stopped", "run_until_stopped"]

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds that cancelled work has to close its connections, and a thread to note down how it ended."""
LAST_RESORT = 2.5
"""Seconds after a signal at which the process ends whatever still hangs."""


class Stopped(typer.Exit):
    """End the command because of a signal; `exit_code` is 128 + signal: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


def run_until_stopped(work: Coroutine[Any, Any, T], on_stop: Callable[[], None]) -> T:
    """Run `work` on an event loop of its own and return its result.

    On SIGINT or SIGTERM `on_stop` is called at once, the work is cancelled, and Stopped is raised.
    A second signal, or work that cannot be cancelled in time, ends the process with the same code.
    """
    signals = _Signals()
    with signals.caught():
        return asyncio.run(_race(work, signals, on_stop))


async def _race(work: Coroutine[Any, Any, T], signals: _Signals, on_stop: Callable[[], None]) -> T:
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(signals.arrival())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        stop.cancel()
        return task.result()
    on_stop()
    task.cancel()
    await asyncio.wait({task}, timeout=PATIENCE)
    if task.done() and not task.cancelled():
        task.exception()  # looked at, so that asyncio does not log it as lost
    raise Stopped(stop.result())


class _Signals:
    """Remember the first signal and wake the event loop; leave on the second."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._wake: Callable[[], object] = lambda: None

    async def arrival(self) -> int:
        """Return the number of the first signal, when it comes or if it came already."""
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._wake = lambda: loop.call_soon_threadsafe(woken.set)
        if self._first is None:
            await woken.wait()
        return self._first or signal.SIGINT

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch both signals; outside the main thread, where Python does not allow it, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._caught) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _caught(self, number: int, _frame: object) -> None:
        if self._first is not None:
            os._exit(128 + number)
        self._first = number
        last_resort = threading.Timer(LAST_RESORT, os._exit, [128 + number])
        last_resort.daemon = True
        last_resort.start()
        self._wake()
