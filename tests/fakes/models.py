"""In-process LangChain chat models with scripted replies, which record the exact messages they receive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field, PrivateAttr

__all__ = ["ScriptedChatModel", "Step"]

Step = str | AIMessage | BaseException | Callable[[Sequence[BaseMessage]], str]


class ScriptedChatModel(BaseChatModel):
    """Reply as a script says; the last step repeats for ever.

    A step is a text, a message, an error to raise, or a function of the messages. `wait` is awaited before
    every reply (an event a test sets, say); `calls` holds the messages of each call. It streams by words.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    script: list[Any] = Field(default_factory=lambda: ["A scripted reply."])
    wait: Callable[[], Any] | None = None
    model_name: str = "scripted"
    _calls: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _cancelled: int = PrivateAttr(default=0)

    def __init__(self, *script: Step, **options: Any) -> None:
        super().__init__(**({"script": list(script)} if script else {}), **options)

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """Return the messages of each call so far."""
        return self._calls

    @property
    def cancelled(self) -> int:
        """Return how many calls were cancelled while they waited."""
        return self._cancelled

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _reply(self, messages: list[BaseMessage]) -> AIMessage:
        step = self.script[min(len(self._calls), len(self.script) - 1)]
        self._calls.append(list(messages))
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, AIMessage):
            return step
        text = step if isinstance(step, str) else step(messages)
        size = {"input_tokens": len(messages), "output_tokens": len(text.split())}
        return AIMessage(
            text,
            usage_metadata={**size, "total_tokens": sum(size.values())},
            response_metadata={"finish_reason": "stop", "model_name": self.model_name},
        )

    async def _wait(self) -> None:
        try:
            if self.wait is not None:
                await self.wait()
        except asyncio.CancelledError:
            self._cancelled += 1
            raise

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        await self._wait()
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from _chunks(self._reply(messages))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        await self._wait()
        for chunk in _chunks(self._reply(messages)):
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _chunks(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    words = message.text.split(" ")
    for index, word in enumerate(words):
        yield ChatGenerationChunk(message=AIMessageChunk(content=word if index == 0 else f" {word}"))
    last = AIMessageChunk(
        content="",
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
        chunk_position="last",
    )
    yield ChatGenerationChunk(message=last)
