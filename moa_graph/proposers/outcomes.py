"""What came of an attempt: every exception and every message is sorted into a failure or a text."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelConnectionError,
    ModelError,
    ModelTimeoutError,
)
from langchain_core.messages import AIMessage

from moa_graph.models.failures import ModelOutputError, ProviderError
from moa_graph.state import Failure, FailureKind
from moa_graph.text import clean

__all__ = [
    "Summary",
    "Text",
    "cancelled_from_outside",
    "clean",
    "failure",
    "judge_error",
    "judge_message",
    "read_text",
    "retry_after",
    "summary_of",
]

RETRYABLE: frozenset[FailureKind] = frozenset(
    {"timeout", "connection", "rate_limited", "server_error", "malformed", "empty"}
)

_OVERFLOW = re.compile(
    r"context_length_exceeded|maximum context length|context window|prompt is too long|"
    r"input is too long|exceeds? the (?:configured|available) (?:limit|context)|too many (?:input )?tokens|"
    r"max_model_len|maximum model length|reduce the length of the (?:messages|prompt|input)",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|billing_hard_limit|"
    r"insufficient (?:balance|credit|funds)|"
    r"credit balance is too low|payment required",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content_filter|content_policy_violation|ResponsibleAIPolicyViolation", re.IGNORECASE)
_TRANSPORT_ERRORS = frozenset({"APIConnectionError", "TransportError"})
"""Base classes by name, of the openai package and of httpx and httpx2: none of them is imported for this."""

_BY_STATUS: dict[int, FailureKind] = {
    401: "auth",
    402: "quota_exhausted",
    403: "auth",
    404: "not_found",
    408: "timeout",
    409: "server_error",
    425: "server_error",
    429: "rate_limited",
}

_WRONG_ADDRESS = frozenset({404, 405})
_SPEAKING = frozenset({"httpx", "httpx2", "langchain_core", "langchain_openai", "moa_graph", "openai"})
"""Packages whose messages speak for themselves: the exception's name adds nothing to the kind of failure."""

_TRUNCATED = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
)
_FILTER_REASONS = frozenset(
    {
        "content_filter",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "guardrail_intervened",
    }
)
_MAX_MESSAGE = 500


class Text(NamedTuple):
    """Hold what a model wrote: the text proper, its reasoning, and whether it had to be cleaned."""

    text: str
    reasoning: str
    cleaned: bool


def failure(
    kind: FailureKind, message: str, *, retryable: bool | None = None, status_code: int | None = None
) -> Failure:
    """Build a failure record; whether it is worth another attempt follows from its kind unless said."""
    text = " ".join(clean(message)[0].split())
    return {
        "kind": kind,
        "message": text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…",
        "retryable": kind in RETRYABLE if retryable is None else retryable,
        "status_code": status_code,
    }


# -- exceptions ------------------------------------------------------------------------------------------


def judge_error(error: BaseException) -> Failure:  # noqa: C901, PLR0911 - a table, one line per cause
    """Classify what a call raised: our own errors, LangChain's, the HTTP status, the rest."""
    for link in _chain(error):
        if isinstance(link, ModelOutputError):
            return failure(link.kind, str(link))
    status, text = _status(error), _describe(error)
    if isinstance(error, ContextOverflowError):
        return failure("context_overflow", text, status_code=status)
    if status is not None:
        return _judge_status(status, text, _endpoint(error))
    if isinstance(error, ProviderError):
        return _judge_wording(text) or failure("server_error", text)
    ancestry = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, TimeoutError | ModelTimeoutError) or "TimeoutException" in ancestry:
        return failure("timeout", text)
    if isinstance(error, OSError | ModelConnectionError) or ancestry & _TRANSPORT_ERRORS:
        return failure("connection", _with_cause(error, text))
    if isinstance(error, json.JSONDecodeError):
        return failure("malformed", f"the response is not valid JSON: {error}")
    if type(error).__name__ == "APIError":  # an error record inside a stream
        return _judge_wording(text) or failure("server_error", text)
    if isinstance(error, ModelError):
        return failure("error", text, retryable=error.is_retryable)
    return failure("error", text)


def _judge_status(status: int, text: str, endpoint: str) -> Failure:
    wording = _judge_wording(text, status)
    if wording is not None:
        return wording
    kind = _BY_STATUS.get(status, "server_error" if status >= 500 else "bad_request")
    if endpoint and (status < 400 or status in _WRONG_ADDRESS):
        text = f"{text} (sent to {endpoint}: check base_url and the model's name)"
    return failure(kind, text, status_code=status)


def _judge_wording(text: str, status: int | None = None) -> Failure | None:
    """Tell apart what providers report under one status: overflow, exhausted quota, content filter."""
    if _QUOTA.search(text) and status in {None, 400, 402, 403, 429}:
        return failure("quota_exhausted", text, status_code=status)
    if status not in {None, 400, 413, 422}:
        return None
    if _OVERFLOW.search(text):
        return failure("context_overflow", text, status_code=status)
    if _FILTERED.search(text):
        return failure("filtered", text, status_code=status)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _status(error: BaseException) -> int | None:
    for value in (
        getattr(error, "status_code", None),
        getattr(getattr(error, "response", None), "status_code", None),
        getattr(error, "code", None),
    ):
        # A status of 2xx says nothing about the failure: the body was at fault.
        if isinstance(value, int) and 300 <= value < 600:
            return value
    return None


def _describe(error: BaseException) -> str:
    """Say what an exception says, with the provider's own code where there is one."""
    text = str(error) or type(error).__name__
    code = getattr(error, "code", None)
    if isinstance(code, str) and code not in text:
        text = f"{text} ({code})"
    package = type(error).__module__.partition(".")[0]
    return text if package in _SPEAKING else f"{type(error).__name__}: {text}"


def _with_cause(error: BaseException, text: str) -> str:
    """Say where a connection was meant to go, and what the operating system said, which SDKs hide."""
    *_, root = _chain(error)
    endpoint = _endpoint(error)
    where = f" (to {endpoint}: check base_url)" if endpoint else ""
    why = "" if root is error or str(root) in text else f": {root}"
    return f"{text.rstrip('.')}{where}{why}"


def _endpoint(error: BaseException) -> str:
    """Return the address of the request that failed, without its query; empty where none is known."""
    # httpx raises RuntimeError where an error has no request.
    with suppress(RuntimeError):
        url = getattr(getattr(error, "request", None), "url", None)
        return str(url).partition("?")[0] if url else ""
    return ""


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that a provider's Retry-After (or retry-after-ms) asks to wait, if it does."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    if not isinstance(headers, Mapping):
        return None
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
            return max(0.0, seconds) if math.isfinite(seconds) else None
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, OverflowError):
            continue
    return None


def cancelled_from_outside() -> bool:
    """Tell whether a CancelledError was asked for, and is not something that a model raised itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


# -- messages --------------------------------------------------------------------------------------------


def judge_message(  # noqa: PLR0911 - a table, one line per cause
    message: AIMessage, text: Text, *, streamed: bool, acting: bool = False
) -> Failure | None:
    """Return why a message is not usable as a proposal or an answer, or None when it is.

    `streamed` tells that it came in pieces: then a missing finish reason means that the rest is missing.
    `acting` tells that tools were offered.
    """
    reason = _finish_reason(message)
    refusal = message.additional_kwargs.get("refusal")
    if refusal or reason == "refusal":
        return failure("refused", f"the model refused: {refusal or text.text}")
    if reason in _FILTER_REASONS:
        return failure("filtered", f"the provider's content filter ended the output (finish_reason {reason})")
    if reason in _TRUNCATED:
        return failure(
            "truncated", f"the output hit its token limit (finish_reason {reason}); raise max_tokens"
        )
    if reason == "error":
        return failure("server_error", "the provider ended the output with finish_reason error")
    if not reason and streamed and message.response_metadata.get("model_provider") == "openai":
        return failure("truncated", "the stream ended without a finish reason", retryable=True)
    if message.tool_calls or message.invalid_tool_calls:
        return _judge_tool_calls(message, acting=acting)
    if not text.text.strip():
        only = " beside its reasoning" if text.reasoning.strip() else ""
        return failure("empty", f"the model wrote no text{only}")
    return None


def _judge_tool_calls(message: AIMessage, *, acting: bool) -> Failure | None:
    if not acting:
        return failure("tool_call", "the model called a tool, and none was offered")
    if message.tool_calls:
        return None
    names = ", ".join(str(call["name"]) for call in message.invalid_tool_calls)
    return failure("malformed", f"the arguments of the call of {names} are not valid JSON")


def _finish_reason(message: AIMessage) -> str:
    metadata = message.response_metadata
    for key in ("finish_reason", "stop_reason", "done_reason"):
        value = metadata.get(key)
        if isinstance(value, str) and value:
            return value.lower()
    return ""


_THINK = re.compile(r"\s*<(think|thinking|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_THINK_END = re.compile(r"(.*?)^</(?:think|thinking|reasoning)>[ \t]*$", re.DOTALL | re.MULTILINE)


def read_text(message: AIMessage) -> Text:
    """Take a message apart into text and reasoning, both cleaned.

    Reasoning is what a provider marks as such, and a leading <think> element inside the text.
    """
    text, dirty = clean(str(message.text))
    parts = [str(message.additional_kwargs.get("reasoning_content") or ""), *_reasoning_blocks(message)]
    # Some templates open the element in the prompt, so that only its end shows, on a line of its own.
    found = _THINK.match(text) or (None if "<think" in text or "</" not in text else _THINK_END.match(text))
    if found:
        parts.append(found[found.re.groups].strip())
        text = text[found.end() :].lstrip()
    reasoning, dirty_too = clean("\n\n".join(part for part in parts if part))
    return Text(text, reasoning, dirty or dirty_too)


class Summary(NamedTuple):
    """Hold what a message that a mixture wrote says of its run; `cost` is USD, None where unknown."""

    name: str
    calls: int
    cost: float | None
    warnings: list[str]


def summary_of(message: AIMessage) -> Summary | None:
    """Return what a message says of the mixture that wrote it; None where it says nothing, or something odd.

    A message of the host's may hold anything under that name.
    """
    match message.response_metadata.get("moa"):
        case {
            "name": str(name),
            "calls": int(calls),
            "cost": None | int() | float() as cost,
            "warnings": list(warnings),
        } if all(isinstance(warning, str) for warning in warnings):
            return Summary(name, calls, cost, warnings)
    return None


def _reasoning_blocks(message: AIMessage) -> Iterator[str]:
    if isinstance(message.content, str):
        return
    for block in message.content:
        if isinstance(block, dict) and block.get("type") in {"reasoning", "thinking"}:
            part: Any = block.get("reasoning") or block.get("thinking")
            if isinstance(part, str):
                yield part
