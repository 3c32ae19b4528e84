"""OpenAI's chat messages as LangChain's, and what a request asks of whoever writes the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
)
from langchain_core.messages import ToolCall as Call
from langchain_core.messages import ToolMessage as ToolResult

from moa_graph.server.chat import requests as sent
from moa_graph.server.faults import Refused
from moa_graph.server.images import check_image

__all__ = ["check_calls", "messages_of", "refuse_unsupported"]


def refuse_unsupported(body: Mapping[str, Any]) -> None:
    """Raise Refused for what would change the answer and cannot be done; nothing and null are let be."""
    asked = {
        "n": body.get("n") not in (None, 1),
        "logprobs": body.get("logprobs") not in (None, False),
        "top_logprobs": body.get("top_logprobs") not in (None, 0),
        "modalities": body.get("modalities") not in (None, [], ["text"]),
    }
    for name in ("functions", "function_call", "audio", "prediction", "web_search_options", "moderation"):
        asked[name] = body.get(name) is not None
    for name, is_asked in asked.items():
        if is_asked:
            instead = _INSTEAD.get(name, "leave it out")
            raise Refused(
                400,
                f"{name} is not supported by this server: {instead}",
                param=name,
                code="unsupported_parameter",
            )


_INSTEAD = {
    "n": "ask again for another answer",
    "functions": "give tools",
    "function_call": "give tools and tool_choice",
    "modalities": "answers are text",
}


def messages_of(request: sent.ChatRequest) -> list[BaseMessage]:
    """Return the conversation; raise Refused where its last message asks nothing."""
    if isinstance(request.messages[-1], sent.AssistantMessage):
        place = f"messages[{len(request.messages) - 1}].role"
        raise Refused(
            400,
            "the last message is the assistant's: end with a user's message or a tool's result",
            param=place,
            code="invalid_value",
        )
    return [_message(message, index) for index, message in enumerate(request.messages)]


def _message(message: sent.Message, index: int) -> BaseMessage:
    match message:
        case sent.SystemMessage(role=role):
            developer = {"__openai_role__": role} if role == "developer" else {}
            return SystemMessage(_texts(message.content), name=message.name, additional_kwargs=developer)
        case sent.UserMessage():
            return HumanMessage(_seen(message.content, index), name=message.name)
        case sent.AssistantMessage():
            return _said(message)
        case sent.ToolMessage():
            return ToolResult(_texts(message.content), tool_call_id=message.tool_call_id)


def _texts(content: str | Sequence[sent.TextPart]) -> str | list[str | dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [{"type": "text", "text": part.text} for part in content]


def _seen(
    content: str | Sequence[sent.TextPart | sent.ImagePart], index: int
) -> str | list[str | dict[str, Any]]:
    if isinstance(content, str):
        return content
    parts: list[str | dict[str, Any]] = []
    for number, part in enumerate(content):
        if isinstance(part, sent.TextPart):
            parts.append({"type": "text", "text": part.text})
        else:
            image = part.image_url
            check_image(image.url, f"messages[{index}].content[{number}].image_url.url")
            detail = {"detail": image.detail} if image.detail else {}
            parts.append({"type": "image_url", "image_url": {"url": image.url, **detail}})
    return parts


def _said(message: sent.AssistantMessage) -> AIMessage:
    content = message.content or ""
    if not isinstance(content, str):
        content = "\n".join(
            part.text if isinstance(part, sent.TextPart) else part.refusal for part in content
        )
    calls: list[Call] = []
    invalid: list[InvalidToolCall] = []
    for each in message.tool_calls or []:
        name, arguments = each.function.name, each.function.arguments
        read = _arguments(arguments)
        if read is not None:
            calls.append(Call(name=name, args=read, id=each.id, type="tool_call"))
        else:
            invalid.append(
                InvalidToolCall(
                    name=name, args=arguments, id=each.id, error="no JSON object", type="invalid_tool_call"
                )
            )
    return AIMessage(content, name=message.name, tool_calls=calls, invalid_tool_calls=invalid)


def _arguments(text: str) -> dict[str, Any] | None:
    try:
        read = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def check_calls(messages: Sequence[BaseMessage]) -> None:
    """Raise Refused for the result of a tool that nobody called, and for calls that nobody answered.

    Most providers refuse such a conversation, and by then the proposers have been paid.
    """
    waiting: set[str | None] = set()
    for index, message in enumerate(messages):
        if isinstance(message, ToolResult):
            if message.tool_call_id not in waiting:
                raise _misplaced(f"messages[{index}].tool_call_id", "no call before it waits for this result")
            waiting.remove(message.tool_call_id)
        elif waiting:
            raise _misplaced(f"messages[{index}]", "the calls before it have no result yet")
        if isinstance(message, AIMessage):
            waiting = {call["id"] for call in (*message.tool_calls, *message.invalid_tool_calls)}
    if waiting:
        raise _misplaced("messages", "calls at the end have no result yet")


def _misplaced(place: str, message: str) -> Refused:
    return Refused(400, f"{place}: {message}", param=place, code="invalid_value")
