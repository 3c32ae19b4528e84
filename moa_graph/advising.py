"""Advisors advise, one model acts: what proposers see of tools, and what a turn carries on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, NotRequired

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from moa_graph.passages import Passage, ShownSource
from moa_graph.state import Reference

__all__ = ["ADVISE", "Carried", "carried", "last_said", "plain", "turns_of", "uses_tools"]

ADVISE = (
    "You advise another model. It alone can call tools, and it writes the reply. Do not call tools and do "
    "not pretend to: say in plain text what you would reply, or what should be done next and why."
)
"""What a proposer is told where the aggregator may call tools."""


class Carried(TypedDict):
    """Hold what the aggregator saw when it called tools, for the calls that follow in the same turn.

    `sources` are those of all passages that anybody was shown by then: they can be cited. `changes` are what
    the last layer changed, where somebody wrote that down.
    """

    nonce: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    references: list[Reference]
    passages: list[Passage]
    sources: list[ShownSource]
    changes: NotRequired[str]


_CARRIED = TypeAdapter(Carried)


def last_said(messages: Sequence[BaseMessage]) -> BaseMessage | None:
    """Return the last message, instructions aside: they may come after what tools returned."""
    return next((each for each in reversed(messages) if not isinstance(each, SystemMessage)), None)


def uses_tools(messages: Sequence[BaseMessage]) -> bool:
    """Tell whether a conversation holds calls or results of tools."""
    return any(isinstance(message, ToolMessage) or _calls(message) for message in messages)


def _calls(message: BaseMessage) -> list[str]:
    """Return the calls of tools that a message makes, as texts; those that were not understood as well."""
    if not isinstance(message, AIMessage):
        return []
    valid = [(call["name"], _json(call["args"])) for call in message.tool_calls]
    invalid = [(call["name"], call["args"]) for call in message.invalid_tool_calls]
    return [f"(calls the tool {name} with {arguments})" for name, arguments in [*valid, *invalid]]


def plain(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return a conversation in which calls and results of tools are plain text; the input is not mutated."""
    return [_plain(message) for message in messages]


def _plain(message: BaseMessage) -> BaseMessage:
    if isinstance(message, ToolMessage):
        outcome = "failed" if message.status == "error" else "returned"
        name = message.name or message.tool_call_id
        return HumanMessage(f"The tool {name} {outcome}:\n{message.text}")
    if calls := _calls(message):
        said = [text] if (text := str(message.text).strip()) else []
        return AIMessage("\n".join(said + calls))
    return message


def _json(arguments: object) -> str:
    return json.dumps(arguments, ensure_ascii=False, default=str)


def carried(messages: Sequence[BaseMessage], mark: str) -> Carried | None:
    """Return what this turn's fan-out gave the mixture whose spec has the hash `mark`.

    An answer that calls tools bears it in `response_metadata["moa"]["turns"]`; None where there is none, as
    when the conversation was shortened.
    """
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return None
        if (turn := turns_of(message).get(mark)) is not None:
            with suppress(ValidationError):  # it has been in other hands since
                return _CARRIED.validate_python(turn)
    return None


def turns_of(message: BaseMessage) -> dict[str, Any]:
    """Return what a message bears for mixtures to go on with, by the hashes of their specs."""
    summary = message.response_metadata.get("moa")
    turns = summary.get("turns") if isinstance(summary, dict) else None
    return turns if isinstance(turns, dict) else {}
