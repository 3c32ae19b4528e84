"""Advisors advise, one model acts: what proposers see of tools, and what a turn carries on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from typing_extensions import TypedDict

from moa_graph.passages import Passage, ShownSource
from moa_graph.state import Reference

__all__ = ["ADVISE", "Carried", "carried", "plain", "uses_tools"]

ADVISE = (
    "You advise another model. It alone can call tools, and it writes the reply. Do not call tools and do "
    "not pretend to: say in plain text what you would reply, or what should be done next and why."
)
"""What a proposer is told where the aggregator may call tools."""


class Carried(TypedDict):
    """Hold what the aggregator saw when it called tools, for the calls that follow in the same turn.

    `sources` are those of all passages that anybody was shown by then: they can be cited.
    """

    nonce: str
    references: list[Reference]
    passages: list[Passage]
    sources: list[ShownSource]


def uses_tools(messages: Sequence[BaseMessage]) -> bool:
    """Tell whether a conversation holds calls or results of tools."""
    return any(
        isinstance(message, ToolMessage) or (isinstance(message, AIMessage) and bool(message.tool_calls))
        for message in messages
    )


def plain(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return a conversation in which calls and results of tools are plain text; the input is not mutated."""
    return [_plain(message) for message in messages]


def _plain(message: BaseMessage) -> BaseMessage:
    if isinstance(message, ToolMessage):
        outcome = "failed" if message.status == "error" else "returned"
        name = message.name or message.tool_call_id
        return HumanMessage(f"The tool {name} {outcome}:\n{message.text}")
    if isinstance(message, AIMessage) and message.tool_calls:
        said = [text] if (text := str(message.text).strip()) else []
        calls = [f"(calls the tool {call['name']} with {_json(call['args'])})" for call in message.tool_calls]
        return AIMessage("\n".join(said + calls))
    return message


def _json(arguments: object) -> str:
    return json.dumps(arguments, ensure_ascii=False, default=str)


def carried(messages: Sequence[BaseMessage]) -> Carried | None:
    """Return what this turn's fan-out gave, if the conversation ends with the result of a tool.

    An answer that calls tools bears it in `response_metadata["moa"]["turn"]`; None where there is none, as
    when the conversation was shortened.
    """
    if not messages or not isinstance(messages[-1], ToolMessage):
        return None
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return None
        summary = message.response_metadata.get("moa")
        if isinstance(summary, dict) and _is_turn(turn := summary.get("turn")):
            return cast("Carried", turn)
    return None


def _is_turn(value: Any) -> bool:
    """Tell whether a message bears what one of ours would: it has been in other hands since."""
    return (
        isinstance(value, dict)
        and Carried.__required_keys__ <= value.keys()
        and re.fullmatch("[0-9a-f]{16}", str(value["nonce"])) is not None
        and all(isinstance(value[key], list) for key in ("references", "passages", "sources"))
        and all(isinstance(item, dict) and {"id", "text"} <= item.keys() for item in value["references"])
        and all(isinstance(item, dict) and {"id", "text"} <= item.keys() for item in value["passages"])
    )
