"""The output items of a response while they are told: a message, a call of a function, reasoning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from moa_graph.server.responses.ids import ResponseId
from moa_graph.server.responses.writing import Json, text_part

__all__ = ["CallItem", "Item", "MessageItem", "ReasoningItem"]

Told = Iterator[tuple[str, Json]]
"""Events by their names, without what says which item they are of."""


class Item(ABC):
    """Be an output item: `json` is the item as it stands."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.status = "in_progress"

    @property
    @abstractmethod
    def json(self) -> Json:
        """Return the item as it stands."""

    def beginning(self) -> Told:
        """Yield what is told when the item begins."""
        yield from ()

    @abstractmethod
    def ending(self, status: str) -> Told:
        """Yield what is told when the item ends, completed or incomplete."""


class MessageItem(Item):
    """Hold a message with one text."""

    def __init__(self, response: ResponseId, number: int) -> None:
        super().__init__(response.of("msg", number))
        self.text = ""

    @property
    def json(self) -> Json:
        """Return the item as it stands."""
        content = [] if self.status == "in_progress" else [text_part(self.text)]
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "status": self.status,
            "content": content,
        }

    def beginning(self) -> Told:
        """Yield what is told when the item begins."""
        yield "response.content_part.added", {"content_index": 0, "part": text_part("")}

    def add(self, text: str) -> Told:
        """Yield a piece of the text."""
        self.text += text
        yield "response.output_text.delta", {"content_index": 0, "delta": text, "logprobs": []}

    def ending(self, status: str) -> Told:
        """Yield what is told when the item ends."""
        self.status = status
        yield "response.output_text.done", {"content_index": 0, "text": self.text, "logprobs": []}
        yield "response.content_part.done", {"content_index": 0, "part": text_part(self.text)}


class CallItem(Item):
    """Hold a call of a function."""

    def __init__(
        self, response: ResponseId, number: int, call_id: str | None, index: object, name: str
    ) -> None:
        super().__init__(response.of("fc", number))
        self._call_id = call_id or response.of("call", number)
        self._given_id, self._index, self._name = call_id, index, name
        self._arguments = ""

    def is_of(self, call_id: str | None, index: object) -> bool:
        """Tell whether a piece belongs to this call: it has its id, or no id and its number."""
        return call_id == self._given_id if call_id else index in (None, self._index)

    @property
    def json(self) -> Json:
        """Return the item as it stands."""
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "call_id": self._call_id,
            "name": self._name,
            "arguments": self._arguments,
        }

    def add(self, arguments: str) -> Told:
        """Yield a piece of the arguments."""
        self._arguments += arguments
        if arguments:
            yield "response.function_call_arguments.delta", {"delta": arguments}

    def ending(self, status: str) -> Told:
        """Yield what is told when the item ends."""
        self.status = status
        yield "response.function_call_arguments.done", {"arguments": self._arguments}


class ReasoningItem(Item):
    """Hold summaries of reasoning, a part for each kind: progress of the run, thoughts of who answers."""

    def __init__(self, response: ResponseId, number: int) -> None:
        super().__init__(response.of("rs", number))
        self._parts: list[tuple[str, str]] = []

    def has(self, label: str) -> bool:
        """Tell whether there is a part of this kind."""
        return any(kind == label for kind, _ in self._parts)

    @property
    def json(self) -> Json:
        """Return the item as it stands."""
        return {"id": self.id, "type": "reasoning", "summary": [_summary(text) for _, text in self._parts]}

    def add(self, label: str, text: str) -> Told:
        """Yield a piece of a part; another kind than before begins the next part."""
        if not self._parts or self._parts[-1][0] != label:
            yield from self._end_part()
            self._parts.append((label, ""))
            yield "response.reasoning_summary_part.added", {**self._place, "part": _summary("")}
        self._parts[-1] = (label, self._parts[-1][1] + text)
        yield "response.reasoning_summary_text.delta", {**self._place, "delta": text}

    def ending(self, status: str) -> Told:
        """Yield what is told when the item ends."""
        self.status = status
        yield from self._end_part()

    @property
    def _place(self) -> dict[str, Any]:
        return {"summary_index": len(self._parts) - 1}

    def _end_part(self) -> Told:
        if self._parts:
            text = self._parts[-1][1]
            yield "response.reasoning_summary_text.done", {**self._place, "text": text}
            yield "response.reasoning_summary_part.done", {**self._place, "part": _summary(text)}


def _summary(text: str) -> Json:
    return {"type": "summary_text", "text": text}
