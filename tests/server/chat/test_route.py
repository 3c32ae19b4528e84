"""What a client of `POST /v1/chat/completions` sees, whatever the run behind it does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from openai.types.chat import ChatCompletion

from moa_graph.errors import AggregatorFailed, ModelNotReady
from moa_graph.server.faults import Refused
from moa_graph.server.keys import KeyLimits
from moa_graph.server.performing import Answer, Happened, Silence
from moa_graph.server.streaming import ClientGone
from moa_graph.state import Proposal
from tests.server.chat.fakes import HELLO, Played, answered, call, events_of, read_stream, word

Play = Callable[..., Played]

STREAM = {**HELLO, "stream": True}
END = Answer(answered("Hello."), streamed=True)
BEGUN = Happened(
    {"type": "run.started", "name": "team", "resumed": False, "layers": {"draft": ["a"]}, "aggregator": "z"}
)


def record(id_: str = "draft/a", **parts: Any) -> Proposal:
    layer, _, proposer = id_.partition("/")
    whole: Any = {
        "id": id_,
        "layer": layer,
        "proposer": proposer,
        "status": "ok",
        "text": "A draft.",
        "reasoning": "",
        "failure": None,
        "requested_model": "host:a",
        "actual_model": None,
        "attempts": 1,
        "usage": {"input_tokens": 3, "output_tokens": 2, "source": "provider"},
        "cost": 0.1,
        "seconds": 1.25,
        "first_token_seconds": None,
        "edited": False,
        "warnings": [],
        "references": [],
        **parts,
    }
    return whole  # type: ignore[no-any-return]


TOLD = Answer(answered("Hello."), streamed=True, records=[record()])
PROPOSED = Happened(
    {"type": "call.finished", "id": "draft/a", "role": "proposer", "proposal": record("draft/a")}
)


# -- whole answers --------------------------------------------------------------------------------------


async def test_a_question_gets_a_completion(play: Play) -> None:
    played = play()
    response = await played.post(HELLO)
    assert response.status_code == 200
    written = ChatCompletion.model_validate(response.json(), strict=True)
    assert written.choices[0].message.content == "Hello."
    assert written.id.startswith("chatcmpl-")
    assert written.model == "team"
    assert "moa" not in response.json()
    assert (played.ask.tokens, played.ask.place, played.script.closed) == (False, None, 1)


async def test_two_completions_have_two_ids(play: Play) -> None:
    played = play()
    ids = {(await played.post(HELLO)).json()["id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("headers", "body"),
    [({"x-moa-detail": "true"}, HELLO), ({}, {**HELLO, "metadata": {"moa": "true"}})],
)
async def test_who_asks_for_detail_gets_it(play: Play, headers: dict[str, str], body: Any) -> None:
    response = await play(PROPOSED, Silence(), TOLD).post(body, headers)
    detail = response.json()["moa"]
    assert (detail["answered_by"], detail["cost"]) == ("z", 0.25)
    assert [each["text"] for each in detail["proposals"]] == ["A draft."]


async def test_a_run_that_fails_is_an_error_with_its_status(play: Play) -> None:
    played = play(BEGUN, AggregatorFailed("no answer from the aggregator (tried z)\n  secret words"))
    response = await played.post(HELLO)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "run_failed"
    assert "secret" not in response.text


@pytest.mark.parametrize("retryable", [False, True])
async def test_a_stream_that_broke_off_is_no_answer_that_was_cut(play: Play, retryable: bool) -> None:
    failure = {"kind": "truncated", "message": "no", "retryable": retryable, "status_code": None}
    last = record("aggregator/z", status="failed", text="The beg", failure=failure)
    response = await play(AggregatorFailed("no answer", proposals=[last])).post(HELLO)
    assert response.status_code == (502 if retryable else 200)


async def test_an_unknown_model_is_404(play: Play) -> None:
    response = await play().post({**HELLO, "model": "nobody"})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


async def test_a_stranger_is_refused_before_the_body_is_read(play: Play) -> None:
    class Nobody:
        def find(self, authorization: str | None) -> None:
            raise Refused(401, f"no key: {authorization}")

    response = await play(keys=Nobody()).post(b"{", {"authorization": "Bearer x"})
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**HELLO, "n": 3}, "n"),
        ({**HELLO, "temperature": 9}, "temperature"),
        ({**HELLO, "moa": {"limits": {"max_cost": -1}}}, "moa.limits.max_cost"),
        ({**HELLO, "messages": [{"role": "tool", "tool_call_id": "x", "content": ""}]}, None),
        ({**HELLO, "tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_runs(play: Play, body: Any, param: str) -> None:
    played = play()
    error = await played.refused(body)
    assert error["param"] == (param or "messages[0].tool_call_id")
    assert played.script.asks == []


async def test_the_run_is_on_the_terms_of_the_request(play: Play) -> None:
    played = play()
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    await played.post({**HELLO, "tools": [tool], "seed": 7, "moa": {"limits": {"max_calls": 3}}})
    assert played.ask.terms == {
        "acting": {"seed": 7, "tools": [tool]},
        "limits": {"max_calls": 3},
        "fan_out": "user_turn",
    }


async def test_without_tools_the_spec_says_who_is_asked(play: Play) -> None:
    played = play()
    await played.post(HELLO)
    assert played.ask.terms == {"acting": {}, "limits": {}}


async def test_the_result_of_a_tool_goes_to_the_aggregator_alone(play: Play) -> None:
    played = play()
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    said = {"role": "assistant", "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": "1", "content": "done"}
    await played.post({**HELLO, "messages": [*HELLO["messages"], said, result]})
    assert played.ask.terms["fan_out"] == "user_turn"
    assert isinstance(played.ask.messages[-1], ToolMessage)


# -- streams --------------------------------------------------------------------------------------------


async def test_a_stream_has_the_answer_as_it_is_written(play: Play) -> None:
    played = play(BEGUN, Silence(), word("Hel"), word("lo."), END)
    response = await played.post(STREAM)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    chunks = read_stream(response.text)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Hello."
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert ": still working" in events_of(response.text)
    assert (played.ask.tokens, played.script.closed) == (True, 1)


async def test_tools_are_called_in_a_stream(play: Play) -> None:
    calls = [{"name": "f", "args": {}, "id": "1", "type": "tool_call"}]
    played = play(BEGUN, call("{}", "f", "1"), Answer(answered("", tool_calls=calls), streamed=True))
    chunks = read_stream((await played.post(STREAM)).text)
    made = [delta for chunk in chunks for delta in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert made == [{"index": 0, "id": "1", "type": "function", "function": {"arguments": "{}", "name": "f"}}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_usage_and_detail_come_at_the_end(play: Play) -> None:
    body = {**STREAM, "stream_options": {"include_usage": True}}
    chunks = read_stream((await play(PROPOSED, TOLD).post(body, {"x-moa-detail": "true"})).text)
    assert chunks[-1]["usage"]["total_tokens"] == 9
    assert [each["id"] for each in chunks[-2]["moa"]["proposals"]] == ["draft/a"]


async def test_progress_is_reasoning_for_who_asks(play: Play) -> None:
    steps = (BEGUN, PROPOSED, word("Hello."), END)
    chunks = read_stream((await play(*steps).post(STREAM, {"x-moa-progress": "true"})).text)
    said = [chunk["choices"][0]["delta"].get("reasoning_content") for chunk in chunks]
    assert [line for line in said if line] == ["draft/a: a proposal after 1.2 s\n"]
    assert "reasoning_content" not in (await play(*steps).post(STREAM)).text


async def test_who_is_not_admitted_gets_a_status_also_for_a_stream(play: Play) -> None:
    played = play(limits=KeyLimits(requests_per_minute=1))
    await played.post(STREAM)
    response = await played.post(STREAM)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["error"]["type"] == "rate_limit_error"


async def test_what_fails_before_it_begins_gets_a_status_also_for_a_stream(play: Play) -> None:
    response = await play(ModelNotReady("models.z lacks its key")).post(STREAM)
    assert response.status_code == 503
    assert "models.z" not in response.text


async def test_an_error_in_a_stream_is_its_last_event(play: Play) -> None:
    played = play(BEGUN, word("Hel"), AggregatorFailed("no answer (tried z)\n  secret words"))
    response = await played.post(STREAM)
    assert response.status_code == 200
    *_, last = events_of(response.text)
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["message"]) == ("run_failed", "no answer (tried z)")
    assert "[DONE]" not in response.text
    assert played.script.closed == 1


async def test_a_refusal_in_a_stream_is_told_too(play: Play) -> None:
    response = await play(BEGUN, Refused(409, "another answer")).post(STREAM)
    assert json.loads(events_of(response.text)[-1].removeprefix("data: "))["error"]["message"] == (
        "another answer"
    )


# -- clients that go ------------------------------------------------------------------------------------


class Wire:
    """Speak to the application as a server does, and hang up when told."""

    def __init__(self, played: Played, body: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.streaming = asyncio.Event()
        self._body = json.dumps(body).encode()
        self._asked = False
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("test", 80),
        }
        self.task = asyncio.ensure_future(played.app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.streaming.set()


@pytest.mark.parametrize("body", [HELLO, STREAM])
async def test_who_goes_before_the_answer_ends_the_run(play: Play, body: Any) -> None:
    played = play(asyncio.Event(), END)
    wire = Wire(played, body)
    await asyncio.wait_for(played.script.begun.wait(), 5)
    wire.gone.set()
    with pytest.raises(ClientGone):
        await asyncio.wait_for(wire.task, 5)
    assert played.script.closed == 1


async def test_who_goes_in_the_middle_of_a_stream_ends_the_run(play: Play) -> None:
    played = play(BEGUN, word("Hel"), asyncio.Event(), END)
    wire = Wire(played, STREAM)
    await asyncio.wait_for(wire.streaming.wait(), 5)
    wire.gone.set()
    await asyncio.wait_for(wire.task, 5)
    assert played.script.closed == 1
    assert all(b"[DONE]" not in message.get("body", b"") for message in wire.sent)


async def test_the_beginning_of_a_stream_does_not_wait_for_the_first_word(play: Play) -> None:
    first = asyncio.Event()
    wire = Wire(play(Silence(), first, word("Hello."), END), STREAM)
    await asyncio.wait_for(wire.streaming.wait(), 5)
    assert wire.sent[0]["status"] == 200
    first.set()
    await asyncio.wait_for(wire.task, 5)
    assert wire.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
