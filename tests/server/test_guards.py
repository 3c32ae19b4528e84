"""What never reaches a route."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse

from moa_graph.errors import MoAError
from moa_graph.server import guards
from moa_graph.server.faults import Refused
from moa_graph.server.guards import Guards, read_hosts, read_origins
from tests.server.asgi import Reply, ask

HERE = {"host": "localhost:8000"}
JSON = {**HERE, "content-type": "application/json"}
PAGE = "https://chat.example"

Make = Callable[..., Guards]


@pytest.fixture
def reached() -> list[Any]:
    """Hold what reached the application: its scopes."""
    return []


@pytest.fixture
def make(reached: list[Any]) -> Make:
    """Guard an application that tells how long the body was that it read."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope)
        if scope["type"] == "http":
            body = await Request(scope, receive).body()
            await JSONResponse({"read": len(body)})(scope, receive, send)

    def guarded(
        hosts: Any = ("localhost", "127.0.0.1", "[::1]"), origins: Any = (), **options: Any
    ) -> Guards:
        return Guards(options.pop("app", app), hosts=hosts, origins=origins, **options)

    return guarded


async def post(app: Any, *body: bytes, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(app, "POST", headers=JSON | named, body=body)


def clean(reply: Reply) -> None:
    """Check that a refusal is an error as OpenAI's clients read them."""
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert reply.header("content-type") == "application/json"
    assert reply.header("content-length") == str(len(reply.body))
    assert reply.ended


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        "localhost.",
        "localhost.:1",
        "127.0.0.1:65535",
        "[::1]",
        "[0:0::1]:8000",
    ],
)
async def test_a_host_is_known_in_any_writing_and_with_any_port(make: Make, host: str) -> None:
    assert (await ask(make(), headers={"host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.2",
        "[::2]:80",
        "127.1",
        "2130706433",
    ],
)
async def test_another_host_is_refused(make: Make, reached: list[Any], host: str) -> None:
    reply = await ask(make(), headers={"host": host})
    clean(reply)
    assert (reply.status, reply.error["code"]) == (421, "host_not_allowed")
    assert "--allow-host" in reply.error["message"]
    assert reached == []


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":8000",
        ":",
        "localhost:x",
        "localhost:65536",
        "localhost:123456",
        "localhost..",
        ".localhost",
        "::1",
        "[::1",
        "[:::1]",
        "[127.0.0.1]",
        "[fe80::1%25eth0]",
        "user@localhost",
        "localhost,evil.example",
        "localhost evil.example",
        "localhost/evil",
        "l\xf6calhost",
        "a" * 301,
    ],
)
async def test_a_host_that_is_none_is_refused_by_a_server_that_allows_all(
    make: Make, reached: list[Any], host: str
) -> None:
    reply = await ask(make(["*"]), headers={"host": host})
    clean(reply)
    assert (reply.status, reply.error["code"]) == (400, "invalid_host")
    assert reached == []


@pytest.mark.parametrize("headers", [[], [("host", "localhost"), ("host", "localhost")]])
async def test_one_host_must_be_named(make: Make, headers: list[tuple[str, str]]) -> None:
    for hosts in (["localhost"], ["*"]):
        assert (await ask(make(hosts), headers=headers)).status == 400


async def test_a_server_behind_a_proxy_may_allow_every_host(make: Make) -> None:
    assert (await ask(make(["*"]), headers={"host": "whatever.example"})).status == 200


def test_hosts_are_read_as_they_are_compared() -> None:
    assert read_hosts(["Chat.Example.", "::1", "[0::2]", "10.0.0.1"]) == {
        "chat.example",
        "::1",
        "::2",
        "10.0.0.1",
    }


@pytest.mark.parametrize("host", ["", "a:80", "[::1]:80", "https://a", "*.example", "a b", "1::2::3"])
def test_a_host_that_cannot_be_allowed_is_told_at_the_start(make: Make, host: str) -> None:
    with pytest.raises(MoAError, match="not the name of a host"):
        make([host])


@given(st.text(st.characters(max_codepoint=255), max_size=40))
@example("localhost\n")
@example("localhost.:80")
async def test_no_writing_gets_another_host_in(host: str) -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    reply = await ask(Guards(app, hosts=["localhost"], origins=[]), headers={"host": host})
    name = host.strip(" \t").lower().partition(":")[0]
    assert reply.status in ({200, 400} if name in ("localhost", "localhost.") else {400, 421})


@given(st.ip_addresses(v=6), st.none() | st.integers(0, 65_535))
async def test_an_address_is_known_in_long_and_short(address: Any, port: int | None) -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    for allowed, asked in [(address.exploded, address.compressed), (address.compressed, address.exploded)]:
        host = f"[{asked}]" if port is None else f"[{asked.upper()}]:{port}"
        reply = await ask(Guards(app, hosts=[allowed], origins=[]), headers={"host": host})
        assert reply.status == 200


# Pages


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://localhost:8000", "https://chat.example:8443"]
)
async def test_a_page_of_another_origin_may_not_ask(
    make: Make, reached: list[Any], method: str, origin: str
) -> None:
    for origins in ([], [PAGE]):
        reply = await ask(make(origins=origins), method, headers={**JSON, "origin": origin})
        clean(reply)
        assert (reply.status, reply.error["code"]) == (403, "origin_not_allowed")
        assert reply.header("access-control-allow-origin") is None
    assert reached == []


async def test_a_page_of_an_allowed_origin_may_ask_and_read_the_answer(make: Make) -> None:
    reply = await ask(make(origins=["https://other.example", PAGE]), headers={**HERE, "origin": PAGE})
    assert reply.status == 200
    assert reply.header("access-control-allow-origin") == PAGE
    assert reply.header("vary") == "Origin"
    assert "x-request-id" in str(reply.header("access-control-expose-headers"))
    assert reply.header("access-control-allow-credentials") is None


async def test_a_page_of_an_allowed_origin_may_read_why_it_is_refused(make: Make) -> None:
    headers = {**HERE, "origin": PAGE, "content-type": "text/plain"}
    reply = await ask(make(origins=[PAGE]), "POST", headers={**headers, "content-length": "1"}, body=[b"1"])
    assert (reply.status, reply.header("access-control-allow-origin")) == (415, PAGE)


async def test_two_origins_are_none(make: Make) -> None:
    headers = [*HERE.items(), ("origin", PAGE), ("origin", PAGE)]
    assert (await ask(make(origins=[PAGE]), headers=headers)).status == 403


async def test_a_program_names_no_origin_and_gets_none(make: Make) -> None:
    reply = await ask(make(origins=[PAGE]), headers=HERE)
    assert (reply.status, reply.header("access-control-allow-origin")) == (200, None)
    assert reply.header("vary") == "Origin"  # a cache must not give this to the page
    assert (await ask(make(), headers=HERE)).header("vary") is None


async def test_a_browser_that_asks_first_is_told_what_a_page_may_send(make: Make, reached: list[Any]) -> None:
    headers = {
        **HERE,
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "Authorization, X-MoA-Detail,x-stainless-lang, x-other, x-moa-é",
    }
    reply = await ask(make(origins=[PAGE]), "OPTIONS", headers=headers)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.header("access-control-allow-origin") == PAGE
    assert reply.header("access-control-allow-methods") == "GET, POST, DELETE"
    assert set(str(reply.header("access-control-allow-headers")).split(", ")) == {
        "authorization",
        "content-type",
        "idempotency-key",
        "x-request-id",
        "x-moa-detail",
        "x-stainless-lang",
    }
    assert reply.header("vary") == "Origin"
    assert reached == []


async def test_only_a_browsers_question_is_answered_in_the_routes_place(
    make: Make, reached: list[Any]
) -> None:
    await ask(make(origins=[PAGE]), "OPTIONS", headers={**HERE, "origin": PAGE})
    await ask(make(origins=[PAGE]), "OPTIONS", headers={**HERE, "access-control-request-method": "POST"})
    assert len(reached) == 2


def test_origins_are_read_as_browsers_write_them() -> None:
    given = [
        "HTTPS://Chat.Example:443",
        "http://a:80",
        "http://a:8080",
        "http://[0::1]:3000",
        "app://obsidian.md",
    ]
    assert read_origins(given) == {
        PAGE,
        "http://a",
        "http://a:8080",
        "http://[::1]:3000",
        "app://obsidian.md",
    }


@pytest.mark.parametrize(
    "origin", ["", "*", "null", "chat.example", "https://", "https://a/", "https://*", "https:// a", "://a"]
)
def test_an_origin_that_cannot_be_allowed_is_told_at_the_start(make: Make, origin: str) -> None:
    with pytest.raises(MoAError, match="not an origin"):
        make(origins=[origin])


@given(st.text(st.characters(max_codepoint=255), max_size=30) | st.from_regex(r"https?://[a-z.]+(:\d+)?/?"))
async def test_no_writing_gets_another_origin_in(origin: str) -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        raise AssertionError("reached")

    if origin.encode("latin-1", "replace") == PAGE.encode():
        return
    origin = origin.encode("latin-1", "replace").decode("latin-1")
    guarded = Guards(app, hosts=["localhost"], origins=[PAGE])
    assert (await ask(guarded, headers={**HERE, "origin": origin})).status == 403


# Bodies


async def test_json_of_the_full_size_passes(make: Make) -> None:
    reply = await post(make(body_limit=10), b"12345", b"67890", content_length="10")
    assert (reply.status, json.loads(reply.body)) == (200, {"read": 10})
    reply = await post(make(body_limit=10), b"12345", b"67890", transfer_encoding="chunked")
    assert (reply.status, json.loads(reply.body)) == (200, {"read": 10})


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/json ;x=1"]
)
async def test_json_is_known_in_any_writing(make: Make, kind: str) -> None:
    assert (await post(make(), b"1", content_length="1", content_type=kind)).status == 200


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "text/plain; a=application/json", "application/jsonx", "application/json, text/plain"],
)
@pytest.mark.parametrize("framing", [{"content_length": "1"}, {"transfer_encoding": "chunked"}])
async def test_a_body_that_is_no_json_is_refused(
    make: Make, reached: list[Any], kind: str, framing: dict[str, str]
) -> None:
    reply = await post(make(), b"1", content_type=kind, **framing)
    clean(reply)
    assert (reply.status, reply.error["code"]) == (415, "unsupported_content_type")
    assert reached == []


async def test_a_body_says_what_it_is_once(make: Make) -> None:
    for kinds in ([], ["application/json", "text/plain"]):
        headers = [*HERE.items(), ("content-length", "1"), *(("content-type", kind) for kind in kinds)]
        assert (await ask(make(), "POST", headers=headers, body=[b"1"])).status == 415


@pytest.mark.parametrize("headers", [{}, {"content-length": "0"}])
async def test_a_request_without_a_body_need_not_say_what_it_is(make: Make, headers: dict[str, str]) -> None:
    assert (await ask(make(), "POST", headers=HERE | headers)).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br, gzip"])
async def test_a_packed_body_is_refused(make: Make, encoding: str) -> None:
    reply = await post(make(), b"1", content_length="1", content_encoding=encoding)
    assert (reply.status, reply.error["code"]) == (415, "unsupported_encoding")


@pytest.mark.parametrize("length", ["", "-1", "+1", "1.0", "0x1", "1 1", "1,1", "\xb2", "x"])
async def test_a_length_that_is_no_number_is_refused(make: Make, reached: list[Any], length: str) -> None:
    reply = await post(make(), b"1", content_length=length)
    clean(reply)
    assert (reply.status, reply.error["code"]) == (400, "invalid_content_length")
    assert reached == []


async def test_two_lengths_are_refused(make: Make) -> None:
    headers = [*JSON.items(), ("content-length", "1"), ("content-length", "1")]
    assert (await ask(make(), "POST", headers=headers, body=[b"1"])).status == 400


@pytest.mark.parametrize("length", ["11", "0011", "9" * 19, "9" * 10_000])
async def test_a_body_that_says_it_is_too_large_is_refused_at_once(
    make: Make, reached: list[Any], length: str
) -> None:
    reply = Reply()
    taken: list[int] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def noting(message: Any) -> None:
            taken.append(reply.taken)
            await send(message)

        await make(body_limit=10)(scope, receive, noting)

    await ask(watched, "POST", headers=JSON | {"content-length": length}, body=[b"1"] * 11, reply=reply)
    clean(reply)
    assert (reply.status, reply.error["code"]) == (413, "body_too_large")
    assert "10 bytes" in reply.error["message"]
    assert reply.header("connection") == "close"
    assert reached == []
    # The whole answer is out before any of the body is read; what is sent is taken before the end.
    assert taken == [0, 0, 11]


async def test_a_body_that_turns_out_too_large_is_refused_while_it_is_read(make: Make) -> None:
    read: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            read.append(len((await receive())["body"]))

    reply = await post(make(app=app, body_limit=10), *[b"1234"] * 5, transfer_encoding="chunked")
    clean(reply)
    assert (reply.status, reply.header("connection")) == (413, "close")
    assert read == [4, 4]


async def test_a_body_is_not_believed_to_be_as_short_as_it_says(make: Make) -> None:
    assert (await post(make(body_limit=10), b"1" * 11, content_length="1")).status == 413


async def test_an_application_that_answers_in_spite_of_a_refusal_is_not_heard(make: Make) -> None:
    refusals: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            try:
                await receive()
            except Refused as refused:
                refusals.append(refused.status)
        await JSONResponse({"all": "well"})(scope, receive, send)

    reply = await post(make(app=app, body_limit=1), b"12", b"34", b"5", transfer_encoding="chunked")
    clean(reply)
    assert (reply.status, refusals) == (413, [413, 413])


async def test_an_answer_that_has_begun_is_broken_off_by_a_body_that_is_too_large(make: Make) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    with pytest.raises(Refused, match="larger than 1 bytes"):
        await post(make(app=app, body_limit=1), b"12", transfer_encoding="chunked")


async def test_errors_of_the_application_are_its_own(make: Make) -> None:
    async def app(_: Any, __: Any, ___: Any) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await ask(make(app=app), headers=HERE)


async def test_a_sender_without_an_end_is_left_after_so_many_bytes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "_LINGERED", 20)
    reply = await post(make(body_limit=10), *[b"1234"] * 100, content_length="400")
    assert (reply.status, reply.ended) == (413, True)
    assert reply.taken == 8  # 32 bytes: the first count past the limit and what is taken over it


async def test_a_sender_that_falls_silent_is_left_after_a_while(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "_LINGER", 0.01)
    messages: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        messages.append(message)

    headers = [(name.encode(), value.encode()) for name, value in (JSON | {"content-length": "99"}).items()]
    scope = {"type": "http", "method": "POST", "headers": headers}
    await make(body_limit=10)(scope, receive, send)
    assert messages[0]["status"] == 413
    assert messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_client_that_goes_while_it_is_refused_is_let_go(make: Make) -> None:
    reply = await ask(
        make(body_limit=10), "POST", headers=JSON | {"content-length": "99"}, body=[b"1"], gone=True
    )
    assert (reply.status, reply.taken) == (413, 2)


# Whatever else comes


async def test_a_websocket_is_refused(make: Make, reached: list[Any]) -> None:
    reply = await ask(make(), type="websocket", headers=HERE)
    assert [message["type"] for message in reply.messages] == ["websocket.close"]
    assert reached == []


async def test_the_servers_start_and_end_pass(make: Make, reached: list[Any]) -> None:
    await ask(make(), type="lifespan")
    assert [scope["type"] for scope in reached] == ["lifespan"]


async def test_a_real_client_reads_the_refusal_of_a_body_it_still_sends(make: Make) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"1234"

    transport = httpx2.ASGITransport(make(body_limit=10))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        reply = await client.post("/", content=body(), headers={"content-type": "application/json"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
        assert (await client.post("/", json={"a": 1})).json() == {"read": 7}


async def test_a_body_that_never_comes_is_not_waited_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "_PATIENCE", 0.01)
    never = asyncio.Event()

    async def receive() -> Any:
        await never.wait()

    reply = Reply()

    async def send(message: Any) -> None:
        reply.messages.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in (JSON | {"content-length": "5"}).items()]
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/", "headers": pairs}
    monkeypatch.setattr(guards, "_LINGER", 0.01)
    await make()({**scope, "query_string": b"", "scheme": "http"}, receive, send)
    assert (reply.status, reply.error["code"]) == (408, "body_too_slow")
    assert reply.header("connection") == "close"
