"""The answer's tokens on their way to whoever reads along."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.messages import AIMessageChunk, ToolCallChunk
from langchain_core.messages.tool import tool_call_chunk

from moa_graph.text import clean

__all__ = ["Relay"]

_Kind = tuple[str, str | int]
"""What a piece is one of: "content", what is "beside" it by its name, a call's "arguments" by its index."""
_CONTENT: _Kind = ("content", "")
_BARE: dict[str, Any] = dict.fromkeys(("id", "usage_metadata", "chunk_position"))
_OPENERS = ("<think>", "<thinking>", "<reasoning>")
_OPENER = re.compile(r"\s*<(think|thinking|reasoning)>")


class Relay:
    """Pass the tokens of an answer on; what was passed on cannot be taken back.

    Usage and the provider's marks stay behind: they are the run's to tell, once. So does a leading <think>
    element, which is no part of the answer (`moa_graph.proposers.outcomes.read_text`). `began` tells that
    something was passed on, `reasoned` that a provider's reasoning was.
    """

    def __init__(self, send: Callable[[AIMessageChunk], None]) -> None:
        self._send = send
        self._held: str | None = ""
        """What came so far and may be the beginning of a <think> element; None once that is settled."""
        self._halves: dict[_Kind, str] = {}
        """The first halves of characters whose second halves are still to come."""
        self.began = False
        self.reasoned = False

    def begin(self) -> None:
        """Forget what was held back of an attempt before."""
        self._held = ""
        self._halves.clear()

    def send(self, chunk: AIMessageChunk) -> None:
        """Pass a piece of the answer on."""
        content: Any = chunk.content
        calls, beside = chunk.tool_call_chunks, chunk.additional_kwargs
        if isinstance(content, str):
            content = self._spoken(self._read(_CONTENT, content))
        if calls:
            calls = [self._call(piece) for piece in calls]
        if beside:
            beside = self._beside(beside)
        if not (content or calls or beside):
            return
        if calls != chunk.tool_call_chunks:  # what LangChain read of them has to be read anew
            chunk = AIMessageChunk(content="", tool_call_chunks=calls)
        said = {"content": content, "additional_kwargs": beside, "response_metadata": dict[str, Any]()}
        self._pass(chunk.model_copy(update={**_BARE, **said}))

    def finish(self) -> None:
        """Pass on what was held back, when no more comes."""
        halves, self._halves = self._halves, {}
        for (what, which), half in halves.items():
            lone, _ = clean(half)
            if what == "arguments":
                piece = tool_call_chunk(args=lone, index=which)  # type: ignore[arg-type] # as it came
                self._pass(AIMessageChunk(content="", tool_call_chunks=[piece]))
            elif what == "beside":
                self._pass(AIMessageChunk(content="", additional_kwargs={str(which): lone}))
            elif spoken := self._spoken(lone):
                self._pass(AIMessageChunk(content=spoken))
        held, self._held = self._held, None
        if held and held.strip() and not _OPENER.match(held):
            self._pass(AIMessageChunk(content=held))

    def _read(self, kind: _Kind, text: str) -> str:
        """Return a piece cleaned; half a surrogate pair at its end waits for the next piece of its kind."""
        if self._halves:
            text = self._halves.pop(kind, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self._halves[kind], text = text[-1], text[:-1]
        return clean(text)[0]

    def _call(self, piece: ToolCallChunk) -> ToolCallChunk:
        name, args, id_, index = piece["name"], piece["args"], piece["id"], piece["index"]
        if args:  # without an index it is a whole call, and no other piece belongs to it
            args = clean(args)[0] if index is None else self._read(("arguments", index), args)
        return tool_call_chunk(name=name and clean(name)[0], args=args, id=id_ and clean(id_)[0], index=index)

    def _beside(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a provider says beside the answer, such as reasoning; nothing that is empty."""
        read = {
            name: self._read(("beside", name), each) if isinstance(each, str) else each
            for name, each in values.items()
        }
        return {name: each for name, each in read.items() if each != ""}

    def _spoken(self, text: str) -> str:
        """Return what may be said by now of a text that begins, or may begin, with a <think> element."""
        if self._held is None:
            return text
        self._held = held = self._held + text
        if opened := _OPENER.match(held):
            _, closed, rest = held.partition(f"</{opened[1]}>")
            if not (closed and rest.strip()):
                return ""
            held = rest.lstrip()
        elif any(opener.startswith(held.strip()) for opener in _OPENERS):
            return ""
        self._held = None
        return held

    def _pass(self, chunk: AIMessageChunk) -> None:
        self.began = True
        self.reasoned = self.reasoned or "reasoning_content" in chunk.additional_kwargs
        self._send(chunk)
