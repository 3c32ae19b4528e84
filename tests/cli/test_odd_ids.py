"""Threads whose ids a shell, a terminal or an option parser would take for something else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Moa, SpecFile
from tests.cli.terminal import environment
from tests.fakes.openai_server import FakeOpenAI

ODD = ["a  b", "it's", "-dash", "🍵", "new\nline", "esc\x1b[31m"]


@pytest.mark.parametrize("thread", ODD)
def test_what_is_hinted_can_be_typed(moa: Moa, served: SpecFile, server: FakeOpenAI, thread: str) -> None:
    spec = served([["ok@a"]], "ok@z")
    moa("run", spec, "Why?", f"--thread={thread}", "--breakpoint", "aggregator")
    refused = moa("run", spec, "What?", f"--thread={thread}")
    typed = refused.stderr.partition("Go on with it (`")[2].partition("`)")[0]
    assert typed.startswith("moa resume ")
    resumed = subprocess.run(
        ["bash", "-c", typed.replace("moa", '"$PYTHON" -m moa_graph', 1)],
        capture_output=True,
        text=True,
        check=False,
        env=environment({"PYTHON": sys.executable}),
        timeout=60,
    )
    assert resumed.stdout.startswith("Answer of ok@z"), resumed.stderr
    assert server.count() == 2


def test_an_id_is_shown_so_that_it_can_be_typed(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a"]], "ok@z")
    for thread in ("a  b", "new\nline"):
        moa("run", spec, "Why?", f"--thread={thread}")
    listed = moa("threads").stdout
    assert "a  b" in listed
    assert "$'new\\x0aline'" in listed
    assert moa("fork", "a  b").stdout == "a  b~1\n"


def complete(line: str, cwd: Path) -> list[str]:
    """Return what bash offers at the end of a line."""
    extra = {"_MOA_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = subprocess.run(
        [Path(sys.executable).with_name("moa")],
        cwd=cwd,
        env={**os.environ, **extra},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split("\n")[:-1]


def test_bash_completes_ids_that_can_be_typed(moa: Moa, served: SpecFile, tmp_path: Path) -> None:
    spec = served([["ok@a"]], "ok@z")
    for thread in ("t 1", "t$2", "-t", "t\n3"):
        moa("run", spec, "Why?", f"--thread={thread}", "--db", "sqlite:///odd.db")
    assert set(complete("moa status --db sqlite:///odd.db t", tmp_path)) == {"t\\ 1", "t\\$2"}
    assert complete("moa status --db sqlite:///odd.db -- -", tmp_path) == ["-t"]
