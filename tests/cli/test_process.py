"""The program as a process: pipes, terminals, signals."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import SpecFile
from tests.cli.terminal import MOA, environment, on_terminal, piped
from tests.fakes.openai_server import FakeOpenAI

ROOT = Path(__file__).parents[2]
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_the_quickstart_answers_from_a_document(tmp_path: Path) -> None:
    document = tmp_path / "moss.md"
    document.write_text("Moss has no roots. It takes up water through its leaves.\n\nFerns have roots.\n")
    question = "How does moss take up water?"
    result = piped(
        "run", str(ROOT / "graphs" / "quickstart.yaml"), question, "--context", str(document), cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert b"water through its leaves" in result.stdout
    assert b"answered by" in result.stderr


def test_a_terminal_shows_a_live_row_for_each_proposer(served: SpecFile, tmp_path: Path) -> None:
    spec = served([["ok-slow-0.4@a", "400"], ["ok@b"]], "ok@z")
    code, output = on_terminal("run", spec, "Why?", cwd=tmp_path)
    shown = _ESCAPES.sub("", output)
    assert code == 0
    assert re.search(r"▸ ok-slow-0.4-a +running +[\d.]+ m?s", shown), "a row while its call runs"
    assert re.search(r"· ok-b +waiting", shown)
    assert re.search(r"✓ ok-slow-0.4-a +done +[\d.]+ s +\d+ → \d+ +\S*\$0", shown)
    assert re.search(r"✗ 400 +failed +.*bad_request", shown)
    assert "Answer of ok@z" in shown
    assert "answered by ok-z: 4 calls" in shown.splitlines()[-2]
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l"), "the cursor is given back"


def test_on_a_terminal_the_live_rows_end_before_the_streamed_answer(served: SpecFile, tmp_path: Path) -> None:
    code, output = on_terminal("run", served([["ok@a"]], "ok@z"), "Why?", "--stream", cwd=tmp_path)
    assert code == 0
    after = output[output.index("Answer of ok@z") :]
    assert "\x1b" not in after


def test_a_dumb_terminal_gets_plain_lines(served: SpecFile, tmp_path: Path) -> None:
    code, output = on_terminal(
        "run", served([["ok@a"]], "ok@z"), "Why?", cwd=tmp_path, extra={"TERM": "dumb"}
    )
    assert code == 0
    assert "\x1b" not in output
    assert "layer-1: 1 of 1 proposals" in output


def _interrupted(
    spec: str, server: FakeOpenAI, cwd: Path, number: int, *options: str, timed: bool = False
) -> tuple[int, str, str, float]:
    """Send a signal when one proposer is done and the other hangs; return code, stdout, stderr, seconds."""
    process = subprocess.Popen(
        [*MOA, "run", spec, "Why?", *options],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # To write down what was covered takes seconds on a busy machine: not where time counts.
        env={name: value for name, value in environment().items() if not (timed and "COVERAGE" in name)},
        text=True,
    )
    assert process.stderr is not None
    try:
        lines = ["layer-1: 2 proposers\n", next(line for line in process.stderr if "ok-a: done" in line)]
        assert server.wait_for(lambda: server.count("hang") == 1, 30)
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, "".join(lines) + err, time.monotonic() - began
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_hanging_run_within_3_seconds_and_says_what_it_took(
    number: int, code: int, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    spec = served([["ok@a", "hang"]], "ok@z")
    returned, out, err, seconds = _interrupted(spec, server, tmp_path, number, timed=True)
    assert returned == code, err
    assert seconds < 3
    assert out == ""
    assert "error: the run was interrupted" in err
    assert "1 call was under way and may be billed" in err
    assert "paid for: 2 calls" in err
    assert "Traceback" not in err, err
    assert server.wait_for(lambda: server.of("hang")[0].outcome == "disconnected", 5)


def test_an_interrupted_run_gives_its_proposals_as_json(
    served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    spec = served([["ok@a", "hang"]], "ok@z")
    returned, out, _, _ = _interrupted(spec, server, tmp_path, signal.SIGINT, "--json")
    assert returned == 130
    record = json.loads(out)
    assert record["error"]["type"] == "Interrupted"
    assert record["seconds"] == round(record["seconds"], 4)
    assert [proposal["id"] for proposal in record["proposals"]] == ["layer-1/ok-a"]


def test_a_reader_that_leaves_ends_the_program_quietly(
    replayed: Callable[[str], str], tmp_path: Path
) -> None:
    spec = replayed("word " * 30_000)
    for option in ("--stream", "--json"):
        process = subprocess.Popen(
            [*MOA, "run", spec, "Why?", "--quiet", option],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        error = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=60) in (0, 1)
        assert error == b""


def test_what_follows_an_interrupted_stream_begins_on_its_own_line(
    served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [*MOA, "run", served([], "stall"), "Why?", "--stream"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    try:
        begun = os.read(process.stdout.fileno(), 1000)
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert (begun + rest).strip()
    assert (begun + rest).endswith(b"\n")
    assert b"error: the run was interrupted" in error


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def shell(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[str], subprocess.CompletedProcess[bytes]]:
    """Run `moa` with redirections, as a shell does."""

    def run(arguments: str) -> subprocess.CompletedProcess[bytes]:
        line = " ".join([*map(shlex.quote, MOA), arguments])
        return subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            check=False,
            env=environment({"PYTHONUNBUFFERED": request.param}),
        )

    return run


Shell = Callable[[str], subprocess.CompletedProcess[bytes]]


@pytest.mark.parametrize("lost", ["2>/dev/full", "2>&-", "2> >(exec true)", "2>&- <&-"])
def test_an_answer_survives_a_stderr_that_takes_nothing(
    shell: Shell, replayed: Callable[[str], str], lost: str
) -> None:
    result = shell(f"run {replayed('The answer.')} Why? --show-proposals {lost}")
    assert (result.returncode, result.stdout) == (0, b"The answer.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(
    "command", ["run {} Why? -q", "run {} Why? --json -q", "run {} Why? --stream -q", "check {}"]
)
def test_a_stdout_that_takes_nothing_is_said(
    shell: Shell, replayed: Callable[[str], str], command: str
) -> None:
    result = shell(f"{command.format(replayed('The answer.'))} >/dev/full")
    assert (result.returncode, result.stderr) == (
        1,
        b"error: cannot write to stdout: No space left on device\n",
    )


def test_with_a_closed_stdout_nothing_is_begun(shell: Shell, served: SpecFile, server: FakeOpenAI) -> None:
    result = shell(f"run {served([], 'ok')} Why? >&-")
    assert (result.returncode, result.stderr) == (2, b"error: stdout is closed: the answer would be lost\n")
    assert server.count() == 0


def test_a_closed_stdin_is_an_empty_question(shell: Shell, replayed: Callable[[str], str]) -> None:
    result = shell(f"run {replayed('x')} - <&-")
    assert result.returncode == 2
    assert b"the question is empty" in result.stderr
    assert b"Traceback" not in result.stderr


def test_an_answer_survives_a_terminal_that_cannot_write_it(
    replayed: Callable[[str], str], tmp_path: Path
) -> None:
    result = piped("run", replayed("Größe ≥ 1"), "Why?", cwd=tmp_path, extra={"PYTHONIOENCODING": "latin-1"})
    assert (result.returncode, result.stdout) == (0, "Größe \\u2265 1\n".encode("latin-1"))


def test_help_starts_without_the_heavy_packages(tmp_path: Path) -> None:
    code = (
        "import sys; from moa_graph.cli.main import app; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    result = subprocess.run(
        [MOA[0], "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    heavy = {
        "langgraph",
        "langchain_core",
        "langchain_openai",
        "openai",
        "pydantic",
        "ruamel",
        "rich",
        "asyncio",
    }
    assert not heavy & set(result.stdout.split())
