"""A line for each request, whatever became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse

from moa_graph.errors import ThreadBusy
from moa_graph.server.access import AccessLog
from moa_graph.server.guards import Guards
from tests.server.asgi import Reply, ask

SECRET = f"moa-{'Ab3_-' * 8}xyz"
START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"end"}

Log = Callable[[Any], AccessLog]


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def log(lines: list[dict[str, Any]]) -> Log:
    """Log what an application does; each line must be one line of JSON."""

    def write(line: str) -> None:
        assert line.isascii()
        assert line.isprintable()
        lines.append(json.loads(line))

    return lambda app: AccessLog(app, write)


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await JSONResponse({"fine": True})(scope, receive, send)


async def test_a_request_is_a_line(log: Log, lines: list[dict[str, Any]]) -> None:
    before = datetime.now(UTC)
    reply = await ask(log(fine), "POST", "/v1/responses")
    (line,) = lines
    assert before.replace(microsecond=0) <= datetime.fromisoformat(line.pop("time")) <= datetime.now(UTC)
    assert 0 <= line.pop("seconds") < 60
    assert line == {
        "request": reply.header("x-request-id"),
        "method": "POST",
        "path": "/v1/responses",
        "status": 200,
        "bytes": len(reply.body),
        "client_gone": False,
    }


async def test_what_routes_note_is_in_the_line(log: Log, lines: list[dict[str, Any]]) -> None:
    app = FastAPI()

    @app.get("/ask")
    async def answer(request: Request) -> str:
        noted = {"key": "0123456789ab", "model": "m", "run": "answered", "calls": 3, "cost": None}
        request.state.moa.update(noted, response="resp_1", status=7)
        return "done"

    await ask(log(app), path="/ask")
    (line,) = lines
    assert (line["key"], line["model"], line["run"], line["calls"], line["cost"], line["response"]) == (
        "0123456789ab",
        "m",
        "answered",
        3,
        None,
        "resp_1",
    )
    assert line["status"] == 200  # what was sent, whatever is noted


async def test_requests_share_no_notes(log: Log, lines: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["moa"].setdefault("first", scope["path"])
        await fine(scope, receive, send)

    logged, state = log(app), {"shared": 1}
    for path in ("/a", "/b"):
        await ask(logged, path=path, state=dict(state))
    assert [line["first"] for line in lines] == ["/a", "/b"]


async def test_nothing_that_is_asked_or_shown_is_in_the_line(log: Log, lines: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        scope["state"]["moa"].update(model=f"a{SECRET}", listed=["private"], error_of=ValueError("private"))
        await fine(scope, receive, send)

    headers = {"authorization": f"Bearer {SECRET}", "x-request-id": SECRET, "cookie": "private"}
    reply = await ask(
        log(app), path=f"/v1/{SECRET}/x", query_string=b"q=private", headers=headers, body=[b"private"]
    )
    (line,) = lines
    assert "private" not in json.dumps(line)
    assert SECRET not in json.dumps(line) + str(reply.messages[0])
    assert line["path"] == "/v1/moa-…/x"
    assert (line["model"], line["listed"], line["error_of"]) == ("amoa-…", "list", "ValueError")


async def test_numbers_that_json_has_not_stand_as_their_type(log: Log, lines: list[dict[str, Any]]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["moa"].update(cost=float("nan"), calls=2, kept=True, seen=0.5)
        await fine(scope, receive, send)

    await ask(log(app))
    assert [lines[0][name] for name in ("cost", "calls", "kept", "seen")] == ["float", 2, True, 0.5]


@given(st.text(), st.text())
async def test_whatever_is_asked_a_line_stays_one(path: str, model: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["moa"]["model"] = model
        await fine(scope, receive, send)

    written: list[str] = []
    await ask(AccessLog(app, written.append), path=path * 20)
    (line,) = written
    assert line.isascii()
    assert line.isprintable()
    assert len(json.loads(line)["path"]) <= 500
    assert json.loads(line)["model"] == model[:500]


@pytest.mark.parametrize("given", ["abc", "req_0.1-x", "a" * 128])
async def test_a_clean_id_of_the_client_is_kept(log: Log, lines: list[dict[str, Any]], given: str) -> None:
    reply = await ask(log(fine), headers={"x-request-id": given})
    assert reply.header("x-request-id") == given == lines[0]["request"]


@pytest.mark.parametrize("given", [[], [""], ["a b"], ["a\n"], ["\xe9"], ["a" * 129], ["a", "a"], ["{}"]])
async def test_every_other_request_gets_an_id_of_its_own(
    log: Log, lines: list[dict[str, Any]], given: list[str]
) -> None:
    headers = [("x-request-id", each) for each in given]
    ids = [(await ask(log(fine), headers=headers)).header("x-request-id") for _ in range(2)]
    assert ids == [line["request"] for line in lines]
    assert len(set(ids)) == 2
    assert all(str(each).startswith("req_") and len(str(each)) == 36 for each in ids)


async def test_an_id_of_the_application_does_not_count(log: Log) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse({}, headers={"X-Request-Id": "its own"})(scope, receive, send)

    assert (await ask(log(app), headers={"x-request-id": "mine"})).header("x-request-id") == "mine"


async def test_what_the_guards_refuse_is_a_line_too(log: Log, lines: list[dict[str, Any]]) -> None:
    reply = await ask(log(Guards(fine, hosts=["here"], origins=[])), headers={"host": "there"})
    assert reply.status == lines[0]["status"] == 421
    assert reply.header("x-request-id") == lines[0]["request"]


async def test_an_error_that_nobody_expected_is_a_500_with_its_id(
    log: Log, lines: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, _: Any, __: Any) -> None:
        scope["state"]["moa"]["model"] = "m"
        raise ZeroDivisionError("private")

    reply = await ask(log(app))
    assert reply.status == 500
    assert (reply.error["type"], reply.error["code"]) == ("server_error", "internal")
    assert b"private" not in reply.body
    assert reply.ended
    (line,) = lines
    assert (line["status"], line["error"], line["model"]) == (500, "ZeroDivisionError", "m")
    assert line["request"] == reply.header("x-request-id")
    (record,) = caplog.records
    assert line["request"] in record.getMessage()
    assert record.exc_info is not None


async def test_an_error_that_has_a_status_gets_it(log: Log, lines: list[dict[str, Any]]) -> None:
    async def app(_: Any, __: Any, ___: Any) -> None:
        raise ThreadBusy("somebody else runs the thread")

    assert (await ask(log(app))).status == lines[0]["status"] == 409


async def test_an_error_amid_an_answer_breaks_it_off(log: Log, lines: list[dict[str, Any]]) -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send(dict(START))
        await send({**LAST, "more_body": True})
        raise ZeroDivisionError

    reply = Reply()
    with pytest.raises(ZeroDivisionError):
        await ask(log(app), reply=reply)
    assert not reply.ended
    (line,) = lines
    assert (line["status"], line["error"], line["bytes"]) == (200, "ZeroDivisionError", 3)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_goes_is_a_line(log: Log, lines: list[dict[str, Any]], begun: bool) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        if begun:
            await send(dict(START))
        while (await receive())["type"] != "http.disconnect":
            pass

    await ask(log(app), body=[b"1"], gone=True)
    (line,) = lines
    assert (line["status"], line["client_gone"], line["bytes"]) == (499, True, 0)


async def test_a_client_whose_connection_is_found_closed_is_a_line(
    log: Log, lines: list[dict[str, Any]]
) -> None:
    async def send(_: Any) -> None:
        raise OSError("closed")

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(OSError, match="closed"):
        await log(fine)(scope, asyncio.Event().wait, send)
    (line,) = lines
    assert (line["status"], line["client_gone"], line["error"]) == (499, True, "OSError")


async def test_a_client_that_has_its_answer_may_go(log: Log, lines: list[dict[str, Any]]) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await send(dict(START))
        await send(dict(LAST))
        assert (await receive())["type"] == "http.disconnect"

    await ask(log(app), gone=True)
    assert (lines[0]["status"], lines[0]["client_gone"]) == (200, False)


async def test_a_client_that_goes_with_its_refusal_has_its_answer(
    log: Log, lines: list[dict[str, Any]]
) -> None:
    headers = {"host": "here", "content-length": "99"}
    guarded = Guards(fine, hosts=["here"], origins=[], body_limit=10)
    await ask(log(guarded), "POST", headers=headers, body=[b"1"], gone=True)
    assert (lines[0]["status"], lines[0]["client_gone"]) == (413, False)


async def test_a_request_that_is_cancelled_is_a_line(log: Log, lines: list[dict[str, Any]]) -> None:
    begun = asyncio.Event()

    async def app(_: Any, __: Any, ___: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(ask(log(app)))
    await begun.wait()
    task.cancel()
    reply = await task
    assert (reply.status, reply.error["code"]) == (503, "shutting_down")
    assert (lines[0]["status"], lines[0]["error"]) == (503, "CancelledError")


async def test_a_response_that_is_cancelled_in_the_middle_stays_as_it_is(
    log: Log, lines: list[dict[str, Any]]
) -> None:
    begun = asyncio.Event()

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(ask(log(app)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (lines[0]["status"], lines[0]["error"]) == (200, "CancelledError")


async def test_a_log_that_cannot_be_written_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    assert (await ask(AccessLog(fine, full))).status == 200
    assert "No space left" in caplog.text


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_passes(log: Log, lines: list[dict[str, Any]], kind: str) -> None:
    passed: list[str] = []

    async def app(scope: Any, _: Any, __: Any) -> None:
        passed.append(scope["type"])

    await ask(log(app), type=kind)
    assert (passed, lines) == ([kind], [])
