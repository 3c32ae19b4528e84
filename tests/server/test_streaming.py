"""Server-sent events, and what happens when a client goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from moa_graph.server.streaming import ClientGone, EventStream, begun, event, until_gone

SCOPE = {"type": "http", "headers": [], "asgi": {"spec_version": "2.4"}}


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
    begun_, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            begun_.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.ensure_future(until_gone(request(asyncio.Queue()), work()))
    await begun_.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_parts_whose_first_comes_as_the_wait_is_cancelled_are_closed() -> None:
    ended = []

    async def parts() -> AsyncGenerator[int]:
        try:
            waiting.cancel()
            yield 1
        finally:
            ended.append("parts")

    made = parts()  # held, so that it is not collected
    waiting = asyncio.ensure_future(begun(request(asyncio.Queue()), made))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["parts"]


async def test_a_stream_whose_client_goes_while_it_sends_closes_events_and_their_parts() -> None:
    ended = []

    async def parts() -> AsyncGenerator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.append("parts")

    async def events(parts: AsyncGenerator[int]) -> AsyncGenerator[str]:
        try:
            async for part in parts:
                yield event(part)
        finally:
            ended.append("events")

    async def send(message: Any) -> None:
        if message.get("body"):
            raise OSError

    made = parts()
    told = events(made)  # both are held, as above
    with pytest.raises(ClientDisconnect):
        await EventStream(made, told)(SCOPE, asyncio.Queue().get, send)
    assert ended == ["events", "parts"]
