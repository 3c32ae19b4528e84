"""A response as it is told event by event: what an answer's pieces become in OpenAI's stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk

from moa_graph.server.cutting import cut_short
from moa_graph.server.messages import reasoning_of
from moa_graph.server.responses.items import CallItem, Item, MessageItem, ReasoningItem
from moa_graph.server.responses.writing import Frame, Json, calls_of

__all__ = ["Story"]


class Story:
    """Tell one response as events with their numbers; what was not streamed by the end is told whole.

    One item is told at a time: what belongs to another one ends it.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._count = 0
        self._items: list[Item] = []
        self._open: Item | None = None

    def begin(self) -> Iterator[Json]:
        """Yield the events that come first."""
        response = self._frame.response("in_progress")
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    def progress(self, line: str) -> Iterator[Json]:
        """Yield a line about the run as a summary of reasoning, as long as the answer has not begun."""
        if not self._of(MessageItem, CallItem):
            yield from self._reason("progress", f"{line}\n")

    def piece(self, chunk: AIMessageChunk) -> Iterator[Json]:
        """Yield what a piece of the answer gives."""
        if reasoning := reasoning_of(chunk):
            yield from self._reason("thought", reasoning)
        if text := str(chunk.text):
            yield from self._say(text)
        for call in chunk.tool_call_chunks:
            yield from self._call(call["id"], call["index"], call["name"] or "", call["args"] or "")

    def end(self, message: AIMessage, moa: Json | None = None) -> Iterator[Json]:
        """Yield the rest of the answer, and the response that is completed with it."""
        thought = [item for item in self._of(ReasoningItem) if item.has("thought")]
        if (reasoning := reasoning_of(message)) and not thought and not self._of(MessageItem, CallItem):
            yield from self._reason("thought", reasoning)
        said, whole = "".join(item.text for item in self._of(MessageItem)), str(message.text)
        if whole != said and whole.startswith(said):
            yield from self._say(whole[len(said) :])
        calls = calls_of(self._frame.id, message)
        for call in calls[len(self._of(CallItem)) :]:
            yield from self._call(call["call_id"], None, call["name"], call["arguments"], new=True)
        if not self._of(MessageItem, CallItem):
            yield from self._begin(MessageItem(self._frame.id, 0))
        yield from self._close()
        completed = self._frame.completed(message, moa)
        yield self._event("response.completed", response={**completed, "output": self._output})

    def fail(self, error: Exception) -> Iterator[Json]:
        """Yield how a response ends that has no answer: failed, or incomplete with what there is of it."""
        cut = cut_short(error)
        if cut is not None and cut[1] and not self._of(MessageItem):
            yield from self._say(cut[1])
        yield from self._close("incomplete")
        name = "response.failed" if cut is None else "response.incomplete"
        yield self._event(name, response=self._frame.failed(error, self._output))

    @property
    def _output(self) -> list[Json]:
        return [item.json for item in self._items]

    def _of(self, *kinds: type[Item]) -> list[Any]:
        return [item for item in self._items if isinstance(item, kinds)]

    def _reason(self, label: str, text: str) -> Iterator[Json]:
        if not isinstance(self._open, ReasoningItem):
            yield from self._begin(ReasoningItem(self._frame.id, len(self._of(ReasoningItem))))
        yield from self._told(self._current(ReasoningItem).add(label, text))

    def _say(self, text: str) -> Iterator[Json]:
        if not isinstance(self._open, MessageItem):
            yield from self._begin(MessageItem(self._frame.id, len(self._of(MessageItem))))
        yield from self._told(self._current(MessageItem).add(text))

    def _call(
        self, call_id: str | None, index: object, name: str, arguments: str, *, new: bool = False
    ) -> Iterator[Json]:
        """Tell a piece of a call. Providers number calls, or only name the first piece of each."""
        known = self._open
        goes_on = isinstance(known, CallItem) and known.is_of(call_id, index) and not new
        if not goes_on:
            item = CallItem(self._frame.id, len(self._of(CallItem)), call_id, index, name)
            yield from self._begin(item)
        yield from self._told(self._current(CallItem).add(arguments))

    def _current(self, kind: type[Any]) -> Any:
        assert isinstance(self._open, kind)  # noqa: S101 - the caller has begun it
        return self._open

    def _begin(self, item: Item) -> Iterator[Json]:
        yield from self._close()
        self._open = item
        self._items.append(item)
        yield self._event("response.output_item.added", item=item.json, output_index=len(self._items) - 1)
        yield from self._told(item.beginning())

    def _close(self, status: str = "completed") -> Iterator[Json]:
        item = self._open
        if item is not None:
            yield from self._told(item.ending(status))
            yield self._event("response.output_item.done", item=item.json, output_index=len(self._items) - 1)
        self._open = None

    def _told(self, events: Iterator[tuple[str, Json]]) -> Iterator[Json]:
        """Add to an item's events which item they are of."""
        assert self._open is not None  # noqa: S101 - the caller has begun it
        place = {"item_id": self._open.id, "output_index": len(self._items) - 1}
        for name, data in events:
            yield self._event(name, **place, **data)

    def _event(self, name: str, **data: Any) -> Json:
        event = {"type": name, "sequence_number": self._count, **data}
        self._count += 1
        return event
