"""Our checkpointers do what LangGraph expects of any checkpointer, and claim nothing beyond it."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from moa_graph.runs.stores import open_store
from tests.runs.conformance import check

OPTIONAL = {"delete_for_runs", "copy_thread", "prune"}


@pytest.fixture(params=[None, "STORE_KEY"], ids=["plain", "encrypted"])
def key_env(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    monkeypatch.setenv("STORE_KEY", "k" * 32)
    return request.param


async def test_sqlite_passes_the_conformance_suite(tmp_path: Path, key_env: str | None) -> None:
    number = count()
    report = await check(lambda: open_store(f"sqlite:///{tmp_path}/{next(number)}.db", key_env=key_env))
    assert {name for name, result in report.results.items() if not result.detected} == OPTIONAL


async def test_memory_passes_the_conformance_suite(key_env: str | None) -> None:
    report = await check(lambda: open_store("memory:", key_env=key_env))
    assert {name for name, result in report.results.items() if not result.detected} == OPTIONAL
