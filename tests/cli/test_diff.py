from __future__ import annotations

import json

import pytest

from moa_graph.cli import differences
from tests.cli.conftest import Moa, SpecFile
from tests.cli.threaded import ask, go_on


def test_equal_threads_are_said_to_be(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    moa("fork", "t1")
    result = moa("diff", "t1", "t1~1")
    assert (result.exit_code, result.stdout) == (0, "t1 and t1~1 are equal: spec, 1 proposal, answer\n")
    assert json.loads(moa("diff", "t1", "t1~1", "--json").stdout)["equal"] is True


def test_edited_dropped_and_added_proposals_and_their_answers_differ(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a", "ok@b", "ok@c"]], "ok@z"))
    moa("fork", "t1", "--before", "aggregator")
    moa("edit", "t1~1", "layer-1/ok-a", "--text", "Answer of nobody.\x1b[2J")
    moa("edit", "t1~1", "layer-1/ok-b", "--drop")
    moa("edit", "t1~1", "layer-1/mine", "--add", "--text", "My own.")
    out = moa("diff", "t1", "t1~1").stdout
    assert out.startswith(
        "── specs: equal\n── proposals: 1 equal, 3 not\nlayer-1/ok-a: changed\nAnswer of[- ok@a"
    )
    assert "{+ nobody" in out
    assert "-]\n{+dropped by hand+}\n" in out
    assert "layer-1/mine: only in t1~1\nMy own.\n" in out
    assert "── answers: only t1 has one\nAnswer of ok@z" in out
    assert "\x1b" not in out
    assert "layer-1/mine: only in t1~1" in moa("diff", "t1~1", "t1").stdout
    go_on("t1~1")
    answers = moa("diff", "t1", "t1~1").stdout.partition("── answers\n")[2]
    assert answers.startswith("Answer of ok@z to[- ")
    record = json.loads(moa("diff", "t1", "t1~1", "--json").stdout)
    assert record["equal"] is False
    assert [change["id"] for change in record["changes"]] == ["layer-1/ok-a", "layer-1/ok-b", "layer-1/mine"]
    assert record["answer_diff"][0] == ["=", "Answer of ok@z to"]


def test_specs_models_and_questions_that_differ_are_shown(moa: Moa, served: SpecFile) -> None:
    members = [[{"model": "ok@a", "id": "one"}], [{"model": "ok@b", "id": "one"}]]
    ask(served([members[0]], "ok@z"), "t1", "Why not?")
    ask(served([members[1]], "ok@z", name="other.yaml"), "t2", "Why now?")
    out = moa("diff", "t1", "t2").stdout
    assert out.startswith("── questions\nWhy[- not-]{+ now+}?\n── specs\n--- thread t1\n+++ thread t2\n")
    assert "layer-1/one: openai:ok@a → openai:ok@b\n" in out


def test_equal_answers_and_missing_ones_are_said_plainly(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a", "ok@b"]], "ok@z")
    ask(spec, "t1", breakpoints=["aggregator"])
    moa("fork", "t1", "--to", "t2")
    assert moa("diff", "t1", "t2").stdout == "t1 and t2 are equal: spec, 2 proposals, no answer yet\n"
    moa("edit", "t2", "layer-1/ok-a", "--drop")
    assert moa("diff", "t1", "t2").stdout.endswith("── answers: neither has one yet\n")
    ask(served([["400", "echo-hash"]], "long-30", name="x.yaml"), "t3")
    ask(served([["400"], ["echo-hash"]], "long-30", name="y.yaml"), "t4")
    ask(served([["echo-hash"]], "long-30", name="z.yaml"), "t5")
    out = moa("diff", "t3", "t5").stdout
    assert out.endswith("── answers: equal\n")
    assert "layer-1/400: only in t3\nfailed: bad_request: " in out


def test_an_unknown_thread_ends_with_2(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    assert moa("diff", "t1", "t7").exit_code == 2


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_shows_colours_unless_they_are_unwanted(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", no_color)
    text = differences.differing("a b", "a \x1b[5mc")
    assert ("\x1b[31m[- b-]\x1b[0m" in text) is coloured
    assert "\x1b[5m" not in text
