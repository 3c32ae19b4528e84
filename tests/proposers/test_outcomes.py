"""Exceptions and messages, each sorted into its kind."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelConnectionError,
    ModelError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_core.messages import AIMessage

from moa_graph.models.failures import ModelOutputError, ProviderError
from moa_graph.proposers.outcomes import clean, failure, judge_error, judge_message, read_text, retry_after

REQUEST = httpx2.Request("POST", "http://host/v1/chat/completions")


def status_error(
    status: int, message: str = "no", code: str | None = None, **headers: str
) -> openai.APIStatusError:
    response = httpx2.Response(status, headers=headers, request=REQUEST)
    return openai.APIStatusError(message, response=response, body={"code": code, "message": message})


class WithStatus(Exception):
    """Stand for another provider's error, which has a status and nothing else in common."""

    def __init__(self, status_code: int, text: str = "failed") -> None:
        super().__init__(text)
        self.status_code = status_code


ERRORS: list[tuple[BaseException, str, bool]] = [
    (status_error(400), "bad_request", False),
    (status_error(400, "maximum context length is 10 tokens"), "context_overflow", False),
    (status_error(400, "x", "context_length_exceeded"), "context_overflow", False),
    (status_error(413, "prompt is too long: 5 tokens > 4 maximum"), "context_overflow", False),
    (status_error(400, "blocked", "content_filter"), "filtered", False),
    (status_error(402, "Payment required"), "quota_exhausted", False),
    (status_error(429, "x", "insufficient_quota"), "quota_exhausted", False),
    (status_error(429, "context window"), "rate_limited", True),
    (status_error(529), "server_error", True),
    (status_error(307), "bad_request", False),
    (status_error(418), "bad_request", False),
    (WithStatus(503), "server_error", True),
    (WithStatus(401), "auth", False),
    (WithStatus(200), "error", False),
    (ProviderError("slow down", status_code=429), "rate_limited", True),
    (ProviderError("slow down", code="insufficient_quota"), "quota_exhausted", False),
    (ProviderError("This model's maximum context length is 4"), "context_overflow", False),
    (ProviderError("upstream"), "server_error", True),
    (ModelOutputError("no choices"), "malformed", True),
    (ModelOutputError("too much", kind="too_long"), "too_long", False),
    (openai.APIConnectionError(request=REQUEST), "connection", True),
    (openai.APIError("in a stream", REQUEST, body=None), "server_error", True),
    (openai.APIError("You exceeded your current quota", REQUEST, body=None), "quota_exhausted", False),
    (httpx2.ReadError("gone"), "connection", True),
    (httpx2.ReadTimeout("slow"), "timeout", True),
    (ConnectionResetError("reset"), "connection", True),
    (TimeoutError(), "timeout", True),
    (ModelTimeoutError("slow"), "timeout", True),
    (ModelConnectionError("gone"), "connection", True),
    (ContextOverflowError("too long"), "context_overflow", False),
    (json.JSONDecodeError("Expecting value", "<html>", 0), "malformed", True),
    (ModelRateLimitError("wait"), "error", True),
    (ModelError("what"), "error", False),
    (ValueError("a bug"), "error", False),
]


@pytest.mark.parametrize(("error", "kind", "retryable"), ERRORS, ids=lambda value: str(value)[:40])
def test_every_exception_has_its_kind(error: BaseException, kind: str, retryable: bool) -> None:
    found = judge_error(error)
    assert (found["kind"], found["retryable"]) == (kind, retryable)
    assert found["message"]


def test_our_own_exception_is_found_behind_the_sdks() -> None:
    outer = openai.APIConnectionError(request=REQUEST)
    outer.__cause__ = ModelOutputError("33 MB", kind="too_long")
    assert judge_error(outer)["kind"] == "too_long"


def test_a_circular_chain_of_causes_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert judge_error(first)["kind"] == "error"


def test_a_message_is_one_line_of_bounded_length_without_nul() -> None:
    found = failure("error", "a\nb\x00 " + "x" * 2000)
    assert found["message"].startswith("a b\ufffd x")
    assert len(found["message"]) == 500


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 +99999999999999999999"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_milliseconds_or_a_date(headers: Any, seconds: float | None) -> None:
    assert retry_after(status_error(429, **headers)) == seconds


def test_an_error_without_a_response_has_no_retry_after() -> None:
    assert retry_after(ValueError("x")) is None


def message(text: str = "text", reason: str | None = "stop", **more: Any) -> AIMessage:
    metadata = {"model_provider": "openai"} | ({"finish_reason": reason} if reason else {})
    return AIMessage(text, response_metadata=metadata, **more)


CALL = {"name": "f", "args": {}, "id": "1"}
MESSAGES: list[tuple[AIMessage, bool, str | None]] = [
    (message(), False, None),
    (message(), True, None),
    (message(reason=None), False, None),
    (message(reason=None), True, "truncated"),
    (AIMessage("text"), True, None),
    (message(reason="length"), False, "truncated"),
    (message(reason="MAX_TOKENS"), False, "truncated"),
    (message(reason="content_filter"), False, "filtered"),
    (message(reason="SAFETY"), False, "filtered"),
    (message(reason="refusal"), False, "refused"),
    (message("", additional_kwargs={"refusal": "No."}), False, "refused"),
    (message("", tool_calls=[CALL]), False, "tool_call"),
    (message(reason="error"), False, "server_error"),
    (message(""), False, "empty"),
    (message(" \n"), False, "empty"),
    (AIMessage("x", response_metadata={"stop_reason": "max_tokens"}), False, "truncated"),
    (AIMessage("x", response_metadata={"done_reason": "length"}), False, "truncated"),
]


@pytest.mark.parametrize(("reply", "streamed", "kind"), MESSAGES, ids=lambda value: str(value)[:50])
def test_every_message_is_a_text_or_a_failure(reply: AIMessage, streamed: bool, kind: str | None) -> None:
    found = judge_message(reply, read_text(reply), streamed=streamed)
    assert (found["kind"] if found else None) == kind


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ("<think>why</think>\n\nSo.", "So.", "why"),
        ("  <thinking>why\nnot</thinking>So.", "So.", "why\nnot"),
        ("<think>without end", "", "without end"),
        ("why\n</think>\nSo.", "So.", "why"),
        ("Write `</think>` to end it.", "Write `</think>` to end it.", ""),
        ("So. <think>later</think>", "So. <think>later</think>", ""),
        ([{"type": "reasoning", "reasoning": "why"}, {"type": "text", "text": "So."}], "So.", "why"),
        ([{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "So."}], "So.", "why"),
    ],
)
def test_reasoning_is_taken_out_of_the_text(content: Any, text: str, reasoning: str) -> None:
    assert read_text(AIMessage(content))[:2] == (text, reasoning)


def test_reasoning_in_its_own_field_is_kept() -> None:
    found = read_text(AIMessage("So.", additional_kwargs={"reasoning_content": "why\x00"}))
    assert found == ("So.", "why\ufffd", True)


@given(st.text(st.characters(), max_size=50))
def test_cleaned_text_can_be_encoded_and_stored(text: str) -> None:
    cleaned, changed = clean(text)
    assert "\x00" not in cleaned
    cleaned.encode()
    assert changed == (cleaned != text)
    assert len(cleaned) == len(text)


def test_a_call_whose_stream_broke_off_is_half_a_call() -> None:
    half = AIMessage("", tool_calls=[CALL], response_metadata={"model_provider": "openai"})
    found = judge_message(half, read_text(half), streamed=True, acting=True)
    assert found is not None
    assert (found["kind"], found["retryable"]) == ("truncated", True)
    whole = half.model_copy(update={"response_metadata": {"finish_reason": "tool_calls"}})
    assert judge_message(whole, read_text(whole), streamed=True, acting=True) is None
