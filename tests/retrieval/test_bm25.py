"""The built-in retriever finds the passages that share words with a question, and no others."""

from __future__ import annotations

import builtins
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.retrievers import BaseRetriever

from moa_graph.errors import ModelNotReady
from moa_graph.retrieval.bm25 import build_bm25
from tests.retrieval.documents import FILES, pdf, retriever


@pytest.fixture
def handbook(tmp_path: Path) -> BaseRetriever:
    (tmp_path / "hives.pdf").write_bytes(pdf("Hives face south-east.", "Varroa mites are counted in July."))
    names = [FILES / "bees.md", FILES / "notes.txt", FILES / "shop.html", tmp_path / "hives.pdf"]
    return build_bm25(retriever(*names, chunk_chars=100))


@pytest.mark.parametrize(
    ("question", "file", "text"),
    [
        ("At what heat does beeswax melt?", "bees.md", "63 degrees"),
        ("Which office wants lists?", "notes.txt", "veterinary office"),
        ("What do jarfuls of heather cost?", "shop.html", "9 €"),
        ("When should I count mites?", "hives.pdf", "July"),
    ],
)
def test_the_best_passage_comes_first(handbook: BaseRetriever, question: str, file: str, text: str) -> None:
    best = handbook.invoke(question)[0]
    assert best.metadata["source"].endswith(file)
    assert text in best.page_content


@pytest.mark.parametrize("question", ["Who discovered penicillin?", "", "What is this?", "?!"])
def test_a_question_that_shares_no_word_finds_nothing(handbook: BaseRetriever, question: str) -> None:
    assert handbook.invoke(question) == []


def test_a_word_of_every_passage_still_finds_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Honey keeps.")
    assert len(build_bm25(retriever(tmp_path / "a.txt")).invoke("honey")) == 1
    (tmp_path / "b.txt").write_text("Honey and wax.")
    assert len(build_bm25(retriever(tmp_path / "*.txt")).invoke("honey")) == 2


def test_equals_come_in_the_order_of_the_files_and_at_most_k(tmp_path: Path) -> None:
    for name in "edcba":
        (tmp_path / f"{name}.txt").write_text("Honey keeps.")
    found = build_bm25(retriever(tmp_path / "*.txt", k=3)).invoke("Does honey keep?")
    assert [Path(each.metadata["source"]).name for each in found] == ["a.txt", "b.txt", "c.txt"]


def test_a_very_long_question_is_searched_by_its_rarest_words(tmp_path: Path) -> None:
    common = " ".join(f"common{number}" for number in range(200))
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(common + (" zygote" if name == "b" else ""))
    found = build_bm25(retriever(tmp_path / "*.txt", chunk_chars=10_000)).invoke(f"{common} zygote")
    assert Path(found[0].metadata["source"]).name == "b.txt"


def test_without_spaces_between_words_passages_are_found_as_well(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("蜂王每天产卵。", encoding="utf-8")
    (tmp_path / "b.txt").write_text("法国的首都是巴黎。", encoding="utf-8")
    (found,) = build_bm25(retriever(tmp_path / "*.txt")).invoke("法国的首都是哪里?")
    assert found.page_content == "法国的首都是巴黎。"


async def test_it_can_be_awaited(handbook: BaseRetriever) -> None:
    assert await handbook.ainvoke("beeswax") == handbook.invoke("beeswax")


def test_files_without_a_word_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("--- !!! ---")
    with pytest.raises(ModelNotReady, match="no words to search for"):
        build_bm25(retriever(tmp_path / "a.txt"))


@pytest.mark.parametrize("package", ["langchain_community", "rank_bm25", "langchain_text_splitters"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real_import, real_module = builtins.__import__, importlib.import_module

    def without(real: Any) -> Any:
        def load(module: str, *args: Any, **kwargs: Any) -> Any:
            if module.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)
            return real(module, *args, **kwargs)

        return load

    monkeypatch.setattr(builtins, "__import__", without(real_import))
    monkeypatch.setattr(importlib, "import_module", without(real_module))
    with pytest.raises(ModelNotReady, match=r"pip install 'moa-graph\[retrieval\]'") as missing:
        build_bm25(retriever(FILES / "notes.txt"))
    assert package in missing.value.message


def python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_nothing_of_the_extra_is_imported_before_files_are_read() -> None:
    packages = {"langchain_community", "rank_bm25", "bs4", "pypdf", "langchain_text_splitters"}
    loaded = python("import sys, moa_graph.retrieval; print(*sys.modules)").split()
    assert packages.isdisjoint(name.partition(".")[0] for name in loaded)


def test_the_sunset_of_a_package_warns_no_user() -> None:
    files = [str(FILES / "*")]
    script = (
        "from moa_graph.retrieval.bm25 import build_bm25\n"
        "from moa_graph.spec.slots import RetrieverSpec\n"
        f"spec = RetrieverSpec(retriever='bm25', files={files!r})\n"
        "print(len(build_bm25(spec).invoke('honey')) > 0)"
    )
    assert python(script) == "True\n"
