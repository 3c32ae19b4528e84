"""Fixtures of the command line's tests: a runner, and spec files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from moa_graph.cli.main import app
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.specs import spec_document

Moa = Callable[..., Result]
SpecFile = Callable[..., str]


@pytest.fixture
def moa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Moa:
    """Run a command in this process, in the test's own directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, prog_name="moa", catch_exceptions=False)

    return run


@pytest.fixture
def served(server: FakeOpenAI, tmp_path: Path) -> SpecFile:
    """Write a spec whose models are behaviours of the fake server; return its file's name."""

    def write(layers: list[Any], aggregator: Any, *, name: str = "spec.yaml", **options: Any) -> str:
        options = {"slot": {"price": {"input": 1.0, "output": 2.0}}, "defaults": {"attempts": 1}} | options
        document = spec_document(server.base_url, layers, aggregator, **options)
        (tmp_path / name).write_text(json.dumps(document))
        return name

    return write


@pytest.fixture
def replayed(tmp_path: Path) -> Callable[[str], str]:
    """Write a spec of one proposer and an aggregator that always say the same; return its file's name."""

    def write(text: str) -> str:
        record = {"question": "Why?", "text": text}
        (tmp_path / "answers.jsonl").write_text(json.dumps(record) + "\n")
        document = {
            "moa": 1,
            "name": "replayed",
            "models": {"told": {"model": f"replay:{tmp_path / 'answers.jsonl'}"}},
            "layers": [{"proposers": ["told"]}],
            "aggregator": {"model": "told"},
        }
        (tmp_path / "replayed.yaml").write_text(json.dumps(document))
        return "replayed.yaml"

    return write
