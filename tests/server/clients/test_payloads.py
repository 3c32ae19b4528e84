"""What really comes over the wire is what OpenAI's own models say, to the last field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.clients.house import COUNT, FUNCTION, House, said
from tests.server.clients.payloads import (
    check_chunk,
    check_completion,
    check_event,
    check_model,
    check_response,
    events_of,
)

FORM: Any = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
    "additionalProperties": False,
}
TOLD = {"moa": "true", "moa_progress": "true"}
CHATS: dict[str, Any] = {
    "plain": {},
    "told": {"metadata": TOLD},
    "tool": {"messages": said("Count on from 3."), "tools": [COUNT]},
    "form": {
        "messages": said("Report 7."),
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "report", "schema": FORM, "strict": True},
        },
    },
    "usage": {"stream_options": {"include_usage": True}},
    "reasoning": {"model": "thinker"},
}
RESPONSES: dict[str, Any] = {
    "plain": {},
    "told": {"metadata": TOLD},
    "tool": {"input": "Count on from 3.", "tools": [FUNCTION], "tool_choice": "required"},
    "form": {
        "input": "Report 7.",
        "text": {"format": {"type": "json_schema", "name": "report", "schema": FORM, "strict": True}},
    },
    "options": {
        "instructions": "Be kind.",
        "temperature": 0.5,
        "top_p": 0.5,
        "max_output_tokens": 100,
        "reasoning": {"effort": "low"},
        "user": "u1",
        "store": False,
    },
    "reasoning": {"model": "thinker"},
}


def test_models_are_described_as_openai_does(house: House) -> None:
    status, listed = house.ask("/models", None, "GET")
    assert (status, listed.keys(), listed["object"]) == (200, {"object", "data"}, "list")
    for data in listed["data"]:
        check_model(data)
        assert house.ask(f"/models/{data['id']}", None, "GET") == (200, data)


@pytest.mark.parametrize("parts", CHATS.values(), ids=CHATS)
def test_a_completion_is_openais(house: House, parts: Any) -> None:
    given = {name: value for name, value in parts.items() if name != "stream_options"}
    status, data = house.ask("/chat/completions", {"model": "team", "messages": said(), **given})
    assert status == 200
    completion = check_completion(data)
    assert ("moa" in data) == ("metadata" in parts)
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0


@pytest.mark.parametrize("parts", CHATS.values(), ids=CHATS)
def test_every_chunk_of_a_completion_is_openais(house: House, parts: Any) -> None:
    body = {"model": "team", "messages": said(), "stream": True, **parts}
    status, text = house.ask("/chat/completions", body)
    assert status == 200
    *events, (_, done) = events_of(text)
    assert done == "[DONE]"
    chunks = [check_chunk(data) for _, data in events]
    assert {name for name, _ in events} == {None}
    assert chunks[0].choices[0].delta.role == "assistant"
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert ends[-1] == ("tool_calls" if "tools" in parts else "stop")
    assert set(ends[:-1]) == {None}


@pytest.mark.parametrize("parts", RESPONSES.values(), ids=RESPONSES)
def test_a_response_is_openais(house: House, parts: Any) -> None:
    body = {"model": "team", "input": "Why?", **parts}
    status, data = house.ask("/responses", body)
    assert status == 200
    response = check_response(data)
    assert response.status == "completed"
    assert ("moa" in data) == ("metadata" in parts)
    if parts.get("store") is not False:
        status, kept = house.ask(f"/responses/{response.id}", None, "GET")
        assert (status, kept["output"]) == (200, data["output"])
        check_response(kept)


@pytest.mark.parametrize("parts", RESPONSES.values(), ids=RESPONSES)
def test_every_event_of_a_response_is_openais(house: House, parts: Any) -> None:
    status, text = house.ask("/responses", {"model": "team", "input": "Why?", "stream": True, **parts})
    assert status == 200
    events = events_of(text)
    for name, data in events:
        check_event(data)
        assert name == data["type"]
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    assert events[-1][0] == "response.completed"
    told = [data["item"] for name, data in events if name == "response.output_item.done"]
    assert told == events[-1][1]["response"]["output"]


def test_a_response_that_fails_is_openais(house: House) -> None:
    status, text = house.ask("/responses", {"model": "broken", "input": "Why?", "stream": True})
    assert status == 200
    for _, data in events_of(text):
        check_event(data)
    assert data["response"]["status"] == "failed"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat/completions", {"model": "team"}, 400),
        ("/chat/completions", {"model": "nobody", "messages": said()}, 404),
        ("/chat/completions", {"model": "broken", "messages": said()}, 502),
        ("/responses", {"model": "team", "input": []}, 400),
        ("/responses/resp_1/cancel", {}, 404),
        ("/nowhere", {}, 404),
        ("/models", {}, 405),
    ],
)
def test_an_error_is_openais(house: House, path: str, body: Any, status: int) -> None:
    found, data = house.ask(path, body)
    assert (found, data.keys()) == (status, {"error"})
    error = data["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert all(isinstance(error[name], str) and error[name] for name in ("message", "type"))
    assert all(error[name] is None or isinstance(error[name], str) for name in ("param", "code"))
