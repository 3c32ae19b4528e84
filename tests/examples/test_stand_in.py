"""examples/stand_in.py: a real model with a key, and without one a stand-in that says so."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.examples.running import NO_KEY, ROOT


@pytest.fixture
def stand_in() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / "stand_in.py"))


def test_with_a_key_a_real_model_calls_the_tools(
    stand_in: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none-that-works")
    model = stand_in["model_that_calls_tools"]()
    assert (model._llm_type, model.model_name) == ("openai-chat", "gpt-4o-mini")
    assert capsys.readouterr().out == ""


def test_without_a_key_and_without_tools_the_stand_in_pretends_nothing(
    stand_in: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model = stand_in["model_that_calls_tools"]()
    assert capsys.readouterr().out == f"{NO_KEY}\n"
    assert model.invoke("Why?").text == "I have no tools."
