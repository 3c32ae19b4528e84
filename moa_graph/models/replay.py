"""`replay:FILE`: a chat model that gives recorded answers again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables.config import RunnableConfig, ensure_config
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from moa_graph.errors import ModelNotReady
from moa_graph.models.embedded import answer_message, stream_words
from moa_graph.models.failures import ProviderError
from moa_graph.passages import split_passages
from moa_graph.prompts import split_references

__all__ = ["Record", "RecordedUsage", "ReplayChatModel", "call_id", "hash_of", "question_of"]


class RecordedUsage(BaseModel):
    """Count the tokens of a recorded call."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)


class Record(BaseModel):
    """Hold one line of a replay file, a JSON object.

    `hash` is the SHA-256 of the messages (`hash_of`); a file written by hand may leave out everything
    but `question` (the text of the last human message) and `text`. `model` is the `provider:model`
    that answered, `id` "layer/proposer" of the call.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = 1
    model: str | None = None
    id: str | None = None
    hash: str | None = None
    question: str | None = None
    text: str
    reasoning: str = ""
    usage: RecordedUsage | None = None
    finish_reason: str = "stop"


def hash_of(messages: Sequence[BaseMessage]) -> str:
    """Return the SHA-256 of what a model sees of messages: type, content, tool calls, references, passages.

    Message ids, metadata and the random marks round references and passages do not count.
    """
    conversation, passages = split_passages(messages)
    conversation, references = split_references(conversation)
    seen: list[dict[str, Any]] = [{"references": references}]
    if passages:  # only then: what was recorded without them keeps its hash
        seen.append({"passages": passages})
    for message in conversation:
        entry: dict[str, Any] = {"type": message.type, "content": message.content}
        for name in ("tool_calls", "tool_call_id"):
            if value := getattr(message, name, None):
                entry[name] = value
        seen.append(entry)
    canonical = json.dumps(seen, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def question_of(messages: Sequence[BaseMessage]) -> str:
    """Return the text of the last human message, without passages and references."""
    conversation, _ = split_references(split_passages(messages)[0])
    return next((str(each.text) for each in reversed(conversation) if each.type == "human"), "").strip()


def call_id(metadata: Mapping[str, Any] | None) -> str | None:
    """Return "layer/proposer" of a call from its run's metadata; None outside a Mixture-of-Agents."""
    metadata = metadata or {}
    layer, proposer = metadata.get("moa_layer"), metadata.get("moa_proposer")
    return f"{layer}/{proposer}" if layer and proposer else None


class ReplayChatModel(BaseChatModel):
    """Answer from a file of records (JSONL, see `Record`): by the messages' hash, else by the question.

    Several records may fit: the one with the call's own id comes before others, then the first in the
    file decides, never the order of calls. `model` restricts the choice to the records of one
    `provider:model`. Raises ProviderError (404) where nothing fits.
    """

    model_config = ConfigDict(extra="forbid")

    file: str
    model: str | None = None
    _by_hash: dict[str, list[Record]] = PrivateAttr(default_factory=dict)
    _by_question: dict[str, list[Record]] = PrivateAttr(default_factory=dict)

    @classmethod
    def from_file(cls, file: str, **params: Any) -> ReplayChatModel:
        """Read a file, relative to the current directory; raise ModelNotReady with file:line on a fault."""
        replay = cls(file=file, **params)
        for record in _read(Path(file)):
            if replay.model not in {None, record.model}:
                continue
            if record.hash is not None:
                replay._by_hash.setdefault(record.hash, []).append(record)
            if record.question is not None:
                replay._by_question.setdefault(record.question.strip(), []).append(record)
        return replay

    @property
    def _llm_type(self) -> str:
        return "replay"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": f"replay:{self.file}", "records_of": self.model}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return {
            **super()._get_ls_params(stop=stop, **kwargs),
            "ls_provider": "replay",
            "ls_model_name": self.model or self.file,
        }

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's signature, here and below
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer; the call's own id comes from the metadata of `config`."""
        return super().invoke(input, config, **_with_id(config, kwargs))

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - see above
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer; the call's own id comes from the metadata of `config`."""
        return await super().ainvoke(input, config, **_with_id(config, kwargs))

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002 - see above
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Answer word by word; the call's own id comes from the metadata of `config`."""
        yield from super().stream(input, config, **_with_id(config, kwargs))

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - see above
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Answer word by word; the call's own id comes from the metadata of `config`."""
        async for chunk in super().astream(input, config, **_with_id(config, kwargs)):
            yield chunk

    def _generate(
        self, messages: list[BaseMessage], *_: Any, own_id: str | None = None, **__: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._respond(messages, own_id))])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages, **kwargs)  # takes no time worth a thread

    def _stream(
        self, messages: list[BaseMessage], *_: Any, own_id: str | None = None, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        yield from stream_words(self._respond(messages, own_id))

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, **kwargs):
            yield chunk

    def _respond(self, messages: Sequence[BaseMessage], own_id: str | None) -> AIMessage:
        record = self._find(messages, own_id)
        usage = None
        if record.usage is not None:
            read, written = record.usage.input_tokens, record.usage.output_tokens
            usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
        message = answer_message(
            record.text,
            messages,
            provider="replay",
            model=record.model or f"replay:{self.file}",
            usage=usage,
            finish_reason=record.finish_reason,
        )
        if record.reasoning:
            message.additional_kwargs["reasoning_content"] = record.reasoning
        return message

    def _find(self, messages: Sequence[BaseMessage], own_id: str | None) -> Record:
        digest, question = hash_of(messages), question_of(messages)
        found = self._by_hash.get(digest) or self._by_question.get(question)
        if not found:
            shown = question if len(question) <= 80 else question[:79] + "…"
            raise ProviderError(
                f"{self.file} has no answer to the question {shown!r} (messages' hash {digest[:16]}…)"
                + (f" by {self.model}" if self.model else ""),
                code="not_found",
                status_code=404,
            )
        return next((record for record in found if record.id == own_id), found[0])


def _with_id(config: RunnableConfig | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add the call's own id: LangChain does not tell a model that streams what its call's metadata are."""
    return {"own_id": call_id(ensure_config(config).get("metadata")), **kwargs}


def _read(path: Path) -> Iterator[Record]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ModelNotReady(
            f"the replay file {path} cannot be read: {reason}; record one, or mend its path."
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield Record.model_validate_json(line)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise ModelNotReady(f"{path}:{number}: {place + ': ' if place else ''}{fault['msg']}.") from error
