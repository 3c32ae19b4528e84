"""A run under way: awaited for what it gives, or followed event by event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from typing import Any

from moa_graph.events import Emit, Event
from moa_graph.runs.run import Run

__all__ = ["Pursue", "Running", "both"]

Pursue = Callable[[Emit, bool], Coroutine[Any, Any, Run]]
"""Do the work, emitting events, with tokens or without."""


class Running:
    """Be a run that begins when it is awaited or iterated over.

    `await running` returns the Run. `async for event in running` yields the events of `moa_graph.events`;
    then the Run is in `running.result`. Leaving the loop early interrupts the run; what it paid for is kept.
    """

    def __init__(self, pursue: Pursue) -> None:
        self._pursue = pursue
        self._begun = False
        self.result: Run | None = None

    def __await__(self) -> Generator[Any, None, Run]:
        return self._finish().__await__()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self.events()

    async def events(self, *, tokens: bool = False) -> AsyncGenerator[Event]:
        """Yield what happens; with `tokens` also the pieces of every text as they arrive."""
        happened: asyncio.Queue[Event | None] = asyncio.Queue()
        self._begin()
        work = asyncio.create_task(self._pursue(happened.put_nowait, tokens))
        work.add_done_callback(lambda _: happened.put_nowait(None))
        try:
            while (event := await happened.get()) is not None:
                yield event
            self.result = work.result()
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if not work.cancelled():
                work.exception()  # asyncio logs those that nobody looks at

    async def _finish(self) -> Run:
        self._begin()
        self.result = await self._pursue(lambda _: None, False)
        return self.result

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError("a run is awaited or iterated over once; resume its thread to go on")
        self._begun = True


def both(emit: Emit, listen: Emit | None) -> Emit:
    """Return what passes an event on to both who hear of it."""
    if listen is None:
        return emit

    def tell(event: Event) -> None:
        listen(event)
        emit(event)

    return tell
