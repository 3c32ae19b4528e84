from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa_graph.models.failures import ModelOutputError, ProviderError
from moa_graph.models.wire import (
    check_chunk,
    check_completion,
    clean_usage,
    read_events,
    read_json,
    reasoning_of,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"a":', b"\xff\xfe", b"[" * 100_000, b"[1]", b"null", b'"text"']
)
def test_what_is_no_json_object_is_malformed(body: bytes) -> None:
    with pytest.raises(ModelOutputError) as caught:
        read_json(body)
    assert caught.value.kind == "malformed"
    assert len(str(caught.value)) < 300


def test_the_message_shows_the_beginning_of_a_body() -> None:
    with pytest.raises(ModelOutputError, match="Sign in"):
        read_json(b"<html>\n  Sign in " + b"x" * 1000)
    with pytest.raises(ModelOutputError, match="it is empty"):
        read_json(b" \n")


@pytest.mark.parametrize(
    ("body", "message", "code", "status"),
    [
        (b'{"error":{"message":"No.","type":"server_error","code":null}}', "No.", "server_error", None),
        (b'{"error":{"message":"Slow down.","code":429}}', "Slow down.", None, 429),
        (b'{"error":{"message":"Slow down.","code":"503"}}', "Slow down.", None, 503),
        (b'{"error":{"message":"Big.","code":"too_big","status":400}}', "Big.", "too_big", 400),
        (b'{"error":{"code":"oops"}}', "oops", "oops", None),
        (b'{"error":{"metadata":1}}', "the provider reports an error without a message", None, None),
        (b'{"error":"down"}', "down", None, None),
        (b'{"object":"error","message":"Long.","type":"BadRequest","code":400}', "Long.", "BadRequest", 400),
    ],
)
def test_an_error_record_keeps_its_message_code_and_status(
    body: bytes, message: str, code: str | None, status: int | None
) -> None:
    with pytest.raises(ProviderError) as caught:
        read_json(body)
    assert (caught.value.message, caught.value.code, caught.value.status_code) == (message, code, status)
    assert str(caught.value) == message


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def events(*pieces: bytes) -> list[dict[str, Any]]:
    return [record async for record in read_events(stream(*pieces))]


async def test_events_are_read_however_the_bytes_are_cut() -> None:
    first = 'event: x\r\n: comment\r\ndata: {"a":1}\r\n\r\n'
    text = (first + 'data:{"b":\ndata: "\u2028ü"}\n\ndata: [DONE]\n\nrest').encode()
    for size in (1, 2, 7, 1000):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert await events(*pieces) == [{"a": 1}, {"b": "\u2028ü"}]


async def test_the_last_event_may_lack_its_blank_line() -> None:
    assert await events(b'data: {"a":1}') == [{"a": 1}]
    assert await events(b'data: {"a":1}\n\ndata: [DONE]') == [{"a": 1}]
    assert await events(b"\n\n") == []


async def test_a_cut_or_mangled_event_is_malformed_and_an_error_event_an_error() -> None:
    with pytest.raises(ModelOutputError):
        await events(b'data: {"a":1}\n\ndata: {"b')
    with pytest.raises(ProviderError, match="crashed"):
        await events(b'data: {"error":{"message":"crashed"}}\n\n')


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": {}},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 3}}]},
        {"choices": [{"message": {"content": [3]}}]},
    ],
)
def test_a_completion_without_a_readable_message_is_malformed(record: dict[str, Any]) -> None:
    with pytest.raises(ModelOutputError):
        check_completion(record)


def test_a_completion_gets_its_role_and_loses_a_wrong_finish_reason_and_usage() -> None:
    record = {
        "choices": [{"message": {"role": None, "content": "Yes."}, "finish_reason": 3}],
        "usage": "many",
    }
    checked = check_completion(record)
    assert checked["choices"] == [
        {"message": {"role": "assistant", "content": "Yes."}, "finish_reason": None}
    ]
    assert checked["usage"] is None
    assert record["usage"] == "many", "the input is not mutated"


@pytest.mark.parametrize("record", [{"choices": "x"}, {"choices": [3]}, {"choices": [{"delta": [1]}]}])
def test_a_strange_chunk_is_malformed(record: dict[str, Any]) -> None:
    with pytest.raises(ModelOutputError):
        check_chunk(record)


def test_a_chunk_may_lack_choices_or_a_delta() -> None:
    assert check_chunk({"choices": None, "usage": {"prompt_tokens": 1}}) == {"choices": [], "usage": None}
    chunk = check_chunk({"choices": [{"delta": None, "finish_reason": "stop"}]})
    assert chunk["choices"] == [{"delta": {"role": "assistant"}, "finish_reason": "stop"}]


@pytest.mark.parametrize(
    "usage",
    [
        None,
        7,
        {},
        {"prompt_tokens": "3", "completion_tokens": 4},
        {"prompt_tokens": 3, "completion_tokens": -4},
        {"prompt_tokens": 3, "completion_tokens": None},
        {"prompt_tokens": True, "completion_tokens": 4},
        {"prompt_tokens": 10**15, "completion_tokens": 4},
    ],
)
def test_wrong_usage_is_dropped(usage: Any) -> None:
    assert clean_usage(usage) is None


def test_right_usage_is_kept_without_the_garbage_inside() -> None:
    details = {"cached_tokens": 2, "audio_tokens": None, "else": {"deep": []}}
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": "?",
        "prompt_tokens_details": details,
    }
    assert clean_usage(usage | {"completion_tokens_details": "?"}) == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def test_reasoning_is_found_under_both_names() -> None:
    assert reasoning_of({"reasoning_content": "a", "reasoning": "b"}) == "a"
    assert reasoning_of({"reasoning_content": None, "reasoning": "b"}) == "b"
    assert reasoning_of({"reasoning": {"text": "b"}}) == ""


@given(JSON)
def test_any_record_is_checked_or_refused_and_nothing_else(record: Any) -> None:
    for check in (check_completion, check_chunk):
        for tried in (
            {"choices": [record]},
            {"choices": record},
            {"choices": [{"message": record, "delta": record}]},
        ):
            try:
                checked = check({**tried, "usage": record})
            except ModelOutputError:
                continue
            assert isinstance(checked["choices"], list)
    clean_usage(record)
