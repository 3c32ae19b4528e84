"""What a strict OpenAI-compatible server refuses: so that a malformed prompt fails a test."""

from __future__ import annotations

from typing import Any

__all__ = ["fault_of"]

_ROLES = {"system", "developer", "user", "assistant", "tool"}
_PARTS = {
    "text": "text",
    "image_url": "image_url",
    "input_audio": "input_audio",
    "file": "file",
    "refusal": "refusal",
}
_USER_ONLY = {"image_url", "input_audio", "file"}


def fault_of(body: Any) -> str | None:
    """Return what is wrong with the body of a request, or None."""
    if not isinstance(body, dict):
        return "The body must be a JSON object."
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "'model' must be a non-empty string."
    return _fault_of_parameters(body) or _fault_of_messages(body.get("messages"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fault_of_parameters(body: dict[str, Any]) -> str | None:
    if not isinstance(body.get("stream", False), bool | None):
        return "'stream' must be a boolean."
    if body.get("stream_options") is not None and not body.get("stream"):
        return "'stream_options' is only allowed when 'stream' is true."
    temperature = body.get("temperature")
    if temperature is not None and not (_is_number(temperature) and 0 <= temperature <= 2):
        return "'temperature' must be a number from 0 to 2."
    for key in ("max_tokens", "max_completion_tokens", "n"):
        value = body.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            return f"{key!r} must be an integer of at least 1."
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        return "'max_tokens' and 'max_completion_tokens' must not both be set."
    return None


def _fault_of_messages(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return "'messages' must be a non-empty list."
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"messages[{index}] must be an object."
        fault = _fault_of_message(message, open_calls)
        if fault:
            return f"messages[{index}]: {fault}"
    return "an assistant message with 'tool_calls' must be followed by tool messages" if open_calls else None


def _fault_of_message(message: dict[str, Any], open_calls: set[str]) -> str | None:
    role = message.get("role")
    if role not in _ROLES:
        return f"'{role}' is not one of {sorted(_ROLES)}"
    if role == "tool":
        identifier = message.get("tool_call_id")
        if identifier not in open_calls:
            return "a tool message must answer a preceding message with 'tool_calls'"
        open_calls.discard(identifier)
    elif open_calls:
        return "an assistant message with 'tool_calls' must be followed by tool messages"
    for call in message.get("tool_calls") or []:
        if role != "assistant" or not isinstance(call, dict) or not isinstance(call.get("id"), str):
            return "'tool_calls' must be a list of calls with an 'id', in an assistant message"
        open_calls.add(call["id"])
    if message.get("content") is None:
        allowed = role == "assistant" and (message.get("tool_calls") or message.get("refusal"))
        return None if allowed else "'content' must be a string or a list of parts, not null"
    return _fault_of_content(role, message["content"])


def _fault_of_content(role: str, content: Any) -> str | None:
    if isinstance(content, str):
        return None
    if not isinstance(content, list) or not content:
        return "'content' must be a string or a non-empty list of parts"
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _PARTS:
            return f"a part of type '{kind}' is not one of {sorted(_PARTS)}"
        value = part.get(_PARTS[kind])
        if not isinstance(value, str if kind in ("text", "refusal") else dict):
            return f"a part of type '{kind}' lacks a proper '{_PARTS[kind]}'"
        if kind in _USER_ONLY and role != "user":
            return f"a part of type '{kind}' is only allowed in user messages"
    return None
