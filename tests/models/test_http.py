from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web

from moa_graph.models import http
from moa_graph.models.failures import ModelOutputError
from moa_graph.models.http import AiohttpTransport, client_for
from tests.fakes.openai_server import FakeOpenAI

ASK = {"messages": [{"role": "user", "content": "Hi."}]}


async def post(server: FakeOpenAI, model: str, **extra: Any) -> httpx2.Response:
    client = client_for(server.origin)
    return await client.post(f"{server.base_url}/chat/completions", json={"model": model, **ASK, **extra})


@pytest.fixture
async def site() -> AsyncIterator[Any]:
    """Serve one handler: `origin = await site(handler)`."""
    runners: list[web.AppRunner] = []

    async def serve(handler: Any) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield serve
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def no_sessions_left() -> Iterator[None]:
    yield
    # The loop that serves sync calls of other tests goes on running.
    assert [loop for _, loop in http._sessions._open if not loop.is_running()] == []


def test_one_client_serves_event_loops_one_after_the_other(
    server: FakeOpenAI, no_sessions_left: None
) -> None:
    for _ in range(3):
        assert asyncio.run(post(server, "ok")).status_code == 200
    gc.collect()  # an unclosed session would warn here, and warnings are errors
    assert server.count("ok") == 3


def test_one_client_serves_event_loops_in_many_threads_at_once(
    server: FakeOpenAI, no_sessions_left: None
) -> None:
    answers: list[int] = []

    async def both() -> None:
        responses = await asyncio.gather(post(server, "meet-4@a"), post(server, "meet-4@a"))
        answers.extend(response.status_code for response in responses)

    threads = [threading.Thread(target=asyncio.run, args=(both(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_ends_without_shutting_down_leaves_nothing_behind(server: FakeOpenAI) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(post(server, "ok"))
    loop.close()
    asyncio.run(post(server, "ok"))
    assert all(not other.is_closed() for _, other in http._sessions._open)
    del loop
    gc.collect()


def test_a_process_with_a_loop_in_a_daemon_thread_ends_silently(server: FakeOpenAI) -> None:
    script = (
        "import sys\n"
        "from moa_graph import background\n"
        "from moa_graph.models.http import client_for\n"
        "print(background.run(client_for(sys.argv[1]).get(sys.argv[1])).status_code)\n"
    )
    command = [sys.executable, "-X", "dev", "-c", script, server.origin]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "404"
    assert "Unclosed" not in done.stderr


async def test_connections_are_used_again(site: Any) -> None:
    peers = set()

    async def handler(request: web.Request) -> web.Response:
        peers.add(request.transport.get_extra_info("peername"))  # type: ignore[union-attr]
        return web.Response(text="x" * 100_000)

    origin = await site(handler)
    for _ in range(5):
        await client_for(origin).get(origin)
    assert len(peers) == 1


async def test_a_closed_transport_can_be_used_again(server: FakeOpenAI) -> None:
    transport = AiohttpTransport()
    request = httpx2.Request("GET", server.origin)
    for _ in range(2):
        response = await transport.handle_async_request(request)
        await response.aread()
        await transport.aclose()
    await transport.aclose()
    assert response.status_code == 404


async def test_redirects_are_not_followed(server: FakeOpenAI) -> None:
    response = await post(server, "redirect")
    assert response.status_code == 307
    assert server.strays == 0


async def test_compression_is_not_asked_for_and_understood_all_the_same(server: FakeOpenAI) -> None:
    response = await post(server, "gzip")
    assert response.json()["choices"][0]["message"]["content"].startswith("Answer of gzip")
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_compression_bomb_is_refused(server: FakeOpenAI, stream: bool) -> None:
    with pytest.raises(ModelOutputError, match="longer than 32 MiB") as caught:
        await post(server, "gzip-bomb", stream=stream)
    assert caught.value.kind == "too_long"


async def test_a_body_without_end_is_cut_off(server: FakeOpenAI) -> None:
    client = httpx2.AsyncClient(transport=AiohttpTransport(max_bytes=100_000))
    with pytest.raises(ModelOutputError) as caught:
        await client.post(f"{server.base_url}/chat/completions", json={"model": "endless", **ASK})
    assert caught.value.kind == "too_long"
    assert await server.disconnected("endless")


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("br", b"x", "unasked"),
        ("gzip", b"not gzip", "not validly compressed"),
        ("gzip, gzip", b"x", "unasked"),
    ],
)
async def test_strange_compression_is_refused(site: Any, encoding: str, body: bytes, message: str) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    origin = await site(handler)
    with pytest.raises(ModelOutputError, match=message):
        await client_for(origin).get(origin)


async def test_deflate_is_understood(site: Any) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=zlib.compress(b"hello"), headers={"Content-Encoding": "deflate"})

    origin = await site(handler)
    assert (await client_for(origin).get(origin)).text == "hello"


async def test_a_cancelled_request_closes_its_connection(server: FakeOpenAI) -> None:
    asking = asyncio.create_task(post(server, "hang"))
    assert await server.started("hang")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await server.disconnected("hang")


async def test_a_request_cancelled_in_mid_body_closes_its_connection(server: FakeOpenAI) -> None:
    asking = asyncio.create_task(post(server, "drip"))
    assert await server.started("drip")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await server.disconnected("drip")


async def test_transport_errors_are_those_of_httpx2(server: FakeOpenAI) -> None:
    with pytest.raises(httpx2.TransportError):
        await post(server, "reset")
    with pytest.raises(httpx2.TransportError):
        await post(server, "cut-dirty")
    with pytest.raises(httpx2.ConnectError):
        await client_for("http://127.0.0.1:9").get("http://127.0.0.1:9/")


async def test_proxies_of_the_environment_are_used_unless_excepted(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=f"proxied {request.raw_path}")

    proxy = await site(handler)
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "excepted.test")
    client_for.cache_clear()
    response = await client_for("http://models.test").get("http://models.test/v1")
    assert response.text == "proxied http://models.test/v1"
    transport = client_for("http://excepted.test")._transport
    assert isinstance(transport, AiohttpTransport)
    assert transport._proxy is None
    client_for.cache_clear()


async def test_an_unreachable_proxy_is_an_error_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    client_for.cache_clear()
    with pytest.raises(httpx2.ProxyError):
        await client_for("http://models.test").get("http://models.test/v1")
    client_for.cache_clear()


async def test_a_host_that_speaks_no_tls_is_an_error_of_the_connection() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    origin = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        with pytest.raises(httpx2.ConnectError):
            await client_for(origin).get(origin)


async def test_cookies_are_neither_kept_nor_sent(site: Any) -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "session=1; Path=/"})

    origin = await site(handler)
    for _ in range(2):
        await client_for(origin).get(origin)
    assert seen == [None, None]


def test_a_forked_child_leaves_its_parents_sessions_alone(monkeypatch):
    class Untouchable:
        def is_running(self):
            raise AssertionError("the parent's loop was asked")

    sessions = http._Sessions()
    sessions._open[(object(), Untouchable())] = (object(), object())
    with pytest.raises(AssertionError, match="the parent's loop"):
        sessions.close_all()  # the process that opened them does ask
    monkeypatch.setattr(http.os, "getpid", lambda: -1)
    sessions.close_all()
