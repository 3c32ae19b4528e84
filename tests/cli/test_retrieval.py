"""What the command line shows of retrieval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moa_graph.cli.lines import describe
from moa_graph.cli.live import LiveTable
from moa_graph.cli.progress import Progress
from tests.cli.conftest import Moa

SPEC = """
moa: 1
name: bees
models:
  reader: {model: embedded:extractive, params: {sentences: 1}}
retrievers:
  bees: {retriever: bm25, files: [bees.md]}
  wasps: {retriever: bm25, files: [wasps.md]}
retrieve: bees
layers:
  - {name: draft, proposers: [{model: reader, retrieve: wasps}]}
aggregator: {model: reader}
"""
FINISHED: Any = {
    "type": "retrieval.finished",
    "id": "retrieve",
    "retriever": "bees",
    "passages": 1,
    "seconds": 0.2,
}
FAILED: Any = {
    "type": "retrieval.failed",
    "id": "draft/a",
    "retriever": "bees",
    "reason": "OSError: \x1b[2Jdown",
    "seconds": 0.2,
}


@pytest.fixture
def bees(tmp_path: Path) -> str:
    """Write a spec and its documents; return its file's name."""
    pytest.importorskip("langchain_community", reason="needs the extra [retrieval]")
    (tmp_path / "bees.md").write_text("Bees make honey from nectar.\n", encoding="utf-8")
    (tmp_path / "wasps.md").write_text("Wasps make no honey but paper.\n", encoding="utf-8")
    (tmp_path / "bees.yaml").write_text(SPEC, encoding="utf-8")
    return "bees.yaml"


def test_retrieval_is_a_line() -> None:
    assert describe(FINISHED) == "retrieve: 1 passage from bees in 0.2 s"
    assert describe({**FINISHED, "passages": 3}) == "retrieve: 3 passages from bees in 0.2 s"
    assert describe(FAILED).startswith("draft/a: bees failed: OSError: ")
    assert "\x1b" not in describe(FAILED)


def test_retrieval_is_a_line_beside_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = LiveTable(Progress())
    table.event(FINISHED)
    table.close()
    assert "retrieve: 1 passage from bees in 0.2 s" in capsys.readouterr().err


def test_a_run_tells_of_retrieval_and_of_its_sources(moa: Moa, bees: str) -> None:
    result = moa("run", bees, "Who makes honey?")
    assert "retrieve: 1 passage from bees" in result.stderr
    assert "draft/reader: 1 passage from wasps" in result.stderr
    assert result.stdout == "Bees make honey from nectar.\n"
    record = json.loads(moa("run", bees, "Who makes honey?", "--json").stdout)
    assert [(source["retriever"], source["source"]) for source in record["sources"]] == [
        ("bees", "bees.md"),
        ("wasps", "wasps.md"),
    ]


def test_passages_are_shown_before_the_proposals(moa: Moa, bees: str) -> None:
    moa("run", bees, "Who makes honey?", "--thread", "t", "--breakpoint", "draft")
    shown = moa("show", "t").stdout
    assert shown.startswith("t: interrupted\nquestion: Who makes honey?\n\n── passage bees-")
    assert shown.endswith(" (bees.md)\nBees make honey from nectar.\n\n")
    assert "retrieve" in moa("history", "t").stdout
    moa("step", "t")
    after = moa("show", "t").stdout
    assert "── draft/reader (embedded:extractive)\n[passages of its own: wasps-" in after
    assert "<passage-" in moa("show", "t", "--prompt", "draft/reader").stdout


def test_a_run_that_cannot_retrieve_ends_with_its_reason(moa: Moa, bees: str) -> None:
    Path("bees.md").unlink()
    result = moa("run", bees, "Who makes honey?")
    assert result.exit_code == 2
    assert "no file matches 'bees.md'" in result.stderr
