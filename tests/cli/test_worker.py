"""`moa worker` as processes of their own, which share a queue and may be killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from moa_graph.server.asking import Served
from moa_graph.server.opening import open_served
from moa_graph.server.settings import Settings
from moa_graph.spec.loading import load_spec
from tests.cli.conftest import Moa, SpecFile
from tests.cli.terminal import MOA, environment
from tests.fakes.openai_server import FakeOpenAI
from tests.server.backstage import at_last, made, standing, submit

THREADS = [f"local/resp/{number}" for number in range(4)]


@pytest.fixture
def spec(served: SpecFile) -> str:
    """Write a spec whose second proposer waits for the test."""
    return served([["ok@a", "gate@b"]], "ok@z")


@contextmanager
def working(spec: str, db: str, cwd: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker, wait until it works, and kill it at the end if it still runs."""
    process = subprocess.Popen(
        [*MOA, "worker", spec, "--db", db, *options],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "working for 1 model: test\n"
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@asynccontextmanager
async def queueing(spec: Path, db: str) -> AsyncIterator[Served]:
    """Give what a server shares that works on no turn itself."""
    async with open_served(Settings(db=db, background=0), [load_spec(spec)]) as served:
        yield served


@pytest.mark.postgres
async def test_what_a_killed_worker_was_in_the_middle_of_another_ends_and_pays_for_nothing_twice(
    spec: str, database: str, tmp_path: Path, server: FakeOpenAI
) -> None:
    async with queueing(tmp_path / spec, database) as served:
        for thread in THREADS:
            await submit(served, thread)
        with working(spec, database, tmp_path, "--concurrency", "2") as worker:
            for thread in THREADS[:2]:
                await made(served, "layer-1/ok-a", thread)
            assert await server.started("gate@b", 2)
            worker.kill()
        server.release("gate@b")
        with working(spec, database, tmp_path):
            for thread in THREADS:
                run = await at_last(served, "answered", thread, patience=60.0)
                assert (run.answer or "").startswith("Answer of ok@z")
    assert (server.count("ok@a"), server.count("ok@z")) == (4, 4)
    assert server.count("gate@b") == 4 + 2, "only what was in flight is asked again"


@pytest.mark.postgres
async def test_a_worker_that_is_to_end_waits_for_what_is_under_way(
    spec: str, database: str, tmp_path: Path, server: FakeOpenAI
) -> None:
    async with queueing(tmp_path / spec, database) as served:
        with working(spec, database, tmp_path) as worker:
            await submit(served)
            assert await server.started("gate@b")
            worker.send_signal(signal.SIGTERM)
            assert worker.stderr is not None
            assert "waiting for what is under way" in await asyncio.to_thread(worker.stderr.readline)
            server.release("gate@b")
            assert await asyncio.to_thread(worker.wait, 20) == 0
            assert await asyncio.to_thread(worker.stderr.read) == ""
        assert (await standing(served)).status == "answered"


@pytest.mark.postgres
async def test_a_worker_ends_within_ten_seconds_and_puts_back_what_lasts_longer(
    spec: str, database: str, tmp_path: Path, server: FakeOpenAI
) -> None:
    async with queueing(tmp_path / spec, database) as served:
        with working(spec, database, tmp_path) as worker:
            await submit(served)
            assert await server.started("gate@b")
            began = time.monotonic()
            worker.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(worker.wait, 20) == 0
            assert time.monotonic() - began < 10
        run = await standing(served)
        assert (run.status, run.reason) == ("interrupted", "queued")
        assert await server.disconnected("gate@b")
        server.release("gate@b")
        with working(spec, database, tmp_path):
            await at_last(served, "answered", patience=30.0)
    assert server.count("ok@a") == 1


@pytest.mark.postgres
async def test_a_second_signal_ends_a_worker_at_once(
    spec: str, database: str, tmp_path: Path, server: FakeOpenAI
) -> None:
    async with queueing(tmp_path / spec, database) as served:
        with working(spec, database, tmp_path) as worker:
            await submit(served)
            assert await server.started("gate@b")
            worker.send_signal(signal.SIGTERM)
            assert worker.stderr is not None
            await asyncio.to_thread(worker.stderr.readline)
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait, 5) == 128 + signal.SIGTERM


def test_a_store_that_no_other_process_shares_needs_no_worker(spec: str, moa: Moa) -> None:
    result = moa("worker", spec, "--db", "sqlite:///moa.db")
    assert result.exit_code == 2
    assert "a worker takes its runs from PostgreSQL" in result.stderr
    assert "--db postgresql://" in result.stderr


def test_a_missing_package_is_named_with_what_installs_it(
    spec: str, moa: Moa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    handler = signal.getsignal(signal.SIGTERM)
    result = moa("worker", spec, "--db", "postgresql://localhost/moa")
    assert result.exit_code == 2
    assert "pip install 'moa-graph[worker]'" in result.stderr
    assert signal.getsignal(signal.SIGTERM) is handler
