"""A pool makes the retrievers of a spec, names all that is missing at once, and bounds what they give."""

from __future__ import annotations

import asyncio
import builtins
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langgraph.errors import GraphInterrupt

from moa_graph.errors import ModelNotReady
from moa_graph.passages import Passage
from moa_graph.retrieval import RetrievalError, RetrieverPool, pool
from moa_graph.spec.slots import RetrieverSpec
from tests.retrieval.documents import FILES, retriever, spec


class Fixed(BaseRetriever):
    """Give these documents, or raise this error."""

    documents: Any = ()
    error: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return list(self.documents)

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if self.error is not None:
            raise self.error
        return list(self.documents)


class Hanging(BaseRetriever):
    """Never give anything; `asked` tells that it was called."""

    asked: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        raise AssertionError

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if self.asked is not None:
            self.asked.set()
        await asyncio.Event().wait()
        return []


def host(name: str = "wiki", **values: Any) -> RetrieverSpec:
    return RetrieverSpec(retriever=f"host:{name}", **values)


async def ask(registered: BaseRetriever, **values: Any) -> list[Passage]:
    return await RetrieverPool(spec(r=host(**values)), {"wiki": registered}).retrieve("r", "honey")


def texts(passages: list[Passage]) -> list[str]:
    return [passage["text"] for passage in passages]


# -- getting ready -----------------------------------------------------------------------------------------


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    retrievers = RetrieverPool(
        spec(docs=retriever(tmp_path / "*.md", tmp_path / "empty.txt"), wiki=host(), mine=host("ok")),
        {"ok": Fixed()},
    )
    with pytest.raises(ModelNotReady) as missing:
        retrievers.load()
    assert missing.value.message.splitlines() == [
        f"retrievers.docs (bm25): no file matches '{tmp_path}/*.md' in {Path.cwd()}.",
        f"retrievers.docs (bm25): {tmp_path}/empty.txt has no text; leave it out of `files`.",
        (
            "retrievers.wiki (host:wiki): no retriever is registered under the name 'wiki'; "
            "register one with build_graph(spec, retrievers={'wiki': …})."
        ),
    ]
    assert missing.value.hint == "Nothing was called."
    assert not retrievers.loaded


def test_a_registered_retriever_replaces_one_of_the_spec() -> None:
    assert RetrieverPool(spec(docs=retriever("absent.md")), {"docs": Fixed()}).problems() == []


def test_without_retrievers_there_is_nothing_to_load() -> None:
    assert RetrieverPool(spec()).loaded


async def test_what_is_missing_is_said_before_a_retrieval() -> None:
    with pytest.raises(ModelNotReady, match="no retriever is registered"):
        await RetrieverPool(spec(r=host())).retrieve("r", "honey")


def test_each_retriever_is_made_once_for_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    barrier = threading.Barrier(8)

    def build(which: RetrieverSpec) -> BaseRetriever:
        made.append(which)
        return Fixed()

    monkeypatch.setattr(pool, "build_bm25", build)
    retrievers = RetrieverPool(spec(a=retriever("a.md"), b=retriever("b.md")))

    def load(_: int) -> None:
        barrier.wait()
        retrievers.load()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(load, range(8)))
    assert [which.files for which in made] == [["a.md"], ["b.md"]]
    assert retrievers.loaded


def test_what_is_ready_is_kept_while_something_else_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(pool, "build_bm25", lambda which: made.append(which) or Fixed())
    retrievers = RetrieverPool(spec(docs=retriever("a.md"), wiki=host()))
    assert retrievers.problems() == retrievers.problems() != []
    assert len(made) == 1


def test_a_missing_package_is_named_beside_what_else_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module == "bs4":
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in ("a.html", "b.html", "empty.txt"):
        (tmp_path / name).touch()
    missing, empty = RetrieverPool(spec(docs=retriever(tmp_path / "*"))).problems()
    assert "the package bs4 is missing; install it with pip install 'moa-graph[retrieval]'." in missing
    assert "empty.txt has no text" in empty


# -- retrieving --------------------------------------------------------------------------------------------


async def test_local_files_give_passages_with_their_source() -> None:
    retrievers = RetrieverPool(spec(handbook=retriever(FILES / "bees.md", chunk_chars=100)))
    first, *_ = await retrievers.retrieve("handbook", "At what heat does beeswax melt?")
    assert first["source"] == (FILES / "bees.md").as_posix()
    assert first["retriever"] == "handbook"
    assert first["id"].startswith("handbook-")
    assert "63 degrees" in first["text"]
    assert await retrievers.retrieve("handbook", "Who discovered penicillin?") == []


async def test_passages_are_cleaned_counted_once_and_bounded() -> None:
    documents = [Document(text) for text in ("one\x00", " ", "two", "two", "three", "four")]
    assert texts(await ask(Fixed(documents=documents), k=3)) == ["one\ufffd", "two", "three"]


async def test_all_passages_together_stay_within_their_characters() -> None:
    documents = [Document("x" * 60), Document("y" * 60)]
    assert texts(await ask(Fixed(documents=documents), max_chars=100)) == ["x" * 60]
    assert texts(await ask(Fixed(documents=[Document("word " * 60)]), max_chars=100)) == [
        " ".join(["word"] * 20) + "…"
    ]


@pytest.mark.parametrize(
    ("metadata", "source"),
    [
        ({"source": "a.pdf", "page": 3}, "a.pdf, page 3"),
        ({"source": "a.pdf", "page": 0, "page_label": "iv"}, "a.pdf, page iv"),
        ({"source": "a.pdf", "page": 0, "page_label": None}, "a.pdf, page 0"),
        ({"title": "Bees", "url": "https://bees.example"}, "Bees"),
        ({"source": "", "url": "https://bees.example"}, "https://bees.example"),
        ({"id": 7}, "7"),
        ({}, "r"),
    ],
)
async def test_the_source_is_what_the_metadata_say(metadata: dict[str, Any], source: str) -> None:
    (passage,) = await ask(Fixed(documents=[Document("Honey keeps.", metadata=metadata)]))
    assert passage["source"] == source


async def test_a_tracer_sees_the_retrieval_with_the_metadata_of_the_call() -> None:
    seen = []

    class Watch(AsyncCallbackHandler):
        async def on_retriever_start(self, serialized: Any, query: str, **rest: Any) -> None:
            seen.append((query, rest["metadata"]["moa_layer"]))

    retrievers = RetrieverPool(spec(r=host()), {"wiki": Fixed()})
    await retrievers.retrieve("r", "honey", {"callbacks": [Watch()], "metadata": {"moa_layer": "draft"}})
    assert seen == [("honey", "draft")]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("the index\nis \x00 gone"), "ValueError: the index is \ufffd gone"),
        (TimeoutError(), "it raised TimeoutError."),
        (asyncio.CancelledError(), "it cancelled its own call."),
    ],
)
async def test_whatever_a_retriever_raises_is_one_error(error: BaseException, reason: str) -> None:
    with pytest.raises(RetrievalError) as failed:
        await ask(Fixed(error=error))
    assert (failed.value.retriever, failed.value.reason) == ("r", reason)
    assert str(failed.value) == f"retriever r: {reason}"


async def test_a_long_reason_is_cut() -> None:
    with pytest.raises(RetrievalError) as failed:
        await ask(Fixed(error=ValueError("x" * 1_000)))
    assert len(failed.value.reason) == 500
    assert failed.value.reason.endswith("…")


async def test_what_is_no_document_is_an_error_and_not_a_passage() -> None:
    with pytest.raises(RetrievalError, match="AttributeError"):
        await ask(Fixed(documents=["text"]))


async def test_a_retriever_that_hangs_is_stopped_at_its_time() -> None:
    with pytest.raises(RetrievalError, match=r"no result within 0\.01 s\."):
        await ask(Hanging(), timeout=0.01)


async def test_an_interrupt_inside_a_retriever_is_left_to_langgraph() -> None:
    with pytest.raises(GraphInterrupt):
        await ask(Fixed(error=GraphInterrupt()))


async def test_a_cancelled_retrieval_is_cancelled() -> None:
    asked = asyncio.Event()
    task = asyncio.create_task(ask(Hanging(asked=asked)))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
