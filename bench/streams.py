"""200 streams at once through `moa serve` for a minute: times, memory and CPU, beside as many in process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.figures import Figure, no_more_than, plain
from bench.serving import Served, Stream, percentiles, served_by, stream_in_process, tune
from bench.setting import late
from moa_graph.chat_model import MoAChatModel
from tests.fakes.process import ServerProcess
from tests.fakes.specs import moa_spec

LATENCY = 0.2
STREAMS = 200
LOOKS, SECONDS, IN_PROCESS_SECONDS = (20.0, 40.0, 60.0), 60.0, 10.0
GROWTH_GOAL = 10.0
"""Percent between the first and the last look: the high-water mark of 200 streams is reached by and by."""


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure 200 streams at once for a minute, each followed by the next, and as many in process.

    The mixture is a smaller one, 3 proposers and an aggregator, so that it is the serving that is loaded.
    """
    tune()
    behaviour = late(LATENCY)
    spec = moa_spec(server.base_url, [[f"{behaviour}@{number}" for number in range(3)]], f"{behaviour}@last")
    async with served_by(spec) as served:
        await served.stream()
        idle, load = served.memory, _Load()
        watching = asyncio.create_task(_watch(served, load))
        await load.drive(served.stream, SECONDS, lambda: served.cpu)
        await watching
    model, alone = MoAChatModel(spec), _Load()
    await alone.drive(lambda: stream_in_process(model), IN_PROCESS_SECONDS, time.process_time)
    what = f"`moa serve`, {STREAMS} streams at once for {SECONDS:g} s, 4 models of {LATENCY * 1000:g} ms"
    count, first = len(load.streams), f", the first: {load.errors[0][:120]}" if load.errors else ""
    rows = [Figure(what, f"{count} streams, {len(load.errors)} errors{first}", "no error", not load.errors)]
    if load.streams and alone.streams:
        rows += [_memory_row(what, load, idle), *_time_rows(what, load, alone), _cpu_row(what, load, alone)]
    return rows


@dataclass
class _Load:
    """Hold what came of streams: how they went, wall and CPU seconds of all, the memory at each of LOOKS."""

    streams: list[Stream] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[int, int]] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0

    async def drive(
        self, stream: Callable[[], Awaitable[Stream]], seconds: float, cpu: Callable[[], float]
    ) -> None:
        """Keep STREAMS streams going for so long, and wait for their ends."""
        began, spent = time.perf_counter(), cpu()

        async def client() -> None:
            while time.perf_counter() - began < seconds:
                try:
                    self.streams.append(await stream())
                except Exception as error:  # noqa: BLE001 - counted and shown
                    self.errors.append(f"{type(error).__name__}: {error}")

        await asyncio.gather(*(client() for _ in range(STREAMS)))
        self.wall, self.cpu = time.perf_counter() - began, cpu() - spent

    @property
    def cpu_ms(self) -> float:
        """Return the CPU of a stream."""
        return self.cpu / len(self.streams) * 1000

    def times(self, name: str) -> str:
        """Return percentiles of one of a stream's times."""
        return percentiles([getattr(stream, name) for stream in self.streams])


async def _watch(served: Served, load: _Load) -> None:
    """Note the server's memory and how many streams ended, at each of LOOKS."""
    passed = 0.0
    for look in LOOKS:
        await asyncio.sleep(look - passed)
        passed = look
        load.memory.append((served.memory, len(load.streams)))


def _memory_row(what: str, load: _Load, idle: int) -> Figure:
    (first, before), *_, (last, after) = load.memory
    grown = (last - first) / first * 100
    each = (last - first) / max(1, after - before) / 1000
    looks = ", ".join(
        f"{held / 1e6:.0f} MB at {look:g} s" for look, (held, _) in zip(LOOKS, load.memory, strict=True)
    )
    shown = f"{idle / 1e6:.0f} MB idle, {looks}: {grown:+.1f} %, {each:+.1f} MB per 1,000 streams"
    return no_more_than(f"{what}: memory", grown, GROWTH_GOAL, shown, f" % of growth after {LOOKS[0]:g} s")


def _time_rows(what: str, load: _Load, alone: _Load) -> list[Figure]:
    return [
        plain(f"{what}: first byte, p50 / p95 / p99", load.times("first_byte")),
        *(
            plain(
                f"{what}: {title}, p50 / p95 / p99",
                f"{load.times(name)}; as many in process: {alone.times(name)}",
            )
            for name, title in (("first_token", "first token"), ("total", "whole stream"))
        ),
    ]


def _cpu_row(what: str, load: _Load, alone: _Load) -> Figure:
    rates = [f"{len(each.streams) / each.wall:.1f} streams/s" for each in (load, alone)]
    shown = f"{load.cpu_ms:.1f} ms ({rates[0]}); as many in process: {alone.cpu_ms:.1f} ms ({rates[1]})"
    return plain(f"{what}: CPU of a stream", f"{load.cpu_ms / alone.cpu_ms:.2f} × in process: {shown}")
