"""Server-sent events, and work that ends when its client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from moa_graph.server.encoding import encoded

__all__ = ["DONE", "STILL_HERE", "ClientGone", "EventStream", "begun", "event", "until_gone"]

T = TypeVar("T")

DONE = "data: [DONE]\n\n"
"""What OpenAI's chat streams end with."""
STILL_HERE = ": still working\n\n"
"""A comment, which no client shows: it keeps proxies from closing a silent connection."""


class ClientGone(Exception):
    """Report that nobody waits for the answer any more; what was under way is cancelled."""


def event(data: object, name: str | None = None) -> str:
    """Return one server-sent event with `data` as JSON."""
    line = f"data: {encoded(data)}\n\n"
    return f"event: {name}\n{line}" if name else line


async def until_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` gives; if its client goes before that, cancel it and raise ClientGone.

    The request's body must have been read.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.wait({task, gone})
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not log it as lost


async def begun(request: Request, parts: AsyncGenerator[T]) -> T:
    """Return the first part of what a request asks for: who is not admitted gets a status, not a stream."""
    try:
        return await until_gone(request, _first(parts))
    except BaseException:
        await parts.aclose()
        raise


async def _first(parts: AsyncGenerator[T]) -> T:
    return await anext(parts)


class EventStream(StreamingResponse):
    """Send events; however that ends, the run behind them ends with it."""

    def __init__(
        self,
        parts: AsyncGenerator[Any],
        events: AsyncGenerator[str],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take the events, and the parts that they are made of."""
        unbuffered = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(events, headers={**(headers or {}), **unbuffered}, media_type="text/event-stream")
        self._parts, self._events = parts, events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; a generator that is left behind would end when it is collected."""
        async with aclosing(self._parts), aclosing(self._events):
            await super().__call__(scope, receive, send)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
