"""`embedded:extractive`: a chat model without weights that answers with given sentences. Not an LLM."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    UsageMetadata,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field

from moa_graph.models.ranking import RANKERS, RankerName, choose
from moa_graph.models.sentences import Sentence, paragraphs, split_sentences, terms
from moa_graph.passages import split_passages
from moa_graph.prompts import split_references
from moa_graph.usage import estimate_tokens

__all__ = ["NOTHING_FOUND", "ExtractiveChatModel", "answer_message", "stream_words"]

NOTHING_FOUND = "Nothing in the conversation answers this."
_CONTEXT_WEIGHT = 0.3
"""A heading tells what its sentences are about, but less surely than their own words."""
_SUPPORT_WEIGHT = 0.25
"""How much a sentence gains from each reference that repeats it."""


class _Source(NamedTuple):
    text: str
    bag: dict[str, float]
    support: int


class ExtractiveChatModel(BaseChatModel):
    """Answer with the sentences of conversation, passages and references that fit the question best.

    This is not an LLM: it has no weights, makes no requests, writes no word of its own, and gives the
    same answer to the same messages. The question is the last paragraph of the last human message (or
    its questions, if the paragraph also states something); everything else but system messages, which
    instruct, is material. Sentences that several references repeat count more. The chosen ones come in
    the order in which they stand in the conversation; where nothing fits, the answer says so.

    `ranker` scores ("bm25", "tfidf" or "textrank"), `sentences` is the most that an answer has,
    `diversity` from 0 to 1 trades relevance for variety. `max_tokens` leaves out whole sentences;
    `temperature` is accepted and has no effect.
    """

    model_config = ConfigDict(extra="forbid")

    ranker: RankerName = "bm25"
    sentences: int = Field(default=3, ge=1, le=100)
    diversity: float = Field(default=0.3, ge=0, le=1)
    temperature: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)

    @property
    def _llm_type(self) -> str:
        return "embedded-extractive"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = ("ranker", "sentences", "diversity", "max_tokens")
        return {"model": "embedded:extractive", **{name: getattr(self, name) for name in names}}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return {
            **super()._get_ls_params(stop=stop, **kwargs),
            "ls_provider": "embedded",
            "ls_model_name": "extractive",
        }

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - part of LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - likewise
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._respond(messages, **kwargs))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - part of LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - likewise
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from stream_words(self._respond(messages, **kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - part of LangChain's signature
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - likewise
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        # Ranking a long document takes a while: other calls go on meanwhile.
        message = await asyncio.to_thread(self._respond, messages, **kwargs)
        for chunk in stream_words(message):
            yield chunk

    def _respond(self, messages: Sequence[BaseMessage], **kwargs: Any) -> AIMessage:
        text = self._answer(messages, kwargs.get("max_tokens") or self.max_tokens)
        return answer_message(text, messages, provider="embedded", model="embedded:extractive")

    def _answer(self, messages: Sequence[BaseMessage], max_tokens: int | None) -> str:
        # Passages first: a document may quote the protocol by which references are found.
        conversation, passages = split_passages(messages)
        conversation, references = split_references(conversation)
        question, material = _question_and_material(conversation)
        material = [*(passage["text"] for passage in passages), *material]
        sources = _sources(question, material, references)
        bags = [source.bag for source in sources]
        if not bags:
            return NOTHING_FOUND
        asked = dict.fromkeys(terms(question), 1.0)
        scores = [
            score * (1 + _SUPPORT_WEIGHT * source.support)
            for score, source in zip(RANKERS[self.ranker](bags, asked), sources, strict=True)
        ]
        best = choose(bags, scores, count=self.sentences, diversity=self.diversity)
        chosen = _within([sources[index].text for index in best], best, max_tokens)
        return _join([sources[index].text for index in sorted(chosen)]) or NOTHING_FOUND


def answer_message(
    text: str,
    messages: Iterable[BaseMessage],
    *,
    provider: str,
    model: str,
    usage: UsageMetadata | None = None,
    **metadata: Any,
) -> AIMessage:
    """Wrap a finished text as a chat completion; tokens are estimated unless `usage` is given."""
    if usage is None:
        read = sum(estimate_tokens(str(message.text)) for message in messages)
        written = estimate_tokens(text)
        usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
    response_metadata = {"finish_reason": "stop", "model_name": model, "model_provider": provider, **metadata}
    return AIMessage(text, usage_metadata=usage, response_metadata=response_metadata)


def stream_words(message: AIMessage) -> Iterator[ChatGenerationChunk]:
    """Yield a message word by word; everything but the text comes with the last chunk."""
    words = re.findall(r"\s*\S+\s*?(?=\s|\Z)|\s+\Z", str(message.text)) or [""]
    for word in words[:-1]:
        yield ChatGenerationChunk(message=AIMessageChunk(content=word))
    last = AIMessageChunk(
        content=words[-1],
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
        chunk_position="last",
    )
    yield ChatGenerationChunk(message=last)


def _text(message: BaseMessage) -> str:
    """Return the text of a message, the text blocks of a content list as paragraphs of their own."""
    if isinstance(message.content, str):
        return message.content
    parts = [part if isinstance(part, str) else str(part.get("text") or "") for part in message.content]
    return "\n\n".join(parts)


def _question_and_material(conversation: Sequence[BaseMessage]) -> tuple[str, list[str]]:
    """Return the question and the texts that may answer it, in order."""
    turns = [message for message in conversation if not isinstance(message, SystemMessage)]
    turns = [message for message in turns if _text(message).strip()]
    asking = [index for index, message in enumerate(turns) if isinstance(message, HumanMessage)]
    if not asking:
        return "", [_text(message) for message in turns]
    *before, last = paragraphs(_text(turns[asking[-1]]))
    questions = [sentence.text for sentence in split_sentences(last) if sentence.asks]
    material = [_text(message) for message in turns[: asking[-1]]]
    material.append("\n\n".join(before))
    if questions:
        material.append(last)  # its statements; questions are never material
    material += [_text(message) for message in turns[asking[-1] + 1 :]]
    return " ".join(questions) or last, material


def _sources(question: str, material: Iterable[str], references: Iterable[str]) -> list[_Source]:
    """Return every sentence once, in order of appearance, with the number of references that have it."""
    asked = {_key(sentence.text) for sentence in split_sentences(question)} | {_key(question)}
    first: dict[str, Sentence] = {}
    support: Counter[str] = Counter()
    for text in material:
        for sentence in split_sentences(text):
            first.setdefault(_key(sentence.text), sentence)
    for text in references:
        found = {_key(sentence.text): sentence for sentence in split_sentences(text)}
        support.update(found.keys())
        for key, sentence in found.items():
            first.setdefault(key, sentence)
    unfit = asked | {_key(NOTHING_FOUND), ""}
    return [
        _Source(sentence.text, _bag(sentence), support[key])
        for key, sentence in first.items()
        if key not in unfit and not sentence.asks
    ]


def _key(text: str) -> str:
    return " ".join(text.split()).casefold().rstrip(".!…。 ")


def _bag(sentence: Sentence) -> dict[str, float]:
    bag: Counter[str] = Counter(terms(sentence.text))
    weights: dict[str, float] = dict(bag)
    for term in set(terms(sentence.context)):
        weights[term] = weights.get(term, 0.0) + _CONTEXT_WEIGHT
    return weights


def _within(texts: Sequence[str], indices: Sequence[int], max_tokens: int | None) -> list[int]:
    """Return the indices whose texts fit into `max_tokens` together; the best one always stays."""
    if max_tokens is None:
        return list(indices)
    kept, used = list(indices[:1]), sum(map(estimate_tokens, texts[:1]))
    for index, text in zip(indices[1:], texts[1:], strict=True):
        size = estimate_tokens(text) + 1
        if used + size <= max_tokens:
            kept.append(index)
            used += size
    return kept


def _join(texts: Sequence[str]) -> str:
    """Join sentences to a text from which the next model reads the same sentences again."""
    answer = "".join(texts[:1])
    for previous, text in pairwise(texts):
        apart = [sentence.text for sentence in split_sentences(f"{previous} {text}")] == [previous, text]
        answer += f" {text}" if apart else f"\n\n{text}"
    return answer
