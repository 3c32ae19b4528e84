"""Retrieval on behalf of one place in the graph: what is asked, what is reported, what a failure means."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables.config import RunnableConfig, merge_configs

from moa_graph.passages import Passage, ShownSource, citations, split_passages
from moa_graph.prompts import split_references
from moa_graph.proposers import Request
from moa_graph.proposers.outcomes import failure
from moa_graph.proposers.tracing import ending_traces
from moa_graph.retrieval.pool import RetrievalError, RetrieverPool
from moa_graph.spec.schema import MoASpec
from moa_graph.state import Failure

__all__ = ["Retrieval", "Retrieved", "query_of", "sort_out"]


class Retrieved(NamedTuple):
    """Hold what several retrievers gave: passages, each once, in the order of the retrievers.

    `failures` are those that the spec cannot do without, `warnings` those that it can; each is a sentence.
    """

    passages: list[Passage]
    failures: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class Retrieval:
    """Ask retrievers for one place in the graph, which events name by `id`."""

    id: str
    retrievers: RetrieverPool
    redact: Callable[[str], str]

    async def ask_all(self, names: Sequence[str], request: Request, config: RunnableConfig) -> Retrieved:
        """Return what several retrievers find for the question."""
        asking = (self.ask(name, request, config) for name in names)
        return sort_out(self.retrievers.spec, names, await asyncio.gather(*asking, return_exceptions=True))

    async def ask(self, name: str, request: Request, config: RunnableConfig) -> list[Passage]:
        """Return what a retriever finds for the question, and report it; raise RetrievalError, redacted."""
        began = time.monotonic()
        try:
            async with ending_traces(merge_configs(config, {"run_name": name})) as traced:
                passages = await self.retrievers.retrieve(name, query_of(request.messages), traced)
        except RetrievalError as error:
            failed = RetrievalError(name, self.redact(error.reason))
            request.emit(
                {
                    "type": "retrieval.failed",
                    "id": self.id,
                    "retriever": name,
                    "reason": failed.reason,
                    "seconds": round(time.monotonic() - began, 4),
                }
            )
            raise failed from error
        request.emit(
            {
                "type": "retrieval.finished",
                "id": self.id,
                "retriever": name,
                "passages": len(passages),
                "seconds": round(time.monotonic() - began, 4),
            }
        )
        return passages


def query_of(messages: Sequence[BaseMessage]) -> str:
    """Return what is searched for: the text of the last human message.

    In a mixture inside another one that message holds what the outer one put into it, which is no question.
    """
    conversation, _ = split_references(split_passages(messages)[0])
    asked = [message for message in conversation if isinstance(message, HumanMessage)]
    return str((asked or conversation or messages)[-1].text)


def sort_out(
    spec: MoASpec, names: Sequence[str], outcomes: Sequence[list[Passage] | BaseException]
) -> Retrieved:
    """Sort what came of asking retrievers; raise what is no failure of retrieval, such as an interrupt."""
    found: dict[str, Passage] = {}
    failures, warnings = list[str](), list[str]()
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, RetrievalError):
            (warnings if spec.retrievers[name].on_error == "continue" else failures).append(str(outcome))
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            for passage in outcome:
                found.setdefault(passage["id"], passage)
    return Retrieved(list(found.values()), failures, warnings)


def judge_citations(
    text: str, shown: Sequence[Passage | ShownSource], retrievers: Collection[str]
) -> Failure | None:
    """Return what is wrong with an answer that has to cite passages, or None."""
    cited, unknown = citations(text, shown, retrievers)
    if unknown:
        return failure("malformed", f"the answer cites passages that do not exist: {', '.join(unknown)}")
    if shown and not cited:
        return failure("malformed", "the answer cites no passage, and citations are required")
    return None
