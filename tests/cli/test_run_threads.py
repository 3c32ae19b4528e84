from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from moa_graph.errors import StoreError
from moa_graph.runs import threads
from moa_graph.runs.commands import shell_word
from moa_graph.runs.sqlite import _SqliteStore
from moa_graph.runs.stores import Store, open_store
from tests.cli.conftest import Moa, SpecFile
from tests.cli.terminal import MOA, environment
from tests.cli.test_run import KEYS
from tests.fakes.openai_server import FakeOpenAI


def test_a_thread_gives_the_same_answer_and_the_same_view(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a", "ok@b"]], "ok@z")
    plain, threaded = moa("run", spec, "Why?"), moa("run", spec, "Why?", "--thread", "t1")
    assert threaded.exit_code == 0
    assert threaded.stdout == plain.stdout
    timeless = [re.sub(r"[\d.]+ m?s", "", result.stderr).splitlines()[:-1] for result in (plain, threaded)]
    assert sorted(timeless[0]) == sorted(timeless[1])
    assert threaded.stderr.splitlines()[-1].startswith("thread t1: answered by ok-z: 3 calls")


def test_json_has_the_same_keys_with_and_without_a_thread(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a", "400"]], "ok@z")
    record = json.loads(moa("run", spec, "Why?", "--thread", "t1", "--json").stdout)
    assert list(record) == KEYS
    assert (record["status"], record["thread"], record["saved"]) == ("answered", "t1", True)
    assert (record["next_layer"], record["calls_left"], record["cost_left"]) == (None, 0, 0.0)
    assert (record["calls"], record["answered_by"]) == (3, "ok-z")
    assert record["turn"]
    assert [proposal["status"] for proposal in record["proposals"]] == ["ok", "failed"]


def test_streaming_from_a_thread_writes_the_same_answer(
    moa: Moa, served: SpecFile, server: FakeOpenAI
) -> None:
    spec = served([["ok@a"]], "ok@z")
    whole, streamed = moa("run", spec, "Why?"), moa("run", spec, "Why?", "--stream", "--thread", "t1")
    assert streamed.stdout == whole.stdout
    assert [request.stream for request in server.of("ok@z")] == [False, True]


def test_a_streamed_attempt_of_a_thread_that_fails_is_declared_void(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a"]], {"model": "cut-clean", "fallbacks": ["ok@z"]})
    result = moa("run", spec, "Why?", "--stream", "--thread", "t1")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    assert "what was written of the answer is void" in result.stderr


def test_a_store_alone_makes_a_thread_and_says_its_name(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    result = moa("run", served([], "ok"), "Why?", "--db", "sqlite:///here.db")
    named = re.search(r"^thread (t-[0-9a-f]{12}): answered by ok: 1 call,", result.stderr, re.MULTILINE)
    assert named
    assert (tmp_path / "here.db").exists()
    again = moa("resume", named[1], "--db", "sqlite:///here.db")
    assert (again.exit_code, again.stdout) == (0, result.stdout)
    assert server.count() == 1


def test_the_environment_alone_opens_no_store(
    moa: Moa, served: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOA_DB", "sqlite:///env.db")
    spec = served([], "ok")
    assert json.loads(moa("run", spec, "Why?", "--json").stdout)["thread"] is None
    assert not list(tmp_path.glob("*.db"))
    stopped = moa("run", spec, "Why?", "--thread", "t1", "--breakpoint", "aggregator")
    assert (tmp_path / "env.db").exists()
    assert stopped.stderr.endswith("interrupted before aggregator: moa resume t1\n"), "the variable is set"
    assert moa("resume", "t1").exit_code == 0
    arguments = ("run", spec, "Why?", "--db", "sqlite:///moa.db", "--breakpoint", "all")
    assert "moa resume --db sqlite:///moa.db t1\n" in moa(*arguments, "--thread", "t1").stderr
    assert moa(*arguments, "--thread", "t2", "--quiet").stderr == ""


@pytest.mark.parametrize(
    "options", [["--turn", "q1"], ["--breakpoint", "all"], ["--abandon"], ["--wait"], ["--key-env", "KEY"]]
)
def test_options_of_threads_need_one(
    moa: Moa, served: SpecFile, server: FakeOpenAI, options: list[str]
) -> None:
    result = moa("run", served([], "ok"), "Why?", *options)
    assert result.exit_code == 2
    assert f"Invalid value for {options[0]}: this needs a thread" in result.stderr
    assert server.count() == 0


def test_a_second_question_sees_the_conversation(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    spec = served([["ok@a"]], "ok@z")
    first = moa("run", spec, "Why?", "--thread", "t1")
    second = moa("run", spec, "And then?", "--thread", "t1")
    assert second.exit_code == 0
    assert [message["content"] for message in server.of("ok@a")[1].messages] == [
        "Why?",
        first.stdout.strip(),
        "And then?",
    ]
    assert "thread t1: answered by ok-z: 2 calls" in second.stderr, "a turn pays for itself alone"


def test_a_named_turn_is_paid_for_once(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    spec = served([["ok@a"]], "ok@z")
    arguments = ("run", spec, "Why?", "--thread", "t1", "--turn", "q1")
    first, again = moa(*arguments), moa(*arguments)
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert server.count() == 2
    other = moa("run", spec, "What?", "--thread", "t1", "--turn", "q1")
    assert other.exit_code == 2
    assert "asked something else" in other.stderr


def test_a_named_turn_goes_on_where_it_was(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    spec = served([["ok@a"]], "ok@z")
    arguments = ("run", spec, "Why?", "--thread", "t1", "--turn", "q1")
    assert moa(*arguments, "--breakpoint", "aggregator").stdout == ""
    result = moa(*arguments)
    assert result.exit_code == 0
    assert "thread t1: answered by ok-z: 2 calls" in result.stderr
    assert server.count() == 2


def test_an_unanswered_question_is_given_up_on_demand_only(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a"]], "ok@z")
    moa("run", spec, "Why?", "--thread", "t1", "--breakpoint", "aggregator")
    refused = moa("run", spec, "What?", "--thread", "t1")
    assert refused.exit_code == 2
    assert "has no answer yet" in refused.stderr
    assert moa("run", spec, "What?", "--thread", "t1", "--abandon").exit_code == 0


def test_a_breakpoint_stops_before_its_step_and_says_how_to_go_on(
    moa: Moa, served: SpecFile, server: FakeOpenAI
) -> None:
    spec = served(
        [{"name": "draft", "proposers": ["ok@a", "ok@b"]}, {"name": "refine", "proposers": ["ok@c"]}],
        "ok@z",
        slot={"price": {"input": 1.0, "output": 2.0}, "max_tokens": 100},
    )
    result = moa("run", spec, "Why?", "--thread", "t1", "--breakpoint", "refine")
    assert (result.exit_code, result.stdout) == (0, "")
    lines = result.stderr.splitlines()
    assert lines[-3].startswith("thread t1: paid for: 2 calls")
    assert re.fullmatch(r"left: 2 calls, cost at most \$0\.\d+", lines[-2])
    assert lines[-1] == "interrupted before refine: moa resume t1"
    assert server.count() == 2
    again = moa("run", spec, "Why?", "--thread", "t2", "--breakpoint", "refine", "--json")
    record = json.loads(again.stdout)
    assert (record["status"], record["reason"], record["answer"]) == ("interrupted", "before refine", None)
    assert (record["next_layer"], record["calls_left"], record["calls"]) == ("refine", 2, 2)
    assert record["cost_left"] > 0
    assert "error" not in record


def test_an_unknown_step_is_refused_before_any_call(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    result = moa("run", served([["ok"]], "ok"), "Why?", "--thread", "t1", "--breakpoint", "refine")
    assert result.exit_code == 2
    assert "there is no step 'refine'" in result.stderr
    assert server.count() == 0


def test_a_failed_run_says_what_is_kept_and_how_to_go_on(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a"]], "500")
    result = moa("run", spec, "Why?", "--thread", "my t1", "--json")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert list(record) == [*KEYS, "error"]
    assert (record["status"], record["thread"], record["next_layer"]) == ("failed", "my t1", "aggregator")
    assert (record["calls"], record["calls_left"], record["saved"]) == (2, 1, True)
    assert record["reason"].startswith("AggregatorFailed: ")
    assert [call["status"] for call in record["aggregators"]] == ["failed"]
    assert record["error"]["type"] == "AggregatorFailed"
    assert record["error"]["hint"].endswith("To go on: moa resume 'my t1'")
    assert "thread my t1: paid for: 2 calls" in result.stderr


def test_a_missing_key_can_be_set_and_the_thread_gone_on_with(
    moa: Moa, served: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = served([["ok"]], "ok", slot={"api_key_env": "MOA_NO_SUCH_KEY"})
    result = moa("run", spec, "Why?", "--thread", "t1")
    assert result.exit_code == 2
    assert "MOA_NO_SUCH_KEY" in result.stderr
    assert "To go on: moa resume t1" in result.stderr
    monkeypatch.setenv("MOA_NO_SUCH_KEY", "secret")
    assert moa("resume", "t1").exit_code == 0


def test_a_fault_in_the_spec_names_the_thread_and_makes_no_store(
    moa: Moa, served: SpecFile, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("moa: 1\nname: x\nmodel: {}\n")
    result = moa("run", "bad.yaml", "Why?", "--thread", "t1", "--json")
    assert result.exit_code == 2
    record = json.loads(result.stdout)
    assert (record["thread"], record["error"]["type"]) == ("t1", "SpecError")
    assert not (tmp_path / "moa.db").exists()


def test_another_spec_is_refused_with_the_difference(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    moa("run", served([["ok@a"]], "ok@z"), "Why?", "--thread", "t1")
    server.reset()
    result = moa("run", served([["ok@a"]], "ok@y", name="other.yaml"), "And?", "--thread", "t1", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "SpecMismatch"
    assert "-    model: openai:ok@z\n" in result.stderr
    assert "+    model: openai:ok@y\n" in result.stderr
    assert server.count() == 0


def test_an_answer_that_the_store_fails_to_keep_is_printed_and_flagged(
    moa: Moa, served: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = served([], "ok")
    write = _SqliteStore.write

    async def fail(self: _SqliteStore, key: str, record: dict[str, object]) -> None:
        if record["turns"][-1]["status"] == "answered":  # type: ignore[index]
            raise StoreError("disk full")
        await write(self, key, record)

    monkeypatch.setattr(_SqliteStore, "write", fail)
    result = moa("run", spec, "Why?", "--thread", "t1")
    assert result.exit_code == 0
    assert result.stdout.startswith("Answer of ok")
    assert "the answer is not saved: disk full" in result.stderr
    quiet = moa("run", spec, "Why?", "--thread", "t2", "--quiet", "--json")
    assert quiet.exit_code == 0
    assert json.loads(quiet.stdout)["saved"] is False
    assert "the answer is not saved: disk full" in quiet.stderr


def test_a_store_that_fails_before_the_answer_ends_the_run_with_what_was_paid(
    moa: Moa, served: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moa.db").write_text("this is no database, and long enough to be taken for one" * 100)
    result = moa("run", served([], "ok"), "Why?", "--thread", "t1", "--json")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert (record["error"]["type"], record["saved"], record["calls"]) == ("StoreError", False, 0)
    assert "moa resume" not in record["error"]["hint"], "nothing has begun"


def test_a_store_that_fails_at_the_end_takes_no_answer_away(
    moa: Moa, served: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def failing(url: str, **options: Any) -> AsyncIterator[Store]:
        async with open_store(url, **options) as store:
            yield store
        raise StoreError("gone")

    monkeypatch.setattr(threads, "open_store", failing)
    assert moa("run", served([], "ok"), "Why?", "--thread", "t1").stdout.startswith("Answer of ok")


def test_an_address_that_names_no_store_is_refused_without_its_password(moa: Moa, served: SpecFile) -> None:
    result = moa("run", served([], "ok"), "Why?", "--db", "mysql://me:hunter2@host/db")
    assert result.exit_code == 2
    assert "names no store" in result.stderr
    assert "hunter2" not in result.output


def test_a_recorded_thread_replays(moa: Moa, served: SpecFile, tmp_path: Path) -> None:
    spec = served([["ok@a"]], "ok@z")
    moa("run", spec, "Why?", "--thread", "t1", "--record", "run.jsonl", "--breakpoint", "aggregator")
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 1
    answer = moa("resume", "t1", "--record", "run.jsonl").stdout
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 2, "what is restored is not called"
    document = json.loads((tmp_path / spec).read_text())
    document["models"] = {slot: {"model": "replay:run.jsonl"} for slot in document["models"]}
    (tmp_path / "replay.yaml").write_text(json.dumps(document))
    assert moa("run", "replay.yaml", "Why?").stdout == answer


@pytest.mark.parametrize("thread", ["it's; rm -rf", "-x", "a\nb\x1b[31m\u202e", "ü'\\\n", "日本"])
def test_any_thread_id_is_shown_safely_and_its_hint_can_be_typed(
    moa: Moa, served: SpecFile, thread: str
) -> None:
    spec = served([["ok@a"]], "ok@z")
    result = moa("run", spec, "Why?", f"--thread={thread}", "--breakpoint", "aggregator")
    assert result.exit_code == 0, result.stderr
    assert not {"\x1b", "\u202e"} & set(result.stderr)
    hint = result.stderr.splitlines()[-1].removeprefix("interrupted before aggregator: ")
    script = f'moa() {{ printf "%s\\0" "$@"; }}; {hint}'
    typed = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    arguments = typed.decode().split("\0")[:-1]
    assert arguments[-1] == thread
    assert moa(*arguments).exit_code == 0


def test_bytes_that_are_no_text_keep_their_value_in_a_hint() -> None:
    assert shell_word(os.fsdecode(b"a\xff")) == r"$'a\xff'"
    assert shell_word("\ud800") == r"$'\xed\xa0\x80'"
    assert shlex.split(shell_word("two words")) == ["two words"]


def test_an_interrupted_thread_keeps_what_finished_and_says_how_to_go_on(
    served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    spec = served([["ok@a", "gate@b"]], "ok@z")
    database = f"sqlite:///{tmp_path}/my threads.db"
    process = subprocess.Popen(
        [*MOA, "run", spec, "Why?", "--thread", "t 1", "--db", database],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert process.stderr is not None
    try:
        next(line for line in process.stderr if "ok-a: done" in line)
        assert server.wait_for(lambda: server.count("gate@b") == 1, 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err, err
    assert "error: the run was interrupted\nhint: 1 call was under way and may be billed, too." in err
    command = f"moa resume --db {shlex.quote(database)} 't 1'"
    assert f"What is done is kept: {command}\n" in err
    assert "thread t 1: paid for: 2 calls" in err
    server.release("gate@b")
    line = command.replace("moa", shlex.join(MOA), 1)
    resumed = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        timeout=60,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.startswith("Answer of ok@z")
    assert "layer-1/ok-a: kept from before" in resumed.stderr
    assert (server.count("ok@a"), server.count("gate@b")) == (1, 2)


def test_json_of_an_interrupted_thread_says_so(served: SpecFile, server: FakeOpenAI, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*MOA, "run", served([], "hang"), "Why?", "--thread", "t1", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
        text=True,
    )
    try:
        assert server.wait_for(lambda: server.count("hang") == 1, 60)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    record = json.loads(out)
    assert (record["status"], record["reason"], record["saved"]) == ("interrupted", "cancelled", True)
    assert (record["thread"], record["error"]["type"]) == ("t1", "Interrupted")
    assert "moa resume t1" in record["error"]["hint"]


def test_a_key_encrypts_the_thread(
    moa: Moa, served: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOA_TEST_KEY", "0123456789abcdef")
    result = moa(
        "run",
        served([], "ok"),
        "A secret?",
        "--thread",
        "t1",
        "--key-env",
        "MOA_TEST_KEY",
        "--breakpoint",
        "all",
    )
    assert result.stderr.endswith("interrupted before aggregator: moa resume --key-env MOA_TEST_KEY t1\n")
    with sqlite3.connect(tmp_path / "moa.db") as connection:
        dump = "\n".join(map(str, connection.execute("SELECT * FROM moa_threads").fetchall()))
    assert "A secret?" not in dump
    assert moa("resume", "t1", "--key-env", "MOA_TEST_KEY").exit_code == 0
