"""What a user sees of selection, stopping and reducing: who was left out and why, and who answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Moa
from tests.fakes.behaviours import Call, Reply, named, text_reply
from tests.fakes.openai_server import FakeOpenAI

Written = Callable[..., str]

SAID = {
    "a": "The answer is 12.",
    "b": "It is 12.",
    "c": "I say 13.",
    "z": "Twelve, all in all.",
    "ranker": "2 > 3 > 1",
    "unclear": "I cannot rank these.",
    "judge": "STOP",
    "pick": "3",
}


@named("said-by-(.+)")
def says(call: Call, who: str) -> Reply:
    """Say what the table has for a name."""
    return text_reply(call, SAID[who])


@pytest.fixture
def written(server: FakeOpenAI, tmp_path: Path) -> Written:
    """Write a spec whose slots say what the table has; return its file's name."""

    def write(layers: list[dict[str, Any]], aggregator: dict[str, Any], **parts: Any) -> str:
        slot = {"base_url": server.base_url, "api_key_env": "none", "price": {"input": 1.0, "output": 2.0}}
        document = {
            "moa": 1,
            "name": "test",
            "models": {who: {"model": f"openai:said-by-{who}", **slot} for who in SAID},
            "defaults": {"attempts": 1},
            "layers": layers,
            "aggregator": aggregator,
            **parts,
        }
        (tmp_path / "spec.yaml").write_text(json.dumps(document))
        return "spec.yaml"

    return write


DRAFT: dict[str, Any] = {"name": "draft", "proposers": ["a", "b", "c"]}
DEEP: dict[str, Any] = {"name": "deep", "proposers": ["a", "b"]}
RANK = {"by": "rank", "model": "ranker", "keep": 2}
AGREE = {"by": "agreement", "agree": 2, "extract": "number"}
VOTE = {"reduce": "vote", "extract": "number"}


@pytest.fixture
def ranked(written: Written) -> str:
    return written([{**DRAFT, "select": RANK}, DEEP], {"model": "z"})


def test_what_is_left_out_says_why_and_who_ranked_stands_apart(moa: Moa, ranked: str) -> None:
    result = moa("run", ranked, "Why?", "--show-proposals")
    assert result.stdout == f"{SAID['z']}\n"
    made, _, said = result.stderr.partition("What was said about the proposals:\n\n")
    assert "── draft/a (openai:said-by-a, left out: ranked 3 of 3)\nThe answer is 12.\n" in made
    assert "── draft/b (openai:said-by-b)\nIt is 12.\n" in made
    assert "── draft/@ranker" not in made
    assert said.startswith("── draft/@ranker (openai:said-by-ranker)\n2 > 3 > 1\n")


def test_the_lines_tell_of_the_ranker_and_of_the_selection(moa: Moa, ranked: str) -> None:
    lines = moa("run", ranked, "Why?").stderr.splitlines()
    assert any(line.startswith("draft/@ranker: done in ") for line in lines)
    assert "draft: b, c go on (select by rank); left out: a (ranked 3 of 3)" in lines
    assert "deep: 2 proposers, each with 2 references" in lines


def test_json_has_proposals_and_what_was_said_about_them_apart(moa: Moa, ranked: str) -> None:
    record = json.loads(moa("run", ranked, "Why?", "--json").stdout)
    ids = ["draft/a", "draft/b", "draft/c", "deep/a", "deep/b"]
    assert [proposal["id"] for proposal in record["proposals"]] == ids
    assert record["proposals"][0]["left_out"] == "ranked 3 of 3"
    assert [(aide["id"], aide["role"], aide["text"]) for aide in record["aides"]] == [
        ("draft/@ranker", "ranker", "2 > 3 > 1")
    ]
    assert (record["decision"], record["stopped"], record["calls"]) == (None, None, 7)


def test_a_selection_that_cannot_be_made_leaves_all(moa: Moa, written: Written) -> None:
    spec = written([{**DRAFT, "select": {**RANK, "model": "unclear"}}], {"model": "z"})
    stderr = moa("run", spec, "Why?").stderr
    why = "the reply is no ranking of at least 2"
    assert f"draft: all 3 go on (select by rank), as there was no selection: {why}\n" in stderr
    assert "draft/@ranker: failed after" in stderr
    assert "  draft/@ranker failed: malformed: the reply is no ranking of at least 2" in stderr


def test_one_that_may_not_fail_ends_the_run_and_keeps_the_reply(moa: Moa, written: Written) -> None:
    spec = written([{**DRAFT, "select": {**RANK, "model": "unclear", "on_error": "fail"}}], {"model": "z"})
    result = moa("run", spec, "Why?", "--json")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert [proposal["id"] for proposal in record["proposals"]] == ["draft/a", "draft/b", "draft/c"]
    assert [(aide["id"], aide["status"]) for aide in record["aides"]] == [("draft/@ranker", "failed")]
    assert record["aggregators"] == []


@pytest.mark.parametrize("options", [[], ["--stream"], ["--thread", "t1"], ["--thread", "t1", "--stream"]])
def test_an_answer_by_vote_is_written_once_and_says_how_many_agreed(
    moa: Moa, written: Written, options: list[str]
) -> None:
    result = moa("run", written([DRAFT], VOTE), "Why?", *options)
    assert result.stdout == "The answer is 12.\n"
    assert "answered by draft/a (vote 2 of 3): 3 calls" in result.stderr
    assert "kept from before" not in result.stderr
    assert "writes the answer" not in result.stderr


@pytest.mark.parametrize("options", [[], ["--stream"], ["--thread", "t1", "--stream"]])
def test_what_a_chooser_says_is_never_the_answer(moa: Moa, written: Written, options: list[str]) -> None:
    spec = written([DRAFT], {"reduce": "pick", "model": "pick", "fallbacks": ["z"]})
    result = moa("run", spec, "Why?", "--show-proposals", *options)
    assert result.stdout == "I say 13.\n"
    assert "answered by draft/c (pick): 4 calls" in result.stderr
    assert "── aggregator/@ranker:pick (openai:said-by-pick)\n3\n" in result.stderr


def test_the_windows_before_the_last_are_not_streamed(moa: Moa, written: Written) -> None:
    result = moa("run", written([DRAFT], {"model": "z", "window": 2}), "Why?", "--stream")
    assert result.stdout == f"{SAID['z']}\n"
    assert "aggregator/@window-1:z: done in" in result.stderr


@pytest.mark.parametrize(
    ("aggregator", "how"),
    [
        ({"reduce": "consistency", "model": "unclear", "on_error": "first"}, "the first proposal"),
        ({**VOTE, "references": {"from": ["single"]}}, "the only proposal"),
        ({**VOTE, "weights": {"c": 2.5}, "references": {"from": ["draft"]}}, "vote 2.5 of 4.5"),
    ],
)
def test_the_summary_says_how_the_answer_was_found(
    moa: Moa, written: Written, aggregator: dict[str, Any], how: str
) -> None:
    single = {"name": "single", "proposers": ["b"]}
    result = moa("run", written([DRAFT, single, DEEP], aggregator), "Why?")
    assert re.search(rf"^answered by (draft|single|deep)/[abc] \({how}\): ", result.stderr, re.MULTILINE)


def test_a_stop_is_told_with_its_reason(moa: Moa, written: Written) -> None:
    result = moa("run", written([DRAFT, DEEP], {"model": "z"}, stop=AGREE), "Why?", "--json")
    assert "draft: enough: 2 proposals agree on 12; the aggregator comes next\n" in result.stderr
    record = json.loads(result.stdout)
    assert record["stopped"] == {"layer": "draft", "reason": "2 proposals agree on 12"}
    assert {proposal["layer"] for proposal in record["proposals"]} == {"draft"}


def test_a_thread_shows_all_of_it(moa: Moa, written: Written) -> None:
    judge = {"by": "judge", "model": "judge"}
    moa("run", written([{**DRAFT, "select": RANK}, DEEP], VOTE, stop=judge), "Why?", "--thread", "t1")
    out = moa("show", "t1").stdout
    assert "── draft/a (openai:said-by-a, left out: ranked 3 of 3)\n" in out
    made, _, said = out.partition("What was said about the proposals:\n")
    assert "@" not in made
    assert "── draft/@judge (openai:said-by-judge)\nSTOP\n" in said
    assert "\nenough after draft: the judge says that it is enough\n" in said
    assert "\n── answer (draft/b, vote 1 of 2)\nIt is 12.\n" in said
    record = json.loads(moa("show", "t1", "--json").stdout)
    assert [aide["id"] for aide in record["aides"]] == ["draft/@ranker", "draft/@judge"]
    assert record["decision"]["proposal"] == "draft/b"
    assert record["stopped"]["layer"] == "draft"


def test_the_status_says_why_later_layers_were_not_needed(moa: Moa, written: Written) -> None:
    stop = {"by": "agreement", "agree": 2, "extract": "number"}
    spec = written([DRAFT, DEEP], {"model": "z"}, stop=stop)
    moa("run", spec, "Why?", "--thread", "t1")
    lines = moa("status", "t1").stdout.splitlines()
    assert lines[2].startswith("  draft       3 ok of 3; enough: ")
    assert lines[3] == "  deep        not needed"


def test_a_step_shows_the_proposals_of_its_layer_and_on_demand_all(moa: Moa, ranked: str) -> None:
    moa("run", ranked, "Why?", "--thread", "t1", "--breakpoint", "all")
    first = moa("step", "t1").stderr
    assert "left out: ranked 3 of 3" in first
    assert "── draft/@ranker" not in first
    assert "── draft/@ranker" in moa("step", "t1", "--show-proposals").stderr


def test_check_says_what_is_special(moa: Moa, written: Written) -> None:
    layers = [{**DRAFT, "select": RANK}, {**DEEP, "residual": {"model": "z"}, "concurrency": 1}]
    spec = written(layers, {**VOTE, "weights": {"a": 2}}, stop={**AGREE, "max_layers": 2})
    result = moa("check", spec)
    assert (
        "  depth 3 × width 3, 2\n"
        "  draft: select rank, keep 2, asks ranker\n"
        "  deep: 1 at once; residual by z\n"
        "  stop: 2 proposals agree, at most 2 layers\n"
        "  aggregator: reduce vote, extract number\n"
        "  calls per question: "
    ) in result.stdout
    found = json.loads(moa("check", spec, "--json").stdout)["files"][0]
    assert found["special"][0] == "draft: select rank, keep 2, asks ranker"


def test_check_has_no_word_more_for_a_plain_spec(moa: Moa, written: Written) -> None:
    assert "depth 2 × width 3\n  calls per question" in moa("check", written([DRAFT], {"model": "z"})).stdout


def test_a_recorded_run_with_a_ranker_and_a_judge_is_replayed(
    moa: Moa, written: Written, tmp_path: Path
) -> None:
    layers = [{**DRAFT, "select": RANK}, DEEP]
    spec = written(layers, {"model": "z", "window": 2}, stop={"by": "judge", "model": "judge"})
    recorded = moa("run", spec, "Why?", "--record", "run.jsonl", "--json")
    document = json.loads((tmp_path / spec).read_text())
    document["models"] = {
        slot: {"model": "replay:run.jsonl", "params": {"model": f"openai:said-by-{slot}"}} for slot in SAID
    }
    (tmp_path / "replay.yaml").write_text(json.dumps(document))
    replayed = json.loads(moa("run", "replay.yaml", "Why?", "--json").stdout)
    before = json.loads(recorded.stdout)
    for key in ("answer", "stopped", "calls"):
        assert replayed[key] == before[key]
    assert [aide["text"] for aide in replayed["aides"]] == ["2 > 3 > 1", "STOP"]


def test_who_was_not_needed_did_not_fail(moa: Moa, written: Written) -> None:
    spec = written([{**DRAFT, "concurrency": 1}], VOTE, stop={**AGREE})
    result = moa("run", spec, "Why?", "--thread", "t1", "--show-proposals")
    assert "── draft/c (openai:said-by-c)\n[not needed: enough proposals agree]\n" in result.stderr
    status = moa("status", "t1").stdout
    assert "  draft       2 ok, 1 not needed of 3\n" in status
    assert "failed" not in status
    assert "[not needed: enough proposals agree]" in moa("show", "t1").stdout
    (*_, last) = json.loads(moa("history", "t1", "--json").stdout)["checkpoints"]
    assert (last["ok"], last["failed"]) == (2, 0)
    *_, record = json.loads(moa("show", "t1", "--json").stdout)["proposals"]
    assert (record["status"], record["attempts"], record["failure"]["kind"]) == ("cut", 0, "deadline")


def test_a_vote_that_cannot_be_read_says_why_in_the_thread_and_how_to_do_without(
    moa: Moa, written: Written
) -> None:
    spec = written([{**DRAFT, "proposers": ["z", "unclear"]}], VOTE)
    result = moa("run", spec, "Why?", "--thread", "t1")
    assert "no answer could be read from any proposal" in result.stderr
    assert "`on_error: first`" in result.stderr
    head, question, *_ = moa("show", "t1").stdout.splitlines()
    assert head.startswith("t1: failed (AggregatorFailed: aggregator: no answer could be read")
    assert question == "question: Why?"


def test_check_says_who_sees_what(moa: Moa, written: Written) -> None:
    revise = {
        "name": "revise",
        "proposers": ["a", "b"],
        "references": {
            "from": [{"layer": "draft", "see": "own"}, {"layer": "deep", "self": False}],
            "anonymous": False,
            "instruction": "Mend your draft.",
        },
    }
    deep = {**DEEP, "references": {"see": {"a": ["b"]}}, "concurrency": 1}
    last = {"name": "last", "proposers": ["c"], "references": {"from": "none"}}
    own = {"name": "own", "proposers": ["a", "c"], "references": {"from": "own"}}
    groups = {"name": "groups", "proposers": ["c"], "references": {"see": [["c"]], "order": "shuffled"}}
    layers = [DRAFT, deep, revise, own, groups, last]
    spec = written(layers, {**VOTE, "references": {"from": "all"}})
    assert (
        "  deep: sees draft (by lists); 1 at once\n"
        "  revise: sees draft (own), deep (not its own); named; own instruction\n"
        "  own: sees revise (own)\n"
        "  groups: sees own (in groups); shuffled\n"
        "  last: sees no proposals\n"
        "  aggregator: sees draft, deep, revise, own, groups, last; reduce vote, extract number\n"
    ) in moa("check", spec).stdout
