"""A callback that looks on while a model streams: first token, text so far, too much of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk

from moa_graph.proposers.outcomes import Text, clean

__all__ = ["TokenWatch", "stopper"]


class TokenWatch(BaseCallbackHandler):
    """Note when the first token of one attempt came, and keep what was streamed.

    What a cut-off stream had brought was paid for, so it goes into the failure's record. Beyond
    `max_chars` characters of one output `too_long` is set and `on_excess` is called, once.
    """

    run_inline = True
    ignore_chat_model = True  # only tokens are of interest

    on_excess: Callable[[], None]

    def __init__(self, max_chars: int) -> None:
        super().__init__()
        self._max_chars = max_chars
        self.too_long = False
        self._began = time.monotonic()
        self._pieces: dict[UUID | None, list[str]] = {}
        """What was streamed, by run: inside a nested mixture several models write at once."""
        self._lengths: dict[UUID | None, int] = {}  # the limit is one output's
        self.first_token_seconds: float | None = None

    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID | None = None,
        **_: Any,
    ) -> None:
        """Keep a piece of the stream, up to the limit."""
        if self.first_token_seconds is None:
            self.first_token_seconds = round(time.monotonic() - self._began, 4)
        if self.too_long:
            return
        piece = token if isinstance(token, str) else (chunk.text if chunk else "")
        self._pieces.setdefault(run_id, []).append(piece)
        self._lengths[run_id] = length = self._lengths.get(run_id, 0) + len(piece)
        if length > self._max_chars:
            # Not raised: LangChain logs whatever a callback raises.
            self.too_long = True
            self.on_excess()

    def text(self) -> Text:
        """Return what has been streamed so far, cleaned and within the limit."""
        texts = ("".join(pieces) for pieces in list(self._pieces.values()))
        text, dirty = clean("\n\n".join(texts)[: self._max_chars])
        return Text(text, "", dirty)


def stopper(clock: asyncio.Timeout) -> Callable[[], None]:
    """Return what ends an attempt at once, from whichever thread: its clock is set to now."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        with suppress(RuntimeError):  # the attempt has ended by itself meanwhile
            clock.reschedule(loop.time())

    def stop_soon() -> None:
        loop.call_soon_threadsafe(stop)

    return stop_soon
