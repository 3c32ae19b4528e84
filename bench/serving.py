"""What `moa serve` adds to the same mixture in process: for one client, for each store, for 200 streams."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import math
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from tests.fakes.specs import moa_spec

LATENCY, SHORT_LATENCY = 0.2, 0.05
ROUNDS, SHORT_ROUNDS = 30, 15
ADDED_GOAL_MS = 15.0

STREAMS = 200
SECONDS, SETTLED, IN_PROCESS_SECONDS = 60.0, 20.0, 10.0
GROWTH_GOAL = 5.0

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
BODY = {"model": "test", "messages": [{"role": "user", "content": QUESTION}]}
STORED = {"model": "test", "input": QUESTION, "store": True}
TOKEN = b'"delta":{"content":"'
"""What a chunk with a text holds; in the very first, which says who speaks, it is the second field."""
ENDING = b"data: [DONE]\n\n"

Ask = Callable[[], Awaitable[Any]]


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure one client: the graph in process and through the server in turn, streams, and what is kept."""
    _tune()
    spec = spec_for(server.base_url, late(LATENCY))
    graph = compiled(spec)
    async with _served(spec) as served:
        ways: dict[str, Ask] = {
            "in process": lambda: checked_run(graph),
            "served": lambda: served.ask(CHAT, BODY),
        }
        walls, _ = await _in_turn(ways, ROUNDS, served)
    rows = [_added_row(walls["in process"], walls["served"])]
    spec = spec_for(server.base_url, late(SHORT_LATENCY))
    async with _served(spec) as served:
        return [*rows, await _first_token_row(spec, served), *await _kept_rows(served)]


async def measure_streams(server: ServerProcess) -> list[Figure]:
    """Measure 200 streams at once for a minute, each followed by the next, and as many in process.

    The mixture is a smaller one, 3 proposers and an aggregator, so that it is the serving that is loaded.
    """
    _tune()
    behaviour = late(LATENCY)
    spec = moa_spec(server.base_url, [[f"{behaviour}@{number}" for number in range(3)]], f"{behaviour}@last")
    async with _served(spec) as served:
        await served.stream()
        load = _Load()
        before = served.cpu
        watching = asyncio.create_task(_watch(served, load))
        wall = await load.drive(served.stream, SECONDS)
        cpu = (served.cpu - before) / len(load.streams or [0]) * 1000
        await watching
    model = MoAChatModel(spec)
    alone = _Load()
    before = time.process_time()
    alone_wall = await alone.drive(lambda: _stream_in_process(model), IN_PROCESS_SECONDS)
    alone_cpu = (time.process_time() - before) / len(alone.streams or [0]) * 1000
    return _load_rows(load, wall, cpu, alone, alone_wall, alone_cpu)


def _tune() -> None:
    """Have this process collect garbage as the server does, so that only the serving is compared."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


# --- the server, and what is asked of it ------------------------------------------------------------


@dataclass(frozen=True)
class _Stream:
    """Hold the seconds from a stream's request to its first byte, its first token and its end."""

    first_byte: float
    first_token: float
    total: float


class _Served:
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

    async def stream(self) -> _Stream:
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
        return _Stream(first_byte, first_token, time.perf_counter() - began)


@contextlib.asynccontextmanager
async def _served(spec: MoASpec) -> AsyncIterator[_Served]:
    """Serve a spec with `moa serve` on SQLite, and have it asked once."""
    with tempfile.TemporaryDirectory() as folder:
        path = _written(spec, Path(folder))
        with serving(path, cwd=path.parent) as running:
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=120)
            url = f"http://127.0.0.1:{running.port}"
            async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
                served = _Served(session, psutil.Process(running.process.pid))
                await served.ask(CHAT, BODY)
                yield served
            running.stop()


def _written(spec: MoASpec, folder: Path) -> Path:
    path = folder / "spec.yaml"
    path.write_text(dump_spec(spec), encoding="utf-8")
    return path


async def _stream_in_process(model: MoAChatModel) -> _Stream:
    began = time.perf_counter()
    first = 0.0
    async for chunk in model.astream(QUESTION):
        if not first and chunk.text:
            first = time.perf_counter() - began
    if not first:
        raise CheckedError("a stream without a text")
    return _Stream(first, first, time.perf_counter() - began)


# --- one client -------------------------------------------------------------------------------------


async def _in_turn(
    ways: Mapping[str, Ask], rounds: int, served: _Served
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
    shown = (
        f"{_percentiles(added)} ({_percentiles(served)} against {_percentiles(alone)}), {len(added)} pairs"
    )
    what = f"`moa serve`, one client, {LATENCY * 1000:g} ms models: a request over the run in process"
    return no_more_than(f"{what}, p50 / p95 / p99", median(added) * 1000, ADDED_GOAL_MS, shown, " ms at p50")


async def _first_token_row(spec: MoASpec, served: _Served) -> Figure:
    model = MoAChatModel(spec)
    ways: dict[str, Callable[[], Awaitable[_Stream]]] = {
        "served": served.stream,
        "in process": lambda: _stream_in_process(model),
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


async def _kept_rows(served: _Served) -> list[Figure]:
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


# --- 200 streams at once ----------------------------------------------------------------------------


@dataclass
class _Load:
    """Hold what came of streams, and the server's memory as it was: at SETTLED, and at SECONDS."""

    streams: list[_Stream] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[int, int]] = field(default_factory=list)

    async def drive(self, stream: Callable[[], Awaitable[_Stream]], seconds: float) -> float:
        """Keep STREAMS streams going for so long, and wait for their ends; return wall seconds."""
        began = time.perf_counter()

        async def client() -> None:
            while time.perf_counter() - began < seconds:
                try:
                    self.streams.append(await stream())
                except Exception as error:  # noqa: BLE001 - counted and shown
                    self.errors.append(f"{type(error).__name__}: {error}")

        await asyncio.gather(*(client() for _ in range(STREAMS)))
        return time.perf_counter() - began


async def _watch(served: _Served, load: _Load) -> None:
    for seconds in (SETTLED, SECONDS - SETTLED):
        await asyncio.sleep(seconds)
        load.memory.append((served.memory, len(load.streams)))


def _load_rows(
    load: _Load, wall: float, cpu: float, alone: _Load, alone_wall: float, alone_cpu: float
) -> list[Figure]:
    what = f"`moa serve`, {STREAMS} streams at once for {SECONDS:g} s, 4 models of {LATENCY * 1000:g} ms"
    count, first = len(load.streams), f", the first: {load.errors[0][:120]}" if load.errors else ""
    shown = f"{count} streams, {len(load.errors)} errors{first}"
    rows = [Figure(what, shown, "no error", bool(count) and not load.errors)]
    if not (load.streams and alone.streams):
        return rows
    (early, before), (late_, after) = load.memory
    grown = (late_ - early) / early * 100
    each = (late_ - early) / max(1, after - before) * 1000 / 1e6
    shown = f"{early / 1e6:.0f} → {late_ / 1e6:.0f} MB, {grown:+.1f} %, {each:+.1f} MB per 1,000 streams"
    rows.append(
        no_more_than(f"{what}: memory from {SETTLED:g} s on", grown, GROWTH_GOAL, shown, " % of growth")
    )
    for name, title in {
        "first_byte": "first byte",
        "first_token": "first token",
        "total": "whole stream",
    }.items():
        times = _percentiles([getattr(stream, name) for stream in load.streams])
        other = _percentiles([getattr(stream, name) for stream in alone.streams])
        beside = "" if name == "first_byte" else f" ({other} for as many in process)"
        rows.append(plain(f"{what}: {title}, p50 / p95 / p99", f"{times}{beside}"))
    rates = f"{count / wall:.1f} streams/s; in process {len(alone.streams) / alone_wall:.1f} streams/s"
    shown = f"{cpu:.1f} ms, {cpu / alone_cpu:.2f} × in process, {alone_cpu:.1f} ms ({rates})"
    return [*rows, plain(f"{what}: CPU of a stream", shown)]


def _percentiles(seconds: Sequence[float]) -> str:
    """Return p50, p95 and p99 in ms, each one of the values."""
    ordered = sorted(seconds)
    ranks = (ordered[math.ceil(len(ordered) * share) - 1] for share in (0.5, 0.95, 0.99))
    return f"{' / '.join(f'{value * 1000:.1f}' for value in ranks)} ms"
