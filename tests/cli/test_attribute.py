from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Moa, SpecFile
from tests.cli.terminal import on_terminal
from tests.cli.threaded import ask, with_store

SAID = {
    "a": "A quorum is the number of proposals that a layer needs. Bees dance.",
    "b": "Stragglers are cancelled when the grace period is over. Bees dance.",
    "c": "Nobody knows.",
}
ANSWER = (
    "In short, the number of proposals that a layer needs.\n"
    "Stragglers get cancelled once the grace period ends.\nBees dance!\nSomething else \x1b[2Jentirely."
)


@pytest.fixture
def answered(tmp_path: Path, moa: Moa) -> Moa:
    """Answer a question in thread t1 with texts of our own: two layers, then the aggregator."""

    def slot(name: str, text: str) -> dict[str, Any]:
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps({"question": "Why?", "text": text}) + "\n")
        return {"model": f"replay:{path}"}

    document = {
        "moa": 1,
        "name": "said",
        "models": {**{name: slot(name, text) for name, text in SAID.items()}, "z": slot("z", ANSWER)},
        "layers": [
            {"name": "draft", "proposers": ["c"]},
            {"name": "refine", "proposers": ["a", "b"]},
        ],
        "aggregator": {"model": "z"},
    }
    (tmp_path / "said.yaml").write_text(json.dumps(document))
    ask("said.yaml", "t1", "Why?")
    return moa


def test_every_sentence_is_shown_with_the_proposals_it_is_worded_like(answered: Moa) -> None:
    result = answered("attribute", "t1")
    assert result.exit_code == 0
    assert result.stdout == (
        "t1: 4 sentences beside the proposals of refine: 1 verbatim, 1 close, 1 shared, 1 none\n"
        "(similar wording, which is no proof of cause)\n\n"
        "[verbatim] In short, the number of proposals that a layer needs.\n"
        "    refine/a, similarity 0.88: “the number of proposals that a layer needs”\n\n"
        "[close] Stragglers get cancelled once the grace period ends.\n"
        "    refine/b, similarity 0.82\n\n"
        "[shared] Bees dance!\n"
        "    refine/a, similarity 1.00\n    refine/b, similarity 1.00\n\n"
        "[none] Something else entirely.\n"
    )


def test_another_layer_is_compared_with_on_request(answered: Moa) -> None:
    out = answered("attribute", "t1", "--layer", "draft").stdout
    assert out.startswith(
        "t1: 4 sentences beside the proposals of draft: 0 verbatim, 0 close, 0 shared, 4 none"
    )


def test_the_record_says_the_same(answered: Moa) -> None:
    record = json.loads(answered("attribute", "t1", "--json").stdout)
    assert (record["thread"], record["layer"]) == ("t1", "refine")
    assert record["note"] == "similar wording, which is no proof of cause"
    assert record["counts"] == {"verbatim": 1, "close": 1, "shared": 1, "none": 1}
    assert record["sentences"][0]["near"][0]["proposal"] == "refine/a"


def test_a_proposal_added_by_hand_is_compared_with_too(answered: Moa) -> None:
    answered("fork", "t1", "--before", "refine")
    answered("edit", "t1~1", "draft/c", "--drop")
    answered("edit", "t1~1", "draft/mine", "--add", "--text", "Something else entirely.")
    answered("resume", "t1~1")
    out = answered("attribute", "t1~1", "--layer", "draft").stdout
    assert "[close] Something else entirely.\n    draft/mine, similarity 1.00" in out


def test_an_answer_that_was_taken_is_said_to_be_the_proposal(answered: Moa, tmp_path: Path) -> None:
    document = json.loads((tmp_path / "said.yaml").read_text())
    document["aggregator"] = {"reduce": "vote", "extract": "last-line"}
    (tmp_path / "vote.yaml").write_text(json.dumps(document))
    ask("vote.yaml", "t2", "Why?")
    result = answered("attribute", "t2")
    assert result.stdout.splitlines()[1:3] == [
        "the answer is refine/a, word for word: it was taken, not written (vote 1 of 2)",
        "(similar wording, which is no proof of cause)",
    ]
    assert json.loads(answered("attribute", "t2", "--json").stdout)["decision"]["proposal"] == "refine/a"
    assert json.loads(answered("attribute", "t1", "--json").stdout)["decision"] is None


def test_a_layer_without_proposals_is_refused(answered: Moa) -> None:
    result = answered("attribute", "t1", "--layer", "none")
    assert result.exit_code == 2
    assert "There are some of: draft, refine." in result.stderr


def test_an_answer_without_layers_has_nothing_to_compare_with(moa: Moa, served: SpecFile) -> None:
    ask(served([], "ok@z"))
    result = moa("attribute", "t1")
    assert result.exit_code == 2
    assert "there are no proposals of a layer to compare with" in result.stderr


def test_a_thread_without_an_answer_is_refused(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"), breakpoints=["aggregator"])
    for arguments in (["t1"], ["t1", "--drop", "layer-1/ok-a", "--yes"]):
        result = moa("attribute", *arguments)
        assert result.exit_code == 2
        assert "thread 't1' has no answer yet" in result.stderr


def test_dropping_says_what_it_takes_and_shows_how_the_answer_changed(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a", "ok@b"]], "ok@z"))
    result = moa("attribute", "t1", "--drop", "layer-1/ok-b", "--yes")
    assert result.exit_code == 0
    first, note, blank, difference = result.stdout.splitlines()
    assert first.startswith("without layer-1/ok-b: similarity to the answer before 0.")
    assert note == (
        "(a model that samples changes its answer without any cause, too: compare with --control)"
    )
    assert (blank, difference[:20]) == ("", "Answer of ok@z to[- ")
    takes, seen = result.stderr.splitlines()
    assert takes.startswith("running again: 1 call, cost at most $")
    assert seen == "see it: moa show 't1~1'"
    dropped = with_store(lambda runs: runs.show("t1~1")).proposals
    assert [record["status"] for record in dropped] == ["ok", "dropped"]


def test_the_control_of_a_model_that_does_not_sample_is_the_same_answer(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a", "ok@b"]], "ok@z"))
    result = moa("attribute", "t1", "--drop", "layer-1/ok-b", "--control", "-y")
    assert "; asked again with nothing dropped, 1.00\n(one rerun each: a single draw, no estimate)" in (
        result.stdout
    )
    assert result.stderr.splitlines()[0].startswith("running again: 2 calls, ")


def test_the_record_of_a_rerun_has_both_answers(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a", "ok@b"]], "ok@z"))
    record = json.loads(moa("attribute", "t1", "--drop", "layer-1/ok-b", "--yes", "--json").stdout)
    assert (record["thread"], record["proposal"], record["forks"]) == ("t1", "layer-1/ok-b", ["t1~1"])
    assert record["before"] != record["after"]
    assert (record["calls"], record["control"]) == (1, None)


def test_a_wrong_proposal_is_told_without_yes(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a", "ok@b"]], "ok@z"))
    result = moa("attribute", "t1", "--drop", "layer-1/nobody")
    assert result.exit_code == 2
    assert "nobody saw a proposal 'layer-1/nobody'" in result.stderr


def test_without_a_terminal_yes_is_needed_and_nothing_is_forked(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a", "ok@b"]], "ok@z"))
    result = moa("attribute", "t1", "--drop", "layer-1/ok-a")
    assert result.exit_code == 2
    asked = "nobody can be asked here: Run again without layer-1/ok-a (1 call, cost at most $"
    assert result.stderr.startswith(f"error: {asked}")
    assert result.stderr.endswith("\nhint: Add --yes. Nothing was called.\n")
    assert len(with_store(lambda runs: runs.threads())) == 1


def test_a_terminal_is_asked_and_a_no_leaves_nothing_behind(
    moa: Moa, served: SpecFile, tmp_path: Path
) -> None:
    ask(served([["ok@a", "ok@b"]], "ok@z"))
    words = ["attribute", "t1", "--drop", "layer-1/ok-b"]
    code, output = on_terminal(*words, cwd=tmp_path, answers=["n"])
    assert code == 130
    assert "Run again without layer-1/ok-b (1 call, cost at most $" in output
    assert len(with_store(lambda runs: runs.threads())) == 1
    code, output = on_terminal(*words, cwd=tmp_path, answers=["y"])
    assert code == 0
    assert "similarity to the answer before" in output
    assert moa("show", "t1~1").exit_code == 0


def test_a_rerun_that_fails_says_how_to_go_on(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a", "ok@b"]], "ok-then-400"))
    result = moa("attribute", "t1", "--drop", "layer-1/ok-b", "--yes")
    assert result.exit_code == 1
    assert "what was paid for is kept: moa resume 't1~1'" in result.stderr


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--yes"], "--yes"),
        (["--control"], "--control"),
        (["--drop", "a/b", "--layer", "a"], "--layer"),
    ],
)
def test_options_that_do_not_go_together_are_refused(moa: Moa, options: list[str], word: str) -> None:
    result = moa("attribute", "t1", *options)
    assert result.exit_code == 2
    assert f"Invalid value for {word}" in result.stderr
