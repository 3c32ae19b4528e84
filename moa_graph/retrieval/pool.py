"""The retrievers of a spec: made once, checked before the first call, asked by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from moa_graph.errors import ModelNotReady
from moa_graph.passages import Passage, cap, new_passage
from moa_graph.readiness import Readiness
from moa_graph.retrieval.bm25 import build_bm25
from moa_graph.spec.schema import MoASpec
from moa_graph.spec.slots import RetrieverSpec
from moa_graph.text import clean

__all__ = ["RetrievalError", "RetrieverPool"]

_LONGEST_REASON = 500


class RetrievalError(Exception):
    """Report a retrieval that failed: `retriever` is its name in the spec, `reason` one sentence."""

    def __init__(self, retriever: str, reason: str) -> None:
        super().__init__(f"retriever {retriever}: {reason}")
        self.retriever = retriever
        self.reason = reason


class RetrieverPool(Readiness):
    """Hold the retrievers of a spec; nothing is imported or read before it is needed.

    `registered` are objects of the host program: one under the name of a retriever of the spec replaces
    it, and `host:NAME` stands for the one under NAME. The pool is thread-safe.
    """

    def __init__(self, spec: MoASpec, registered: Mapping[str, BaseRetriever] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self._registered = dict(registered or {})
        self._loaded = not spec.retrievers
        self._retrievers: dict[str, BaseRetriever] = {}

    def problems(self) -> list[str]:
        """Return what is missing before a run can start, each as a sentence that says how to mend it."""
        return [
            f"retrievers.{name} ({spec.retriever}): {problem}"
            for name, spec in self.spec.retrievers.items()
            for problem in self._problems_of(name)
        ]

    async def retrieve(self, name: str, query: str, config: RunnableConfig | None = None) -> list[Passage]:
        """Return the passages that a retriever finds: at most `k`, each once, within `max_chars`.

        Raises ModelNotReady if the pool cannot be loaded, and RetrievalError for whatever the retriever
        raises and when its time is up.
        """
        await self.ready()  # reading files takes a while: other calls go on meanwhile
        spec, retriever = self.spec.retrievers[name], self._retrievers[name]
        try:
            async with asyncio.timeout(spec.timeout) as clock:
                documents = await retriever.ainvoke(query, config)
            return _passages(name, spec, documents)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise RetrievalError(name, "it cancelled its own call.") from error
        except GraphBubbleUp:  # an interrupt inside a retriever of the host: LangGraph's business
            raise
        except Exception as error:
            if clock.expired():
                raise RetrievalError(name, f"no result within {spec.timeout:g} s.") from error
            raise RetrievalError(name, _reason(error)) from error

    def _problems_of(self, name: str) -> Iterator[str]:
        try:
            self._build(name)
        except ModelNotReady as problem:
            yield from problem.message.splitlines()

    def _build(self, name: str) -> None:
        with self._lock:
            if name in self._retrievers:
                return
            spec = self.spec.retrievers[name]
            host = self._registered.get(name)
            if host is None and spec.retriever.startswith("host:"):
                host = self._named(spec.retriever.removeprefix("host:"))
            self._retrievers[name] = build_bm25(spec) if host is None else host

    def _named(self, name: str) -> BaseRetriever:
        if name not in self._registered:
            raise ModelNotReady(
                f"no retriever is registered under the name {name!r}; "
                f"register one with build_graph(spec, retrievers={{{name!r}: …}})."
            )
        return self._registered[name]


def _passages(name: str, spec: RetrieverSpec, documents: Sequence[Document]) -> list[Passage]:
    found = [new_passage(name, _source(name, each.metadata), each.page_content) for each in documents]
    once: dict[str, Passage] = {}
    for passage in found:
        if passage["text"]:
            once.setdefault(passage["id"], passage)
    return cap(list(once.values())[: spec.k], spec.max_chars)


def _source(name: str, metadata: Mapping[str, Any]) -> str:
    """Say where a document is from, by what loaders and vector stores put into its metadata."""
    source = next((str(metadata[key]) for key in ("source", "title", "url", "id") if metadata.get(key)), name)
    label, number = metadata.get("page_label"), metadata.get("page")
    page = number if label is None else label
    return source if page is None else f"{source}, page {page}"


def _reason(error: Exception) -> str:
    text = " ".join(clean(str(error))[0].split())
    reason = f"{type(error).__name__}: {text}" if text else f"it raised {type(error).__name__}."
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"
