"""Who sends headers for ever does not hold a connection for ever; who is slow with an answer does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from moa_graph.server import connections
from moa_graph.server.connections import Connection

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@asynccontextmanager
async def served(
    app: Any, connections_of: set[Any] | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve an application on a free port, and connect to it."""
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_keep_alive=60)
    config.load()
    state = ServerState()
    if connections_of is not None:
        state.connections = connections_of
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(config=config, server_state=state, app_state={}),
        sock=socket.create_server(
            ("127.0.0.1", 0)
        ),  # as the server's own, which do not say that they are TCP
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            await asyncio.gather(*state.tasks)


async def test_what_is_written_is_sent_at_once() -> None:
    said: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        (connection,) = connections_of
        opened = connection.transport.get_extra_info("socket")
        said.append(opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await PlainTextResponse("fine")(scope, receive, send)

    connections_of: set[Any] = set()
    async with served(app, connections_of) as (reader, writer), asyncio.timeout(10):
        writer.write(REQUEST)
        assert await answered(reader) == b"fine"
    assert said == [1]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_PATIENCE", 0.1)


async def answered(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return await reader.readexactly(length)


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: lo"])
@pytest.mark.usefixtures("impatient")
async def test_headers_that_do_not_end_end_the_connection(begun: bytes) -> None:
    async with served(PlainTextResponse("fine")) as (reader, writer), asyncio.timeout(10):
        writer.write(begun)
        assert await reader.read() == b""


@pytest.mark.usefixtures("impatient")
async def test_nor_do_those_of_a_later_request_on_the_connection() -> None:
    async with served(PlainTextResponse("fine")) as (reader, writer), asyncio.timeout(10):
        writer.write(REQUEST)
        assert await answered(reader) == b"fine"
        writer.write(REQUEST[:20])
        assert await reader.read() == b""


@pytest.mark.usefixtures("impatient")
async def test_an_answer_may_take_longer() -> None:
    looked = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, looked.set)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await looked.wait()
        await PlainTextResponse("late")(scope, receive, send)

    async with served(app) as (reader, writer), asyncio.timeout(10):
        writer.write(REQUEST)
        assert await answered(reader) == b"late"
