"""examples/opentelemetry_tracing.py as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = "examples/opentelemetry_tracing.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_it_prints_the_span_tree() -> None:
    pytest.importorskip("openinference.instrumentation.langchain", reason="needs the extra [otel]")
    done = run("-W", "error", EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("    ")] == [
        "quickstart",
        "  draft",
        "  refine",
        "  aggregator",
    ]
    calls = [line for line in lines if line.startswith("    ") and not line.startswith("      ")]
    members = ["bm25", "textrank", "tfidf"]
    assert sorted(calls[:3]) == [f"    draft/{name}" for name in members]
    assert sorted(calls[3:6]) == [f"    refine/{name}" for name in members]
    assert calls[6:] == ["    aggregator/answer"]
    models = [line.split() for line in lines if line.startswith("      ")]
    assert [name for name, *_ in models] == [call.strip() for call in calls[:6]] + ["aggregator/editor"]
    assert {(model, unit) for _, model, _, unit in models} == {("extractive,", "tokens")}


def test_it_says_what_to_install() -> None:
    without = "import sys, runpy; sys.modules['openinference'] = None; runpy.run_path(sys.argv[1])"
    done = run("-c", without, EXAMPLE)
    assert done.returncode == 1
    assert "pip install 'moa-graph[otel]'" in done.stderr
