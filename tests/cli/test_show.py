from __future__ import annotations

import json

from tests.cli.conftest import Moa, SpecFile
from tests.cli.threaded import ask
from tests.fakes.openai_server import FakeOpenAI


def test_proposals_failures_and_the_answer_are_shown(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a", "400"]], "ok@z"))
    result = moa("show", "t1")
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "t1: answered\nquestion: Why?\n\n── layer-1/ok-a (openai:ok@a)\nAnswer of ok@a"
    )
    assert "── layer-1/400 (openai:400)\n[failed: bad_request: " in result.stdout
    assert "\n── answer (ok-z)\nAnswer of ok@z" in result.stdout


def test_a_checkpoint_shows_what_was_there(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"], ["ok@b"]], "ok@z"))
    out = moa("show", "t1", "--checkpoint", "1").stdout
    assert out.startswith("t1: before layer-2\n")
    assert "layer-1/ok-a" in out
    assert "layer-2/ok-b" not in out
    assert "Answer of ok@z" not in out
    assert "before" not in moa("show", "t1", "--checkpoint", "3").stdout


def test_an_unknown_checkpoint_ends_with_2(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    result = moa("show", "t1", "--checkpoint", "77")
    assert result.exit_code == 2
    assert "no checkpoint of thread 't1' is 77" in result.stderr


def test_edits_and_drops_are_marked(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a", "ok@b"]], "ok@z"), breakpoints=["aggregator"])
    moa("edit", "t1", "layer-1/ok-a", "--text", "by hand")
    moa("edit", "t1", "layer-1/ok-b", "--drop")
    out = moa("show", "t1").stdout
    assert "── layer-1/ok-a (openai:ok@a, edited)\nby hand\n" in out
    assert "── layer-1/ok-b (openai:ok@b, edited)\n[dropped by hand]\n" in out


def test_the_prompt_is_exactly_what_was_sent(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    ask(served([["ok@a"], ["ok@b"]], "ok@z"))
    for call, model in [("layer-1/ok-a", "ok@a"), ("layer-2/ok-b", "ok@b"), ("aggregator/ok-z", "ok@z")]:
        record = json.loads(moa("show", "t1", "--prompt", call, "--json").stdout)
        assert record["messages"] == server.of(model)[0].messages
    out = moa("show", "t1", "--prompt", "aggregator/ok-z").stdout
    assert out.startswith("── system\n")
    assert out.endswith("── user\nWhy?\n")
    assert "Answer of ok@b" in out


def test_messages_of_several_parts_are_shown_as_json(moa: Moa, served: SpecFile) -> None:
    parts = [{"type": "text", "text": "Why\x1b[2J?"}]
    ask(
        served([["ok@a"]], "ok@z"),
        question=[("user", "Hi."), ("assistant", "Hm."), {"role": "user", "content": parts}],
    )
    out = moa("show", "t1", "--prompt", "layer-1/ok-a").stdout
    assert out.startswith("── user\nHi.\n── assistant\nHm.\n── user\n[")
    assert "\x1b" not in out


def test_the_prompt_of_a_call_that_was_not_made_ends_with_2(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    result = moa("show", "t1", "--prompt", "layer-1/nobody")
    assert result.exit_code == 2
    assert "layer-1/ok-a" in result.stderr


def test_terminal_escapes_of_models_are_stripped(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"), breakpoints=["aggregator"])
    moa("edit", "t1", "layer-1/ok-a", "--text", "\x1b]0;owned\x07by \x1b[31mhand")
    result = moa("show", "t1")
    assert "\x1b" not in result.stdout
    assert "by hand" in result.stdout
    assert "\x1b" not in moa("show", "t1", "--json").stdout


def test_json_is_the_whole_run(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    record = json.loads(moa("show", "t1", "--json").stdout)
    assert (record["status"], record["answered_by"], record["calls"]) == ("answered", "ok-z", 2)
