"""What a message holds beside its text: what was thought before it, and the tools that it calls."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import AIMessage, InvalidToolCall, ToolCall

__all__ = ["add_call", "calls_in", "reasoning_of"]

_REASONING = ("thinking", "reasoning")


def reasoning_of(message: AIMessage) -> str:
    """Return a model's reasoning, which providers put beside the content or into it."""
    beside = message.additional_kwargs.get("reasoning_content")
    if isinstance(beside, str) and beside:
        return beside
    if isinstance(message.content, str):
        return ""
    blocks = [block for block in message.content if isinstance(block, dict)]
    words = [block.get(str(block.get("type"))) for block in blocks if block.get("type") in _REASONING]
    return "".join(word for word in words if isinstance(word, str))


def calls_in(message: AIMessage) -> list[tuple[str | None, str, str]]:
    """Return id, name and arguments of each call; arguments that are no JSON are as the model wrote them."""
    valid = [(call["id"], call["name"], json.dumps(call["args"])) for call in message.tool_calls]
    invalid = [(call["id"], call["name"] or "", call["args"] or "") for call in message.invalid_tool_calls]
    return [*valid, *invalid]


def add_call(message: AIMessage, id_: str, name: str, arguments: str) -> None:
    """Add a call to a message: an invalid one where its arguments are no JSON object."""
    read = _object(arguments)
    if read is not None:
        call = ToolCall(name=name, args=read, id=id_, type="tool_call")
        message.tool_calls = [*message.tool_calls, call]
    else:
        invalid = InvalidToolCall(
            name=name, args=arguments, id=id_, error="no JSON object", type="invalid_tool_call"
        )
        message.invalid_tool_calls = [*message.invalid_tool_calls, invalid]


def _object(text: str) -> dict[str, Any] | None:
    try:
        read = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None
