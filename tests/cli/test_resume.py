from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Moa, SpecFile
from tests.cli.terminal import MOA, environment, on_terminal
from tests.cli.test_run import KEYS
from tests.fakes.openai_server import FakeOpenAI

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def start(spec: str, server: FakeOpenAI, cwd: Path, gate: str, *options: str) -> subprocess.Popen[str]:
    """Begin a thread t1 in a process of its own; return when it waits at a gate."""
    process = subprocess.Popen(
        [*MOA, "run", spec, "Why?", "--thread", "t1", "--quiet", *options],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    if not server.wait_for(lambda: server.count(gate) == 1, 60):
        process.kill()
        pytest.fail(f"it did not come to the gate: {process.communicate()}")
    return process


def test_a_failed_call_is_tried_again_and_nothing_else(
    moa: Moa, served: SpecFile, server: FakeOpenAI
) -> None:
    spec = served([["ok@a", "ok@b"]], "fail-1-then-ok@z")
    failed = moa("run", spec, "Why?", "--thread", "t1")
    assert failed.exit_code == 1
    resumed = moa("resume", "t1")
    assert resumed.exit_code == 0
    assert resumed.stdout.startswith("Answer of fail-1-then-ok@z")
    assert "thread t1: answered by fail-1-then-ok-z: 4 calls" in resumed.stderr, "the whole turn's"
    assert (server.count("ok@a"), server.count("ok@b"), server.count("fail-1-then-ok@z")) == (1, 1, 2)


def test_proposals_of_a_layer_that_failed_are_kept_from_before(
    moa: Moa, served: SpecFile, server: FakeOpenAI
) -> None:
    spec = served([{"name": "draft", "proposers": ["ok@a", "fail-1-then-ok@b"], "quorum": 2}], "ok@z")
    failed = moa("run", spec, "Why?", "--thread", "t1")
    assert failed.exit_code == 1
    assert "To go on: moa resume t1" in failed.stderr
    resumed = moa("resume", "t1")
    assert "draft/ok-a: kept from before\n" in resumed.stderr
    assert "draft/fail-1-then-ok-b: done in" in resumed.stderr
    assert "answered by ok-z: 4 calls" in resumed.stderr
    assert server.count() == 4


def test_an_answered_thread_gives_its_answer_at_once(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    answer = moa("run", served([["ok@a"]], "ok@z"), "Why?", "--thread", "t1").stdout
    for options in ([], ["--stream"], ["--quiet"]):
        result = moa("resume", "t1", *options)
        assert (result.exit_code, result.stdout) == (0, answer)
    assert server.count() == 2


def test_resume_takes_the_views_of_run(moa: Moa, served: SpecFile) -> None:
    moa("run", served([["ok@a"]], "ok@z"), "Why?", "--thread", "t1", "--breakpoint", "aggregator")
    shown = moa("resume", "t1", "--stream", "--show-proposals")
    assert shown.stdout.startswith("Answer of ok@z")
    assert "── layer-1/ok-a (openai:ok@a)\nAnswer of ok@a" in shown.stderr
    record = json.loads(moa("resume", "t1", "--json").stdout)
    assert list(record) == KEYS
    assert (record["thread"], record["status"]) == ("t1", "answered")


def test_breakpoints_stop_a_resumed_thread_again(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    moa("run", served([["ok@a"], ["ok@b"]], "ok@z"), "Why?", "--thread", "t1", "--breakpoint", "layer-2")
    result = moa("resume", "t1", "--breakpoint", "aggregator")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("interrupted before aggregator: moa resume t1\n")
    assert "thread t1: paid for: 2 calls" in result.stderr
    assert server.count() == 2


def test_an_unknown_thread_is_refused(moa: Moa, served: SpecFile) -> None:
    result = moa("resume", "nobody", "--json")
    assert result.exit_code == 2
    record = json.loads(result.stdout)
    assert (record["thread"], record["error"]["type"]) == ("nobody", "ThreadError")
    assert "there is no thread 'nobody'" in result.stderr


@pytest.mark.parametrize("command", ["resume", "step"])
def test_wrong_usage_is_one_object_too(moa: Moa, command: str) -> None:
    assert moa(command).exit_code == 2
    result = moa(command, "t1", "--nonsense", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "UsageError"
    assert moa(command, "t1", "--stream", "--json").exit_code == 2
    assert moa(command, "t1", "--quiet", "--show-proposals").exit_code == 2


def test_the_pinned_spec_is_checked_on_demand(moa: Moa, served: SpecFile, server: FakeOpenAI) -> None:
    spec = served([["ok@a"]], "ok@z")
    moa("run", spec, "Why?", "--thread", "t1", "--breakpoint", "aggregator")
    calls = server.count()
    other = moa("resume", "t1", "--spec", served([["ok@a"]], "ok@y", name="other.yaml"))
    assert other.exit_code == 2
    assert "thread 't1' was made by another spec; nothing was called" in other.stderr
    assert "-    model: openai:ok@z\n" in other.stderr
    assert "+    model: openai:ok@y\n" in other.stderr
    assert server.count() == calls
    assert moa("resume", "t1", "--spec", "missing.yaml").exit_code == 2
    assert moa("resume", "t1", "--spec", spec).exit_code == 0


def test_a_busy_thread_is_refused_within_2_seconds(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    with start(served([], "gate"), server, tmp_path, "gate") as process:
        began = time.monotonic()
        result = moa("resume", "t1")
        assert time.monotonic() - began < 2
        assert result.exit_code == 3
        assert "error: thread 't1' is run by somebody else" in result.stderr
        assert json.loads(moa("resume", "t1", "--json").stdout)["error"]["type"] == "ThreadBusy"
        server.release("gate")
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("Answer of gate")
    assert server.count() == 1


def test_wait_waits_for_a_busy_thread_and_says_so(
    served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    with start(served([["ok@a"]], "gate"), server, tmp_path, "gate") as first:
        second = subprocess.Popen(
            [*MOA, "resume", "t1", "--wait"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        with second:
            assert second.stderr is not None
            assert second.stderr.readline() == "thread t1 is run by somebody else: waiting\n"
            server.release("gate")
            answer, _ = first.communicate(timeout=60)
            out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (0, answer)
    assert "waiting" not in err
    assert "answered by gate: 2 calls" in err
    assert server.count() == 2


def test_after_a_kill_the_thread_goes_on_without_repeats(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    spec = served([["ok@a"], ["ok@b"]], "gate@z")
    with start(spec, server, tmp_path, "gate@z") as process:
        process.send_signal(signal.SIGKILL)
    server.release("gate@z")
    result = moa("resume", "t1")
    assert result.exit_code == 0
    assert "answered by gate-z: 3 calls" in result.stderr, "what was under way is not known to be paid for"
    assert (server.count("ok@a"), server.count("ok@b"), server.count("gate@z")) == (1, 1, 2)


def test_a_terminal_shows_restored_proposals_as_done(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    spec = served(
        [["ok@a", "400"], {"name": "refine", "proposers": ["ok@b", "fail-1-then-ok@c"], "quorum": 2}], "ok@z"
    )
    assert moa("run", spec, "Why?", "--thread", "t1", "-q").exit_code == 1
    code, output = on_terminal("resume", "t1", cwd=tmp_path)
    shown = _ESCAPES.sub("", output)
    assert code == 0, shown
    last = shown[shown.rindex("layer-1  ") :]
    assert re.search(r"✓ ok-a +done +[\d.]+ m?s +\d+ → \d+", last)
    assert re.search(r"✗ 400 +failed", last)
    assert re.search(r"✓ ok-b +done +[\d.]+ m?s", last)
    assert re.search(r"✓ fail-1-then-ok-c +done", last)
    assert "refine" in last
    assert "answered by ok-z: 6 calls" in last
    assert server.count() == 6
