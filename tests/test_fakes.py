"""The test bed itself: if it lies, every other test does."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import aiohttp
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI

from tests.conftest import RealNetworkError
from tests.fakes.behaviours import digest, text_of
from tests.fakes.models import ScriptedChatModel
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.process import server_process
from tests.fakes.specs import moa_spec

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


def ask(
    server: Any, model: str, messages: Any = QUESTION, **fields: Any
) -> tuple[int, dict[str, str], bytes]:
    """Send one request and return status, headers and body."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        body = json.dumps({"model": model, "messages": messages, **fields})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )


def events(body: bytes) -> Iterator[Any]:
    for line in body.decode().split("\n\n"):
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize(
    "leave",
    [
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.getaddrinfo("example.org", 443),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
        lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
    ],
    ids=["connect", "names", "datagram", "ipv6"],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_real_network_is_impossible(leave):
    with pytest.raises(RealNetworkError, match="only loopback"):
        leave()


def test_no_key_reaches_a_test():
    assert not [name for name in os.environ if name.endswith("_API_KEY")]
    assert os.environ["LANGSMITH_TRACING"] == "false"


def test_ok_answers_with_the_name_and_a_digest_of_the_messages(server):
    status, _, body = ask(server, "ok@a")
    reply = json.loads(body)
    assert status == 200
    assert reply["choices"][0]["message"]["content"] == text_of("ok@a", QUESTION)
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"] == {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    assert digest(QUESTION)[:12] in text_of("ok@a", QUESTION)


def test_stream_joins_to_the_same_text_and_counts_tokens_only_when_asked(server):
    _, headers, body = ask(server, "ok@a", stream=True)
    parts = list(events(body))
    assert headers["content-type"].startswith("text/event-stream")
    assert "".join(p["choices"][0]["delta"].get("content", "") for p in parts) == text_of("ok@a", QUESTION)
    assert body.endswith(b"data: [DONE]\n\n")
    assert not any("usage" in part for part in parts)
    _, _, counted = ask(server, "ok@a", stream=True, stream_options={"include_usage": True})
    assert list(events(counted))[-1]["usage"]["total_tokens"] == 10


def test_requests_are_recorded_with_their_messages(server):
    ask(server, "ok@a")
    ask(server, "500@b", stream=True)
    assert [(r.model, r.stream, r.outcome) for r in server.requests] == [
        ("ok@a", False, "finished"),
        ("500@b", True, "finished"),
    ]
    assert server.of("ok@a")[0].messages == QUESTION
    assert (server.count(), server.count("ok@a"), server.count("ok@c")) == (2, 1, 0)
    server.reset()
    assert server.requests == []


@pytest.mark.parametrize(
    ("model", "status"),
    [(f"{status}", status) for status in (400, 401, 403, 404, 408, 409, 422, 429, 500, 503)]
    + [
        ("502-html", 502),
        ("quota", 429),
        ("context-vllm", 400),
        ("context-openai", 400),
        ("no-such-thing", 404),
    ],
)
def test_errors_have_their_status(server, model, status):
    assert ask(server, model)[0] == status


def test_retry_after_is_a_header(server):
    assert ask(server, "429-retry-after-3600")[1]["retry-after"] == "3600"
    assert ask(server, "503-retry-after-1@x")[1]["retry-after"] == "1"


def test_failures_can_end(server):
    assert [ask(server, "fail-2-then-ok")[0] for _ in range(4)] == [500, 500, 200, 200]
    assert [ask(server, "fail-2-then-ok@b")[0] for _ in range(3)] == [500, 500, 200]
    texts = [
        json.loads(ask(server, "empty-then-ok")[2])["choices"][0]["message"]["content"] for _ in range(2)
    ]
    assert texts == ["", text_of("empty-then-ok", QUESTION)]


def test_overflow_depends_on_the_length_of_the_prompt(server):
    assert ask(server, "overflow-above-20")[0] == 200
    assert ask(server, "overflow-above-19")[0] == 400


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "hello",
        [{"role": "robot", "content": "x"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
        [{"role": "tool", "content": "x", "tool_call_id": "call_1"}],
        [{"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]}],
        [{"role": "user", "content": "lone \ud800"}],
    ],
)
def test_malformed_prompts_are_refused(server, messages):
    status, _, body = ask(server, "ok", messages)
    assert status == 400
    assert json.loads(body)["error"]["code"] == "malformed_request"
    assert server.requests[0].outcome == "refused"


def test_proper_conversations_are_accepted(server):
    conversation = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:,"}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function"}]},
        {"role": "tool", "content": "found", "tool_call_id": "call_1"},
        {"role": "user", "content": "And?"},
    ]
    assert ask(server, "ok", conversation)[0] == 200


def test_cut_dirty_breaks_the_connection(server):
    with pytest.raises(http.client.IncompleteRead):
        ask(server, "cut-dirty")
    with pytest.raises(http.client.IncompleteRead):
        ask(server, "cut-dirty", stream=True)


def test_reset_and_redirect_do_what_they_say(server):
    with pytest.raises(ConnectionResetError):
        ask(server, "reset")
    status, headers, _ = ask(server, "redirect")
    assert (status, server.strays) == (307, 0)
    assert headers["location"].startswith(server.origin)


def test_gzip_bomb_is_small_on_the_wire(server):
    _, headers, body = ask(server, "gzip-bomb-64")
    assert headers["content-encoding"] == "gzip"
    assert len(body) < 200_000


async def test_gzip_unpacks():
    async with FakeOpenAI() as server, aiohttp.ClientSession() as session:
        request = {"model": "gzip-bomb-1", "messages": QUESTION}
        async with session.post(f"{server.base_url}/chat/completions", json=request) as response:
            content = (await response.json())["choices"][0]["message"]["content"]
    assert content == "x" * (1 << 20)


async def test_hang_up_is_seen():
    async with FakeOpenAI() as server, aiohttp.ClientSession() as session:
        for model in ("hang", "drip", "endless", "stall", "gate"):
            request = {"model": model, "messages": QUESTION, "stream": True}
            post = asyncio.create_task(read_all(session, f"{server.base_url}/chat/completions", request))
            assert await server.started(model)
            post.cancel()
            assert await server.disconnected(model)
            assert server.of(model)[0].outcome == "disconnected"


async def read_all(session: aiohttp.ClientSession, url: str, request: Any) -> bytes:
    async with session.post(url, json=request) as response:
        return await response.read()


async def test_gates_and_meetings_order_requests_without_a_clock():
    async with FakeOpenAI() as server, aiohttp.ClientSession() as session:
        url = f"{server.base_url}/chat/completions"
        names = ["gate@x", "meet-2@a", "meet-2@b"]
        asked = [
            asyncio.create_task(read_all(session, url, {"model": m, "messages": QUESTION})) for m in names
        ]
        await asyncio.gather(*asked[1:])
        assert not asked[0].done()
        server.release("gate@x")
        assert text_of("gate@x", QUESTION).encode() in await asked[0]
        assert server.peak == 3


def test_server_in_its_own_process_counts_and_forgets():
    with server_process() as process:
        ask(process, "ok@a")
        ask(process, "500")
        assert (process.count(), process.count("ok@a"), process.count("ok@b")) == (2, 1, 0)
        assert process.stats(with_requests=True)["requests"][0]["body"]["messages"] == QUESTION
        process.reset()
        assert process.count() == 0


async def test_langchain_reads_the_fake_server(server):
    model = ChatOpenAI(
        model="ok@a", base_url=server.base_url, api_key="none", max_retries=0, stream_usage=True
    )
    whole = await model.ainvoke("Why is the sky blue?")
    pieces = [piece async for piece in model.astream("Why is the sky blue?")]
    assert whole.text == "".join(piece.text for piece in pieces) == text_of("ok@a", QUESTION)
    assert whole.usage_metadata == sum(pieces[1:], pieces[0]).usage_metadata
    assert len(pieces) > 3


async def test_scripted_model_follows_its_script_and_records_messages():
    model = ScriptedChatModel("one", ValueError("two"), AIMessage("three"))
    assert (await model.ainvoke("first")).text == "one"
    with pytest.raises(ValueError, match="two"):
        await model.ainvoke("second")
    assert "".join([piece.text async for piece in model.astream("third")]) == "three"
    assert model.invoke("fourth").text == "three"
    assert model.calls[0] == [HumanMessage("first")]
    assert len(model.calls) == 4


async def test_scripted_model_counts_cancelled_calls():
    waiting, never = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        waiting.set()
        await never.wait()

    model = ScriptedChatModel("late", wait=wait)
    call = asyncio.create_task(model.ainvoke("x"))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (model.cancelled, model.calls) == (1, [])


def test_specs_come_from_behaviour_names():
    layers = [
        ["ok@a", "500", "ok@a"],
        {"proposers": [{"model": "ok@c", "id": "critic"}], "quorum": 1, "name": "refine"},
    ]
    final = {"model": "ok@z", "fallbacks": ["ok@y"]}
    spec = moa_spec(
        "http://127.0.0.1:1/v1", layers, final, limits={"max_calls": 9}, slots={"500": {"max_tokens": 7}}
    )
    assert [member.id for layer in spec.layers for member in spec.members(layer)] == [
        "ok-a",
        "500",
        "ok-a-2",
        "critic",
    ]
    assert [layer.name for layer in spec.layers] == ["layer-1", "refine"]
    assert [member.model for member in spec.aggregators()] == ["ok-z", "ok-y"]
    assert spec.models["ok-a"].model == "openai:ok@a"
    assert spec.models["500"].max_tokens == 7
    assert spec.limits.max_calls == 9
