"""What the tests of stores share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from textwrap import dedent

import pytest

from moa_graph.runs.stores import Store, open_store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_python() -> Callable[..., str]:
    """Run a script in a process of its own, with variables of the environment; return what it prints."""

    def run(script: str, *arguments: str, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", dedent(script), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            # With a limit on files, or killed, it would leave half a file of coverage behind.
            env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")} | variables,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give an empty store of each kind; whoever makes a `Runs` of its own on it is a process of its own."""
    async with open_store(
        "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/moa.db"
    ) as opened:
        yield opened
