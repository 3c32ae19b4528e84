"""LangChain's own suites for chat models, unit and integration, against MoA with an aggregator that acts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from moa_graph import MoAChatModel
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel

SPEC = {
    "moa": 1,
    "name": "standard",
    "models": {"adviser": {"model": "host:adviser"}, "actor": {"model": "host:actor"}},
    "layers": [{"name": "draft", "proposers": [{"model": "adviser", "samples": 2}]}],
    "aggregator": {"model": "actor"},
}


class Panel:
    """Make the model that both suites test."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return MoAChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"spec": SPEC, "models": {"adviser": ScriptedChatModel(), "actor": ActingChatModel()}}


class TestUnit(Panel, ChatModelUnitTests):
    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        # Time and attempts are said in the spec, for each call and for the run.
        return {"temperature": 0, "max_tokens": 100, "stop": []}


class TestIntegration(Panel, ChatModelIntegrationTests):
    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {}

    @property
    def has_tool_calling(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        return True

    @property
    def has_structured_output(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "another-aggregator"


def test_the_documentation_tells_how_many_pass() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:randomly",
            "-k",
            "TestUnit or TestIntegration",
            __file__,
        ],
        capture_output=True,
        text=True,
        check=True,
        env={key: value for key, value in os.environ.items() if not key.startswith(("COVERAGE", "PYTEST"))},
    )
    page = (Path(__file__).parents[1] / "docs" / "embedding.md").read_text(encoding="utf-8")

    found = re.search(r"(\d+ passed, \d+ skipped)", done.stdout)
    assert found is not None
    assert f"**{found[1]}**" in page
