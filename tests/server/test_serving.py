"""A server refuses what it could not serve safely, and ends in good order."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from moa_graph.errors import MoAError
from moa_graph.server import serving
from moa_graph.server.app import make_app
from moa_graph.server.asking import parts_of
from moa_graph.server.keys import Key, KeyLimits, add_key
from moa_graph.server.opening import check, open_served
from moa_graph.server.performing import Answer, Ask
from moa_graph.server.serving import serve
from moa_graph.server.settings import Settings
from moa_graph.terms import Terms
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel as Model
from tests.server.asgi import ask
from tests.server.test_performing import spec

OWNER = Key("k" * 12, "me", KeyLimits())


def test_two_specs_of_one_name_are_refused() -> None:
    with pytest.raises(MoAError, match="two specs are named 'team'"):
        check(Settings(), [spec(), spec()])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org"])
def test_other_machines_are_refused_without_keys(host: str, tmp_path: Path) -> None:
    with pytest.raises(MoAError, match="nobody would have to show a key") as refused:
        check(Settings(host=host), [spec()])
    assert "moa keys add" in refused.value.hint
    keys = tmp_path / "keys.json"
    add_key(keys, "me", KeyLimits())
    check(Settings(host=host, keys=keys), [spec()])


def test_sqlite_is_for_one_process() -> None:
    with pytest.raises(MoAError, match="SQLite is for one process"):
        check(Settings(reuse_port=True), [spec()])
    check(Settings(reuse_port=True, db="postgresql://u@h/d"), [spec()])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_keys(host: str) -> None:
    check(Settings(host=host), [spec()])


def test_hosts_and_origins_that_are_none_are_refused_at_the_start() -> None:
    with pytest.raises(MoAError):
        check(Settings(hosts=("a b",)), [spec()])
    with pytest.raises(MoAError):
        check(Settings(origins=("example.org",)), [spec()])


def test_the_interfaces_own_names_are_allowed_by_default() -> None:
    assert Settings().allowed_hosts == ("127.0.0.1", "localhost", "[::1]", "::1")
    assert Settings(host="10.0.0.1").allowed_hosts[-1] == "10.0.0.1"
    assert Settings(hosts=("moa.example.org",)).allowed_hosts == ("moa.example.org",)


async def _asked(port: int, path: str) -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


async def test_it_serves_until_a_signal_and_writes_a_line_for_each_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gc.freeze", lambda: None)  # the other tests of this process go on
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    lines: list[str] = []
    apps: list[Any] = []
    monkeypatch.setattr(serving, "make_app", lambda *given: apps.append(make_app(*given)) or apps[0])
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    settings = Settings(port=0, db=f"sqlite:///{tmp_path}/moa.db")
    before = signal.getsignal(signal.SIGTERM)
    running = asyncio.ensure_future(serve(settings, [spec()], write=lines.append, ready=ready.set_result))
    port = await asyncio.wait_for(ready, 20)
    status, body = await _asked(port, "/v1/models")
    assert status == 200
    assert [model["id"] for model in json.loads(body)["data"]] == ["team"]
    assert (await _asked(port, "/v1/models/team"))[0] == 200
    assert (await _asked(port, "/v1/models/other"))[0] == 404
    assert (await _asked(port, "/healthz"))[0] == 200
    assert (
        b'moa_requests_total{path="/v1/models/{model:path}",status="404"} 1.0'
        in (await _asked(port, "/metrics"))[1]
    )
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(running, 20)
    assert (await ask(apps[0], path="/healthz", headers={"host": "localhost"})).status == 503
    assert signal.getsignal(signal.SIGTERM) is before
    assert [json.loads(line)["path"] for line in lines][:2] == ["/v1/models", "/v1/models/team"]


async def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(port=taken.getsockname()[1], db=f"sqlite:///{tmp_path}/moa.db")
        with pytest.raises(OSError, match="in use"):
            await serve(settings, [spec()], write=lambda _: None)
    assert not (tmp_path / "moa.db").exists()


async def test_a_model_that_lacks_something_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async with open_served(Settings(db="memory:"), [spec()], models={"a": Model()}):
        assert "team cannot run yet: models.z (host:z): no model is registered" in caplog.text


async def test_the_queue_that_is_measured_is_the_one_that_requests_wait_in() -> None:
    models = {"a": Model(), "z": Model()}
    async with open_served(Settings(db="memory:", at_once=1), [spec()], models=models) as served:
        asked = Ask("team", [HumanMessage("Why?")], Terms())
        async with served.limiter.admitted(OWNER, None):
            waiting = asyncio.ensure_future(anext(parts_of(served, OWNER, asked)))
            async with asyncio.timeout(5):
                while not served.limiter.waiting:  # noqa: ASYNC110 -- a turn or two of the loop
                    await asyncio.sleep(0)
            assert b"moa_queue_length 1.0" in served.metrics.text()
            waiting.cancel()
            await asyncio.wait({waiting})
        assert b"moa_queue_length 0.0" in served.metrics.text()


async def test_what_a_call_of_a_tool_needs_later_is_kept_under_the_key_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_KEY", "k" * 32)
    settings = Settings(db=f"sqlite:///{tmp_path}/moa.db", db_key_env="DATABASE_KEY")
    drafting, acting = Model("A draft that nobody else may read."), ActingChatModel()
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    terms = Terms(acting={"tools": [tool]}, fan_out="user_turn")
    messages: list[BaseMessage] = [HumanMessage("What is 1 + 1?")]
    async with open_served(settings, [spec()], models={"a": drafting, "z": acting}) as served:
        parts = [part async for part in parts_of(served, OWNER, Ask("team", messages, terms))]
        assert isinstance(parts[-1], Answer)
        written, calls = _bytes(tmp_path), parts[-1].message.tool_calls
        messages += [AIMessage("", tool_calls=calls), ToolMessage("2", tool_call_id=calls[0]["id"])]
        async for _ in parts_of(served, OWNER, Ask("team", messages, terms)):
            pass
    assert f"turn/{OWNER.id}/".encode() in written
    assert b"nobody else" not in written
    assert len(drafting.calls) == 1
    assert "nobody else" in str(acting.seen[1].messages), "the draft is given back"


def _bytes(folder: Path) -> bytes:
    """Return all that a database wrote, also what it has in its journal."""
    return b"".join(each.read_bytes() for each in folder.glob("moa.db*"))
