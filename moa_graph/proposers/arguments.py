"""The arguments of tool calls that came in pieces, read as strictly as those of a whole answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCallChunk
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk

from moa_graph.text import clean

__all__ = ["CallWatch", "read_arguments"]


def read_arguments(message: BaseMessage, pieces: Sequence[ToolCallChunk]) -> BaseMessage:
    """Return a message with the calls of tools that its merged pieces really say.

    LangChain completes arguments that are broken off, and would call tools with what nobody said.
    """
    if not pieces or not isinstance(message, AIMessage):
        return message
    calls, broken = [], []
    for piece in pieces:
        # Cleaned, as those who read along have seen it.
        said = (piece["name"] or "", piece["args"] or "", piece["id"] or "")
        name, arguments, id_ = (clean(each)[0] for each in said)
        try:
            calls.append(tool_call(name=name, args=_read(arguments), id=id_ or None))
        except (ValueError, RecursionError) as error:
            broken.append(invalid_tool_call(name=name, args=arguments, id=id_ or None, error=str(error)))
    return message.model_copy(update={"tool_calls": calls, "invalid_tool_calls": broken})


def _read(arguments: str) -> dict[str, Any]:
    # As LangChain reads those of a whole answer: line breaks in texts are let pass, and nothing is {}.
    read = json.loads(arguments, strict=False) or {} if arguments else {}
    if not isinstance(read, dict):
        raise ValueError("the arguments are not a JSON object")  # noqa: TRY004 - the text is at fault
    return read


class CallWatch(BaseCallbackHandler):
    """Keep the pieces of calls of one request whose answer LangChain puts together itself.

    So it does where somebody around listens to tokens.
    """

    run_inline = True

    def __init__(self) -> None:
        super().__init__()
        self._run: UUID | None = None
        """The request; those that a model of the host sends to answer it are others."""
        self._chunks: list[AIMessageChunk] = []

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - part of LangChain's signature
        messages: list[list[BaseMessage]],  # noqa: ARG002 - likewise
        *,
        run_id: UUID,
        **_: Any,
    ) -> None:
        """Note which request it is."""
        self._run = self._run or run_id

    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],  # noqa: ARG002 - likewise
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID,
        **_: Any,
    ) -> None:
        """Keep a piece of a call."""
        message = chunk.message if isinstance(chunk, ChatGenerationChunk) and run_id == self._run else None
        if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
            self._chunks.append(message)

    def pieces(self) -> Sequence[ToolCallChunk]:
        """Return one piece for each call."""
        if not self._chunks:
            return ()
        first, *others = self._chunks
        return (first + others).tool_call_chunks
