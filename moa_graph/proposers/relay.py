"""The answer's tokens on their way to whoever reads along."""

from __future__ import annotations

import re
from collections.abc import Callable

from langchain_core.messages import AIMessageChunk

from moa_graph.text import clean

__all__ = ["Relay"]

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
        self.began = False
        self.reasoned = False

    def begin(self) -> None:
        """Forget what was held back of an attempt before."""
        self._held = ""

    def send(self, chunk: AIMessageChunk) -> None:
        """Pass a piece of the answer on."""
        content = chunk.content
        if isinstance(content, str):
            content, _ = clean(content if self._held is None else self._spoken(content))
        self._pass(chunk.model_copy(update={"content": content}))

    def finish(self) -> None:
        """Pass on what was held back, when no more comes."""
        held, self._held = self._held, None
        if held and held.strip() and not _OPENER.match(held):
            self._pass(AIMessageChunk(content=held))

    def _spoken(self, text: str) -> str:
        """Return what may be said by now of a text that begins, or may begin, with a <think> element."""
        self._held = held = (self._held or "") + text
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
        if not (chunk.content or chunk.tool_call_chunks or chunk.additional_kwargs):
            return
        self.began = True
        self.reasoned = self.reasoned or "reasoning_content" in chunk.additional_kwargs
        bare: dict[str, object] = dict.fromkeys(("id", "usage_metadata", "chunk_position"))
        self._send(chunk.model_copy(update={**bare, "response_metadata": {}}))
