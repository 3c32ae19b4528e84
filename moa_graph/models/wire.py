"""The chat completions protocol as it comes over the wire: strict where it matters, lenient elsewhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeGuard

from moa_graph.models.failures import ModelOutputError, ProviderError

__all__ = ["check_chunk", "check_completion", "clean_usage", "read_events", "read_json", "reasoning_of"]

_PREVIEW = 200
_MOST_TOKENS = 10**12
"""Above this a count is nonsense, not a count."""


def read_json(body: bytes | bytearray) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises ModelOutputError if there is none, ProviderError if the object reports an error.
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        raise ModelOutputError(f"the response is not JSON: {_preview(body)}") from None
    if not isinstance(record, dict):
        raise ModelOutputError(f"the response is not a JSON object: {_preview(body)}")
    _raise_error(record)
    return record


async def read_events(body: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON objects of a server-sent event stream until it says [DONE] or ends.

    Raises ModelOutputError for data that is not JSON, ProviderError for an error record.
    """
    data = bytearray()
    async for line in _lines(body):
        if line.startswith(b"data:"):
            data += line[5:].strip() + b"\n"
        elif not line and data:
            if data.startswith(b"[DONE]"):
                return
            yield read_json(data)
            data.clear()
    # Some servers leave out the blank line after the last event.
    if data and not data.startswith(b"[DONE]"):
        yield read_json(data)


async def _lines(body: AsyncIterator[bytes]) -> AsyncIterator[bytearray]:
    # Split at \n alone: text may hold other line separators, such as U+2028, unescaped.
    buffer = bytearray()
    async for received in body:
        buffer += received
        if b"\n" not in received:
            continue
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r")
    if buffer:
        yield buffer.rstrip(b"\r")


def check_completion(record: dict[str, Any]) -> dict[str, Any]:
    """Return a chat completion with usable usage and roles; raise ModelOutputError if it has no message."""
    choices = record.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ModelOutputError(f"the response has no choices; it has the keys {sorted(record)}")
    checked = []
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise ModelOutputError("the response has a choice without a message")
        checked.append({**choice, "message": _assistant(message), "finish_reason": _reason(choice)})
    return {**record, "choices": checked, "usage": clean_usage(record.get("usage"))}


def check_chunk(record: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk of a stream without its usage; raise ModelOutputError if it is malformed."""
    choices = record.get("choices") or []
    if not isinstance(choices, list):
        raise ModelOutputError("a chunk of the stream has choices that are not a list")
    checked = []
    for choice in choices[:1]:
        delta = (choice.get("delta") or {}) if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            raise ModelOutputError("a chunk of the stream has a choice without a delta")
        checked.append({**choice, "delta": _assistant(delta), "finish_reason": _reason(choice)})
    return {**record, "choices": checked, "usage": None}


def _assistant(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with the role that it must have, whatever the server says, and readable content."""
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise ModelOutputError(f"the message's content is not a text but {type(content).__name__}")
    if isinstance(content, list) and not all(isinstance(part, str | dict) for part in content):
        raise ModelOutputError("the message's content is a list of something else than content blocks")
    return {**message, "role": "assistant"}


def _reason(choice: Mapping[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) and reason else None


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Return a message's or delta's reasoning: `reasoning_content` (DeepSeek, vLLM) or `reasoning`."""
    for key in ("reasoning_content", "reasoning"):
        value = message.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def clean_usage(usage: Any) -> dict[str, Any] | None:
    """Return a provider's usage with counts that can be believed, None where it has none."""
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not _is_count(read) or not _is_count(written):
        return None
    clean: dict[str, Any] = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }
    for key in ("prompt_tokens_details", "completion_tokens_details"):
        details = usage.get(key)
        if isinstance(details, dict):
            clean[key] = {name: count for name, count in details.items() if _is_count(count)}
    return clean


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS


def _raise_error(record: Mapping[str, Any]) -> None:
    """Raise ProviderError if a record reports an error, as OpenAI's, OpenRouter's or vLLM's do."""
    error = record.get("error")
    if not error and record.get("object") == "error":
        error = record
    if not error:
        return
    if not isinstance(error, dict):
        raise ProviderError(str(error)[: 4 * _PREVIEW])
    code, kind = error.get("code"), error.get("type")
    message = error.get("message")
    word = code if isinstance(code, str) and not code.isdecimal() else kind
    raise ProviderError(
        str(message or word or code or "the provider reports an error without a message")[: 4 * _PREVIEW],
        code=word if isinstance(word, str) else None,
        status_code=_status(code) or _status(error.get("status")),
    )


def _status(code: Any) -> int | None:
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and 400 <= code <= 599 else None


def _preview(body: bytes | bytearray) -> str:
    text = " ".join(body[: 4 * _PREVIEW].decode("utf-8", "replace").split())
    if not text:
        return "it is empty"
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"
