"""The answer's tokens on their way to whoever reads along."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.messages import AIMessageChunk

__all__ = ["Relay"]


class Relay:
    """Pass the tokens of an answer on; what was passed on cannot be taken back.

    Usage and the provider's marks stay behind: they are the run's to tell, once.
    """

    def __init__(self, send: Callable[[AIMessageChunk], None]) -> None:
        self._send = send
        self.began = False

    def send(self, chunk: AIMessageChunk) -> None:
        """Pass a piece of the answer on."""
        bare = chunk.model_copy(
            update={"id": None, "usage_metadata": None, "response_metadata": {}, "chunk_position": None}
        )
        if bare.content or bare.tool_call_chunks or bare.additional_kwargs:
            self.began = True
            self._send(bare)
