"""Run an example as a user does: a process of its own, from the root of the repository, without a key."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NO_KEY", "ROOT", "run_at_a_terminal", "run_example", "run_without", "running"]

ROOT = Path(__file__).parents[2]
NO_KEY = "No OPENAI_API_KEY: a scripted stand-in (no LLM) calls the tools."

_WITHOUT = (
    "import runpy, sys; sys.modules[sys.argv[1]] = None; runpy.run_path(sys.argv[2], run_name='__main__')"
)


def run_example(name: str) -> list[str]:
    """Return the lines that an example prints; it must end well and complain of nothing."""
    done = _run("-W", "error", f"examples/{name}.py")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def run_without(package: str, name: str) -> str:
    """Return what an example says where a package is missing; it must refuse to run."""
    done = _run("-c", _WITHOUT, package, f"examples/{name}.py")
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def run_at_a_terminal(name: str, typed: str) -> list[str]:
    """Return the lines that an example prints when somebody types at its terminal."""
    theirs, ours = pty.openpty()
    try:
        os.write(theirs, typed.encode())
        done = _run("-W", "error", f"examples/{name}.py", stdin=ours)
    finally:
        os.close(theirs)
        os.close(ours)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@contextmanager
def running(name: str, *arguments: str, until: str) -> Iterator[re.Match[str]]:
    """Start an example that serves, give the match of the line that says so, and end it."""
    command = [sys.executable, f"examples/{name}.py", *arguments]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **quiet) as process:
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if found := re.search(until, line):
                    break
            else:
                raise AssertionError("".join(said))
            yield found
        finally:
            process.kill()


def _run(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, stdin=stdin, capture_output=True, text=True, timeout=60, check=False
    )
