"""Server-sent events, and work that ends when its client is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

__all__ = ["DONE", "STILL_HERE", "ClientGone", "event", "until_gone"]

T = TypeVar("T")

DONE = "data: [DONE]\n\n"
"""What OpenAI's chat streams end with."""
STILL_HERE = ": still working\n\n"
"""A comment, which no client shows: it keeps proxies from closing a silent connection."""


class ClientGone(Exception):
    """Report that nobody waits for the answer any more; what was under way is cancelled."""


def event(data: object, name: str | None = None) -> str:
    """Return one server-sent event with `data` as JSON."""
    line = f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
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


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
