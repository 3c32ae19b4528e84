"""What `moa serve` adds to the same mixture in process, for one client, and what keeping the answer costs."""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]

from bench.figures import Figure, no_more_than, plain
from bench.setting import QUESTION, CheckedError, checked_run, compiled, late, spec_for
from moa_graph.chat_model import MoAChatModel
from moa_graph.spec.loading import dump_spec
from moa_graph.spec.schema import MoASpec
from tests.fakes.process import ServerProcess
from tests.fakes.serving import serving

__all__ = ["Served", "Stream", "percentiles", "served_by", "stream_in_process", "tune"]

LATENCY, SHORT_LATENCY = 0.2, 0.05
ROUNDS, SHORT_ROUNDS = 30, 15
ADDED_GOAL_MS = 15.0

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
BODY = {"model": "test", "messages": [{"role": "user", "content": QUESTION}]}
STORED = {"model": "test", "input": QUESTION, "store": True}
TOKEN = b'"delta":{"content":"'
"""What a chunk with a text holds; in the very first, which says who speaks, it is the second field."""
ENDING = b"data: [DONE]\n\n"

Ask = Callable[[], Awaitable[Any]]


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure one client: the graph in process and through the server in turn, streams, and what is kept."""
    tune()
    spec = spec_for(server.base_url, late(LATENCY))
    graph = compiled(spec)
    async with served_by(spec) as served:
        ways: dict[str, Ask] = {
            "in process": lambda: checked_run(graph),
            "served": lambda: served.ask(CHAT, BODY),
        }
        walls, _ = await _in_turn(ways, ROUNDS, served)
    rows = [_added_row(walls["in process"], walls["served"])]
    rows.append(await _in_a_row(spec_for(server.base_url, late(0.0))))
    spec = spec_for(server.base_url, late(SHORT_LATENCY))
    async with served_by(spec) as served:
        return [*rows, await _first_token_row(spec, served), *await _kept_rows(served)]


def tune() -> None:
    """Have this process collect garbage as the server does, so that only the serving is compared."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


# --- the server, and what is asked of it ------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """Hold the seconds from a stream's request to its first byte, its first token and its end."""

    first_byte: float
    first_token: float
    total: float


class Served:
    """Ask a running server; connections are kept."""

    def __init__(self, session: aiohttp.ClientSession, process: psutil.Process) -> None:
        self._session = session
        self._process = process

    @property
    def cpu(self) -> float:
        """Return the CPU seconds of the server so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    @property
    def memory(self) -> int:
        """Return the bytes that the server holds."""
        return int(self._process.memory_info().rss)

    async def ask(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """Ask for a whole answer."""
        async with self._session.post(path, json=body, headers=headers) as response:
            answer = await response.json()
            if response.status != 200 or not (answer.get("choices") or answer.get("output")):
                raise CheckedError(f"{response.status}: {str(answer)[:200]}")

    async def stream(self) -> Stream:
        """Ask for a stream and read it to its end."""
        began = time.perf_counter()
        first_byte = first_token = 0.0
        content = b""
        async with self._session.post(CHAT, json={**BODY, "stream": True}) as response:
            async for data in response.content.iter_any():
                first_byte = first_byte or time.perf_counter() - began
                content += data
                if not first_token and TOKEN in content:
                    first_token = time.perf_counter() - began
        if response.status != 200 or not content.endswith(ENDING) or b'"error"' in content or not first_token:
            raise CheckedError(f"{response.status}: {content[-200:]!r}")
        return Stream(first_byte, first_token, time.perf_counter() - began)


@contextlib.asynccontextmanager
async def served_by(spec: MoASpec) -> AsyncIterator[Served]:
    """Serve a spec with `moa serve` on SQLite, and have it asked once."""
    with tempfile.TemporaryDirectory() as folder:
        path = _written(spec, Path(folder))
        with serving(path, cwd=path.parent) as running:
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=120)
            url = f"http://127.0.0.1:{running.port}"
            async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
                served = Served(session, psutil.Process(running.process.pid))
                await served.ask(CHAT, BODY)
                yield served
            running.stop()


def _written(spec: MoASpec, folder: Path) -> Path:
    path = folder / "spec.yaml"
    path.write_text(dump_spec(spec), encoding="utf-8")
    return path


async def stream_in_process(model: MoAChatModel) -> Stream:
    began = time.perf_counter()
    first = 0.0
    async for chunk in model.astream(QUESTION):
        if not first and chunk.text:
            first = time.perf_counter() - began
    if not first:
        raise CheckedError("a stream without a text")
    return Stream(first, first, time.perf_counter() - began)


# --- one client -------------------------------------------------------------------------------------


async def _in_turn(
    ways: Mapping[str, Ask], rounds: int, served: Served
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Go each way in turn; return its wall seconds, and the server's CPU seconds a request."""
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus = dict.fromkeys(ways, 0.0)
    for number in range(rounds + 1):
        for name, ask in ways.items():
            wall, cpu = time.perf_counter(), served.cpu
            await ask()
            if number:  # the first round makes connections, and imports what is imported late
                walls[name].append(time.perf_counter() - wall)
                cpus[name] += (served.cpu - cpu) / rounds
    return walls, cpus


def _added_row(alone: Sequence[float], served: Sequence[float]) -> Figure:
    added = [after - before for before, after in zip(alone, served, strict=True)]
    shown = f"{percentiles(added)} ({percentiles(served)} against {percentiles(alone)}), {len(added)} pairs"
    what = f"`moa serve`, one client, {LATENCY * 1000:g} ms models: a request over the run in process"
    return no_more_than(f"{what}, p50 / p95 / p99", median(added) * 1000, ADDED_GOAL_MS, shown, " ms at p50")


async def _in_a_row(spec: MoASpec) -> Figure:
    """Measure requests that follow each other at once on a connection, as an agent's do."""
    graph = compiled(spec)
    async with served_by(spec) as served:
        ways: dict[str, Ask] = {
            "in process": lambda: checked_run(graph),
            "served": lambda: served.ask(CHAT, BODY),
        }
        walls: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(3):
            for name, ask in ways.items():
                for _ in range(ROUNDS):
                    began = time.perf_counter()
                    await ask()
                    walls[name].append(time.perf_counter() - began)
    alone, over = (median(walls[name]) * 1000 for name in ways)
    what = "`moa serve`, one client, 0 ms models, one request at once after another"
    return no_more_than(
        f"{what}: a request over the run in process, p50",
        over - alone,
        ADDED_GOAL_MS,
        f"{over - alone:.1f} ms ({over:.1f} against {alone:.1f} ms)",
        " ms",
    )


async def _first_token_row(spec: MoASpec, served: Served) -> Figure:
    model = MoAChatModel(spec)
    ways: dict[str, Callable[[], Awaitable[Stream]]] = {
        "served": served.stream,
        "in process": lambda: stream_in_process(model),
    }
    waits: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(SHORT_ROUNDS + 1):
        for name, stream in ways.items():
            taken = (await stream()).first_token
            if number:
                waits[name].append(taken)
    over = median(after - before for after, before in zip(*waits.values(), strict=True)) * 1000
    served_ms, alone_ms = (median(each) * 1000 for each in waits.values())
    return plain(
        f"`moa serve`, one client, {SHORT_LATENCY * 1000:g} ms models: "
        "first token of a stream over `MoAChatModel.astream` in process",
        f"{over:+.1f} ms ({served_ms:.1f} against {alone_ms:.1f} ms)",
    )


async def _kept_rows(served: Served) -> list[Figure]:
    numbers = itertools.count()
    plainly, keyed, stored = (
        "a chat completion, not kept",
        "a chat completion with an Idempotency-Key, kept in SQLite",
        "a response, kept in SQLite",
    )
    ways: dict[str, Ask] = {
        plainly: lambda: served.ask(CHAT, BODY),
        keyed: lambda: served.ask(CHAT, BODY, {"Idempotency-Key": f"question-{next(numbers)}"}),
        stored: lambda: served.ask(RESPONSES, STORED),
    }
    walls, cpus = await _in_turn(ways, SHORT_ROUNDS, served)
    rows = []
    for name in ways:
        shown = f"{median(walls[name]) * 1000:.1f} ms, {cpus[name] * 1000:.1f} ms of the server's CPU"
        if name != plainly:
            over = median(after - before for after, before in zip(walls[name], walls[plainly], strict=True))
            shown += (
                f": {over * 1000:+.1f} and {(cpus[name] - cpus[plainly]) * 1000:+.1f} ms over one not kept"
            )
        rows.append(plain(f"`moa serve`, one client, {SHORT_LATENCY * 1000:g} ms models: {name}", shown))
    return rows


def percentiles(seconds: Sequence[float]) -> str:
    """Return p50, p95 and p99 in ms, each one of the values."""
    ordered = sorted(seconds)
    ranks = (ordered[math.ceil(len(ordered) * share) - 1] for share in (0.5, 0.95, 0.99))
    return f"{' / '.join(f'{value * 1000:.1f}' for value in ranks)} ms"
