"""OpenAI's chat messages as LangChain's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.messages import ToolMessage as ToolResult

from moa_graph.server.chat import requests as sent
from moa_graph.server.faults import Refused
from moa_graph.server.images import check_image
from moa_graph.server.messages import add_call

__all__ = ["check_calls", "messages_of"]


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
    said = AIMessage(content, name=message.name)
    for each in message.tool_calls or []:
        add_call(said, each.id, each.function.name, each.function.arguments)
    return said


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
