"""langgraph.json offers every spec of the repository, and nothing else."""

from __future__ import annotations

import json
import runpy

import pytest

from moa_graph.compiled import CompiledMoA
from tests.studio.conftest import ROOT

SPECS = sorted(file.stem for file in (ROOT / "graphs").glob("*.yaml"))
GRAPHS = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))["graphs"]


def test_there_is_one_graph_for_each_spec_over_one_factory() -> None:
    assert {name: f"./graphs/studio.py:{name}" for name in SPECS} == GRAPHS


def test_every_spec_opens_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    opened = runpy.run_path(str(ROOT / "graphs" / "studio.py"))
    assert {name: type(opened[name]) for name in SPECS} == dict.fromkeys(SPECS, CompiledMoA)
    assert [opened[name].name for name in SPECS] == SPECS
