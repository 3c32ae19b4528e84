"""The end of a server, in good order and in bad: what is under way, and what comes after."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from openai import OpenAI

from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.serving import Serving, serving
from tests.server.clients.house import said, until, write_spec

ONCE = {"idempotency-key": "question-1"}


def is_open(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def half_asked(port: int, body: str) -> socket.socket:
    """Send a request but for its body, which the server waits for when this returns."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    return connection


def kept_alive(port: int) -> socket.socket:
    """Return a connection on which one request was answered, and the next may be asked."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    response = http.client.HTTPResponse(connection)
    response.begin()
    assert (response.status, json.loads(response.read())) == (200, {"status": "ok"})
    return connection


def reply(connection: socket.socket) -> tuple[int, Any]:
    """Return the status and the body of what comes until the server closes a connection."""
    with connection, connection.makefile("rb") as file:
        head, _, body = file.read().decode().partition("\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def proposals_kept(database: Path, text: str) -> bool:
    """Tell whether a proposal with a text is in the store, so that no end of a process can take it away."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        found: int = connection.execute(
            "SELECT count(*) FROM writes WHERE instr(value, ?) > 0", (text.encode(),)
        ).fetchone()[0]
    return found > 0


def test_a_server_that_is_told_to_end_lets_streams_end_takes_nothing_new_and_waits_for_nobody_long(
    tmp_path: Path, server: FakeOpenAI
) -> None:
    paced = write_spec(tmp_path, "paced", server, [["ok@a"]], "paced-40-0.05@z")
    slow = write_spec(tmp_path, "slow", server, [["hang@b"]], "ok@y")
    with (
        serving(paced, slow, cwd=tmp_path) as moa,
        ThreadPoolExecutor() as pool,
        OpenAI(base_url=moa.url, api_key="none", max_retries=0) as client,
    ):
        hangs = pool.submit(moa.ask, "POST", "/v1/chat/completions", {"model": "slow", "messages": said()})
        assert server.wait_for(lambda: server.count("hang@b") == 1, 30)
        stream = iter(client.chat.completions.create(model="paced", messages=said(), stream=True))
        chunks = [next(stream) for _ in range(3)]
        body = json.dumps({"model": "paced", "messages": said()})
        late, idle = half_asked(moa.port, body), kept_alive(moa.port)

        began, port = time.monotonic(), moa.port
        moa.process.send_signal(signal.SIGTERM)
        with idle:
            assert idle.recv(1) == b""  # which it is told as nobody is let in any more
        assert not is_open(port)
        assert moa.process.poll() is None
        late.sendall(body.encode())
        status, told = reply(late)
        assert status == 503, told
        assert told["error"]["code"] == "shutting_down"
        chunks += stream
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == " ".join(f"word{number}" for number in range(40))
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert moa.process.poll() is None  # somebody still waits
        assert moa.process.wait(15) == 0
        assert time.monotonic() - began < 10
        status, told = hangs.result(20)
        assert (status, told["error"]["code"]) == (503, "shutting_down")
    assert [request.outcome for request in server.of("hang@b")] == ["disconnected"]
    assert [request.outcome for request in server.of("ok@a")] == ["finished"]


def test_after_a_crash_the_same_request_has_its_answer_and_pays_only_for_what_was_not_finished(
    tmp_path: Path, server: FakeOpenAI
) -> None:
    spec = write_spec(tmp_path, "team", server, [["says-Mind_the_gap@a", "gate@b"]], "ok@z")
    body = {"model": "team", "messages": said("Again?")}

    def ask(moa: Serving, **parts: Any) -> Any:
        return moa.ask("POST", "/v1/chat/completions", {**body, **parts}, ONCE)

    with serving(spec, cwd=tmp_path) as moa, ThreadPoolExecutor() as pool:
        asked = pool.submit(ask, moa)
        assert server.wait_for(lambda: server.count() == 2, 30)
        until(lambda: proposals_kept(tmp_path / "moa.db", "Mind the gap"))
        assert moa.stop(signal.SIGKILL) == -signal.SIGKILL
        assert isinstance(asked.exception(20), http.client.HTTPException | OSError)
    server.release("gate@b")

    with serving(spec, cwd=tmp_path) as moa:
        status, completion = ask(moa)
        assert status == 200
        assert completion["choices"][0]["message"]["content"].startswith("Answer of ok@z")
        counts = {name: server.count(name) for name in ("says-Mind_the_gap@a", "gate@b", "ok@z")}
        assert counts == {"says-Mind_the_gap@a": 1, "gate@b": 2, "ok@z": 1}
        assert "Mind the gap" in json.dumps(server.of("ok@z")[0].messages)

        again = ask(moa)
        assert again[0] == 200
        assert (again[1]["id"], again[1]["choices"]) == (completion["id"], completion["choices"])
        assert "[DONE]" in ask(moa, stream=True)[1]
        assert server.count() == 4
        assert moa.stop() == 0
