"""Server-sent events, and what happens when a client goes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import Request

from moa_graph.server.streaming import ClientGone, event, until_gone


def request(messages: asyncio.Queue[dict[str, Any]]) -> Request:
    return Request({"type": "http", "headers": []}, messages.get)


def test_an_event_is_one_line_whatever_the_text_holds() -> None:
    written = event({"text": "a\nb\r\u2028é"}, "delta")
    name, data, *rest = written.split("\n")
    assert (name, rest) == ("event: delta", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {"text": "a\nb\r\u2028é"}


def test_an_event_without_a_name_is_data_alone() -> None:
    assert event([1]) == "data: [1]\n\n"


async def test_work_is_given_back_while_its_client_waits() -> None:
    async def work() -> int:
        return 7

    assert await until_gone(request(asyncio.Queue()), work()) == 7


async def test_work_that_fails_raises() -> None:
    async def work() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await until_gone(request(asyncio.Queue()), work())


async def test_work_is_cancelled_and_awaited_when_its_client_goes() -> None:
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    ended = []

    async def work() -> None:
        try:
            messages.put_nowait({"type": "http.request", "body": b""})
            messages.put_nowait({"type": "http.disconnect"})
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    with pytest.raises(ClientGone):
        await until_gone(request(messages), work())
    assert ended == ["work"]


async def test_cancelling_the_wait_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.ensure_future(until_gone(request(asyncio.Queue()), work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
