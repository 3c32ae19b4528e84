"""What a turn goes on with after tools were called, for clients that send none of our metadata back."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.base import SerializerProtocol

from moa_graph.advising import last_said, turns_of
from moa_graph.server.keys import Key
from moa_graph.server.shelf import Shelf

__all__ = ["KEPT", "Turns"]

_LOG = logging.getLogger(__name__)

KEPT = 24 * 3600.0
"""Seconds that a client's tools may take."""


class Turns:
    """Keep what answers that call tools bear, for their owners.

    An answer is known again by its model, the last human message before it, to the letter, and the ids of
    its tool calls. With a `serializer` that encrypts nothing is kept in plain text.
    """

    def __init__(self, shelf: Shelf, serializer: SerializerProtocol | None = None) -> None:
        self._shelf = shelf
        self._serializer = serializer

    async def remember(
        self, key: Key, model: str, messages: Sequence[BaseMessage], answer: AIMessage
    ) -> None:
        """Keep what an answer bears; an answer that is paid for is not lost when that fails."""
        question, turns = _question(messages), turns_of(answer)
        try:
            name = _name(key, model, _digest(messages[question]), answer) if question is not None else None
            if name is not None and turns:
                await self._shelf.put(name, self._sealed(turns), KEPT)
        except Exception as error:  # noqa: BLE001 - see above
            _LOG.warning("The turn's references cannot be kept; all will be asked again: %s", error)

    async def recall(self, key: Key, model: str, messages: list[BaseMessage]) -> list[BaseMessage]:
        """Return the conversation, in it answers that bear what they did; the input is not mutated.

        When that fails, nothing was remembered: all are asked again.
        """
        question = _question(messages)
        if question is None or not isinstance(last_said(messages), ToolMessage):
            return messages  # nobody goes on
        try:
            asked = _digest(messages[question])
            names = [_name(key, model, asked, message) for message in messages[question:]]
            found = await asyncio.gather(*map(self._found, names, messages[question:]))
        except Exception as error:  # noqa: BLE001 - see above
            _LOG.warning("The turn's references cannot be read; all are asked again: %s", error)
            return messages
        return [*messages[:question], *found]

    async def _found(self, name: str | None, message: BaseMessage) -> BaseMessage:
        found = None if name is None or turns_of(message) else await self._shelf.get(name)
        return message if found is None else _bearing(message, self._opened(found))

    def _sealed(self, turns: dict[str, Any]) -> Any:
        if self._serializer is None:
            return turns
        kind, data = self._serializer.dumps_typed(turns)
        return [kind, b64encode(data).decode()]

    def _opened(self, found: Any) -> dict[str, Any]:
        if self._serializer is None:
            return dict(found)
        kind, data = found
        return dict(self._serializer.loads_typed((kind, b64decode(data))))


def _question(messages: Sequence[BaseMessage]) -> int | None:
    """Return where the last human message is."""
    numbers = range(len(messages) - 1, -1, -1)
    return next((number for number in numbers if isinstance(messages[number], HumanMessage)), None)


def _name(key: Key, model: str, question: str, answer: BaseMessage) -> str | None:
    """Return the name under which an answer's part is kept, None for what calls no tools."""
    if not isinstance(answer, AIMessage):
        return None
    ids = sorted(str(call["id"]) for call in [*answer.tool_calls, *answer.invalid_tool_calls])
    if not ids:
        return None
    parts = json.dumps([model, question, ids], sort_keys=True)
    return f"turn/{key.id}/{sha256(parts.encode()).hexdigest()}"


def _digest(question: BaseMessage) -> str:
    """Return what tells a question apart; it may be long, and every name after it has it."""
    return sha256(json.dumps(question.content, sort_keys=True).encode()).hexdigest()


def _bearing(message: BaseMessage, turns: dict[str, Any]) -> BaseMessage:
    metadata = message.response_metadata
    summary = metadata.get("moa")
    summary = {**(summary if isinstance(summary, dict) else {}), "turns": turns}
    return message.model_copy(update={"response_metadata": {**metadata, "moa": summary}})
