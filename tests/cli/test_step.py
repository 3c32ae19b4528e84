from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Moa, SpecFile
from tests.fakes.openai_server import FakeOpenAI


@pytest.fixture
def begun(moa: Moa, served: SpecFile) -> str:
    """Begin a thread of two layers that stands before the first one."""
    layers = [
        {"name": "draft", "proposers": ["ok@a", "400"]},
        {"name": "refine", "proposers": ["ok@b"]},
    ]
    result = moa("run", served(layers, "ok@z"), "Why?", "--thread", "t1", "--breakpoint", "all")
    assert result.stderr.endswith("interrupted before draft: moa resume t1\n")
    return "t1"


def test_each_step_runs_one_layer_and_shows_what_it_gave(moa: Moa, begun: str, server: FakeOpenAI) -> None:
    assert server.count() == 0
    first = moa("step", begun)
    assert (first.exit_code, first.stdout) == (0, "")
    assert "── draft/ok-a (openai:ok@a)\nAnswer of ok@a" in first.stderr
    assert "── draft/400 (openai:400)\n[failed: bad_request" in first.stderr
    assert re.search(r"^left: 2 calls, cost at most \$0\.\d+$", first.stderr, re.MULTILINE)
    assert first.stderr.endswith("interrupted before refine: moa resume t1\n")
    second = moa("step", begun)
    assert "── refine/ok-b" in second.stderr
    assert "── draft" not in second.stderr
    assert second.stderr.endswith("interrupted before aggregator: moa resume t1\n")
    last = moa("step", begun)
    assert last.exit_code == 0
    assert last.stdout.startswith("Answer of ok@z")
    assert "──" not in last.stderr
    assert server.count() == 4


def test_all_proposals_are_shown_on_demand_and_none_when_quiet(moa: Moa, begun: str) -> None:
    assert moa("step", begun, "--quiet").stderr == ""
    assert "── draft/ok-a" in moa("step", begun, "--show-proposals").stderr


def test_a_step_as_json_is_one_object(moa: Moa, begun: str) -> None:
    record = json.loads(moa("step", begun, "--json").stdout)
    assert (record["status"], record["next_layer"], record["calls_left"]) == ("interrupted", "refine", 2)
    assert [proposal["id"] for proposal in record["proposals"]] == ["draft/ok-a", "draft/400"]


def test_an_approval_is_noted_before_the_next_step(moa: Moa, begun: str, tmp_path: Path) -> None:
    moa("step", begun)
    result = moa("step", begun, "--approve", "--who", "Ada")
    assert result.exit_code == 0
    assert "approved draft\n" in result.stderr
    assert "── refine/ok-b" in result.stderr
    history = moa("history", begun).stdout
    assert "approved draft" in history
    assert "Ada" in history


def test_without_a_layer_that_ended_there_is_nothing_to_approve(
    moa: Moa, begun: str, server: FakeOpenAI
) -> None:
    result = moa("step", begun, "--approve")
    assert result.exit_code == 2
    assert "no layer of thread 't1' has ended yet" in result.stderr
    assert server.count() == 0


def test_who_goes_with_an_approval_only(moa: Moa, begun: str) -> None:
    result = moa("step", begun, "--who", "Ada")
    assert result.exit_code == 2
    assert "use it with --approve" in result.stderr


def test_edited_and_dropped_proposals_are_shown_as_such(moa: Moa, begun: str) -> None:
    moa("step", begun)
    assert moa("edit", begun, "draft/ok-a", "--text", "Better.").exit_code == 0
    shown = moa("step", begun, "--show-proposals").stderr
    assert "── draft/ok-a (openai:ok@a, edited)\nBetter." in shown
    assert moa("edit", begun, "refine/mine", "--text", "Mine.", "--add").exit_code == 0
    assert moa("edit", begun, "refine/ok-b", "--drop").exit_code == 0
    shown = moa("step", begun, "--show-proposals").stderr
    assert "── refine/ok-b (openai:ok@b, edited)\n[dropped by hand]\n" in shown
    assert "── refine/mine (by hand, edited)\nMine." in shown
