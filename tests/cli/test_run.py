from __future__ import annotations

import json
import os
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Moa, SpecFile
from tests.fakes.openai_server import FakeOpenAI

KEYS = [
    "status",
    "answer",
    "answered_by",
    "thread",
    "proposals",
    "aides",
    "usage",
    "cost",
    "calls",
    "seconds",
    "warnings",
    "sources",
    "citations",
    "decision",
    "stopped",
    "aggregators",
    "turn",
    "reason",
    "next_layer",
    "calls_left",
    "cost_left",
    "saved",
]
ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x1b[0m [bold]not markup[/bold]\r\n\x9b2Jsecond line"
PLAIN = "red [bold]not markup[/bold]\nsecond line\n"


def test_the_answer_alone_goes_to_stdout(moa: Moa, served: SpecFile) -> None:
    result = moa("run", served([["ok@a", "ok@b"]], "ok@z"), "Why?")
    assert result.exit_code == 0
    assert result.stdout.startswith("Answer of ok@z")
    assert result.stdout.count("\n") == 1
    assert "layer-1: 2 proposers" in result.stderr
    assert "layer-1: 2 of 2 proposals" in result.stderr
    assert "answered by ok-z: 3 calls" in result.stderr
    assert "cost $0." in result.stderr


def test_failures_on_the_way_are_listed_with_their_reason(moa: Moa, served: SpecFile) -> None:
    result = moa("run", served([["ok@a", "400"]], "ok@z"), "Why?")
    assert result.exit_code == 0
    assert "layer-1/400 failed: bad_request" in result.stderr.splitlines()[-1]


def test_an_unknown_price_is_an_unknown_cost(moa: Moa, served: SpecFile) -> None:
    result = moa("run", served([], "ok", slot={}), "Why?")
    assert "cost unknown" in result.stderr


def test_json_is_one_object_with_everything_in_spec_order(moa: Moa, served: SpecFile) -> None:
    result = moa("run", served([["ok-slow-0.1@first", "ok@second"], ["400", "ok"]], "ok@z"), "Why?", "--json")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert list(record) == KEYS
    assert record["status"] == "answered"
    assert record["answer"].startswith("Answer of ok@z")
    assert record["answered_by"] == "ok-z"
    assert all(record[key] is None for key in ("thread", "turn", "next_layer", "calls_left", "saved"))
    assert [proposal["proposer"] for proposal in record["proposals"]] == [
        "ok-slow-0.1-first",
        "ok-second",
        "400",
        "ok",
    ]
    assert record["proposals"][2]["failure"]["kind"] == "bad_request"
    assert record["calls"] == 5
    assert record["cost"] > 0
    assert record["usage"]["output_tokens"] > 0
    assert "layer-2/400" in record["warnings"][0]
    assert [call["id"] for call in record["aggregators"]] == ["aggregator/ok-z"]


def test_a_failed_run_keeps_what_was_paid_for(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a", "400"]], {"model": "500", "fallbacks": ["400@z"]})
    result = moa("run", spec, "Why?", "--json")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert list(record) == [*KEYS, "error"]
    assert (record["status"], record["answer"]) == ("failed", None)
    assert [proposal["status"] for proposal in record["proposals"]] == ["ok", "failed"]
    assert record["calls"] == 4
    assert [call["status"] for call in record["aggregators"]] == ["failed", "failed"]
    assert record["error"]["type"] == "AggregatorFailed"
    assert record["error"]["hint"]
    assert "error: no answer from the aggregator" in result.stderr
    assert "paid for: 4 calls" in result.stderr


def test_show_proposals_shows_those_of_a_failed_run_too(moa: Moa, served: SpecFile) -> None:
    result = moa("run", served([["ok@a", "400"]], "400@z"), "Why?", "--show-proposals")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "── layer-1/ok-a (openai:ok@a)\nAnswer of ok@a" in result.stderr
    assert "── layer-1/400 (openai:400)\n[failed: bad_request" in result.stderr


def test_quiet_says_nothing_but_errors(moa: Moa, served: SpecFile) -> None:
    assert moa("run", served([["ok"]], "ok@z"), "Why?", "--quiet").stderr == ""
    failed = moa("run", served([["400"]], "ok@z"), "Why?", "-q")
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: layer layer-1: 0 of 1 proposals, quorum 1")
    assert "paid for" not in failed.stderr


def test_stream_writes_the_same_answer(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    spec = served([["ok@a"]], "ok@z")
    whole, streamed = moa("run", spec, "Why?"), moa("run", spec, "Why?", "--stream")
    assert streamed.stdout == whole.stdout
    assert [request.stream for request in server.of("ok@z")] == [False, True]


def test_a_streamed_attempt_that_fails_is_declared_void(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a"]], {"model": "cut-clean", "fallbacks": ["ok@z"]})
    result = moa("run", spec, "Why?", "--stream")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("Answer of ok@z")
    assert len(result.stdout.splitlines()) == 2
    assert "what was written of the answer is void" in result.stderr
    retried = moa("run", served([], "cut-clean", defaults={"attempts": 2}), "Why?", "--stream")
    assert retried.exit_code == 1
    assert retried.stderr.count("is void") == 2


def test_terminal_escapes_of_models_are_stripped(moa: Moa, replayed: Callable[[str], str]) -> None:
    spec = replayed(ESCAPES)
    for options in ([], ["--stream"]):
        result = moa("run", spec, "Why?", "--show-proposals", *options)
        assert result.stdout == PLAIN
        assert PLAIN in result.stderr
        assert not {"\x1b", "\x9b", "\x07"} & set(result.output)


def test_json_escapes_control_characters(moa: Moa, replayed: Callable[[str], str]) -> None:
    result = moa("run", replayed(ESCAPES), "Why?", "--json")
    assert json.loads(result.stdout)["answer"] == ESCAPES
    assert result.stdout.isascii()
    assert "\x1b" not in result.stdout


def test_the_question_may_come_from_stdin(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    assert moa("run", served([], "ok"), "-", stdin="Wärum?\n").exit_code == 0
    assert server.of("ok")[0].messages == [{"role": "user", "content": "Wärum?"}]


def test_documents_precede_the_question(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("Text A.")
    (tmp_path / "b.md").write_text("Text B.")
    moa("run", served([], "ok"), "Why?", "--context", "a.md", "--context", "b.md")
    content = server.of("ok")[0].messages[0]["content"]
    assert content == "# Document: a.md\n\nText A.\n\n# Document: b.md\n\nText B.\n\nWhy?"


def test_nothing_is_called_when_the_question_or_a_document_cannot_be_read(
    moa: Moa, served: SpecFile, server: FakeOpenAI
) -> None:
    spec = served([], "ok")
    for arguments in (["", "-q"], ["Why?", "--context", "missing.md"], ["-"]):
        result = moa("run", spec, *arguments, stdin=b"\xff")
        assert result.exit_code == 2
        assert "Error: Invalid value for" in result.stderr
    assert server.count() == 0


def test_a_fault_in_the_spec_is_shown_where_it_is(moa: Moa, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("moa: 1\nname: x\nmodel: {}\n")
    result = moa("run", "bad.yaml", "Why?")
    assert result.exit_code == 2
    assert any(line.startswith("bad.yaml:3:1: ") for line in result.stderr.splitlines())
    as_json = moa("run", "bad.yaml", "Why?", "--json")
    assert as_json.exit_code == 2
    record = json.loads(as_json.stdout)
    assert (record["status"], record["error"]["type"], record["calls"]) == ("failed", "SpecError", 0)


def test_a_missing_key_is_said_before_any_call(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    result = moa("run", served([["ok"]], "ok", slot={"api_key_env": "MOA_NO_SUCH_KEY"}), "Why?")
    assert result.exit_code == 2
    assert "MOA_NO_SUCH_KEY" in result.stderr
    assert server.count() == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Missing argument 'QUESTION'"),
        ([" "], "the question is empty"),
        (["Why", "not?"], "put the question in quotes"),
        (["Why?", "--context", "missing.md"], "missing.md: No such file"),
        (["Why?", "--nonsense"], "--nonsense"),
        (["Why?", "--record", "no/such/folder.jsonl"], "folder.jsonl"),
    ],
)
def test_wrong_usage_is_said_in_words_and_with_json_as_one_object_too(
    moa: Moa, served: SpecFile, server: FakeOpenAI, arguments: list[str], problem: str
) -> None:
    spec = served([], "ok")
    plain = moa("run", spec, *arguments)
    assert (plain.exit_code, plain.stdout) == (2, "")
    assert problem in plain.stderr
    result = moa("run", spec, *arguments, "--json")
    assert result.exit_code == 2
    record = json.loads(result.stdout)
    assert (record["status"], record["error"]["type"], record["calls"]) == ("failed", "UsageError", 0)
    assert problem in record["error"]["message"]
    assert problem in result.stderr
    assert server.count() == 0


def test_options_that_contradict_each_other_are_refused(moa: Moa, served: SpecFile) -> None:
    spec = served([], "ok")
    assert moa("run", spec, "Why?", "--stream", "--json").exit_code == 2
    assert moa("run", spec, "Why?", "--quiet", "--show-proposals").exit_code == 2


def test_a_recorded_run_replays_the_same_answer(moa: Moa, served: SpecFile, tmp_path: Path) -> None:
    spec = served([["ok@a", "ok@b"]], "ok@z")
    recorded = moa("run", spec, "Why?", "--record", "run.jsonl")
    assert stat.S_IMODE((tmp_path / "run.jsonl").stat().st_mode) == 0o600
    document = json.loads((tmp_path / spec).read_text())
    document["models"] = {slot: {"model": "replay:run.jsonl"} for slot in document["models"]}
    (tmp_path / "replay.yaml").write_text(json.dumps(document))
    replayed = moa("run", "replay.yaml", "Why?")
    assert (replayed.exit_code, replayed.stdout) == (0, recorded.stdout)


def test_a_record_that_cannot_be_written_is_refused_before_any_call(
    moa: Moa, served: SpecFile, server: FakeOpenAI
) -> None:
    result = moa("run", served([], "ok"), "Why?", "--record", "no/such/folder.jsonl")
    assert result.exit_code == 2
    assert "--record" in result.stderr
    assert server.count() == 0


def test_an_interrupted_run_says_what_it_took(
    moa: Moa, served: SpecFile, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Timer, "start", lambda _: None)

    def interrupt() -> None:
        if server.wait_for(lambda: server.count("hang") == 1, 30):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = moa("run", served([], "hang"), "Why?")
    thread.join()
    assert result.exit_code == 130
    assert result.stdout == ""
    assert "error: the run was interrupted\nhint: 1 call was under way" in result.stderr
    assert "paid for: 1 call," in result.stderr
