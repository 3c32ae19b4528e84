"""Wall time of one run over the ideal, and the CPU that the orchestration costs."""

from __future__ import annotations

import tempfile
from statistics import median

from openai import AsyncOpenAI

from bench.figures import Figure, no_more_than, plain
from bench.setting import (
    DEPTH,
    Run,
    bare_of,
    checked_run,
    checked_start,
    compiled,
    late,
    mixture_llm_run,
    spec_for,
    timed,
)
from moa_graph.runs.threads import Runs
from moa_graph.spec.schema import MoASpec
from tests.fakes.process import ServerProcess

ROUNDS = {0.2: 7, 0.05: 15, 0.0: 60}
WALL_GOAL, WALL_GOAL_SQLITE = 1.05, 1.10
CPU_GOAL_MS, CPU_GOAL_SQLITE_MS = 12.0, 35.0
MOA, SQLITE, BARE, PEER = "moa_graph", "moa_graph, a thread in SQLite", "bare gather", "mixture-llm"


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure all ways at each latency, in turn: what disturbs the machine disturbs them alike."""
    rows: list[Figure] = []
    for latency, rounds in ROUNDS.items():
        with tempfile.TemporaryDirectory() as folder:
            spec = spec_for(server.base_url, late(latency))
            async with Runs.open(f"sqlite:///{folder}/bench.db", spec) as kept:
                runs = await _ways(server, spec, kept)
                samples: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
                for run in runs.values():
                    await run()
                for _ in range(rounds):
                    for name, run in runs.items():
                        samples[name].append(await timed(run))
        walls = {name: median(wall for wall, _ in sample) for name, sample in samples.items()}
        rows += _wall_rows(latency, walls)
        if not latency:
            rows += _cpu_rows({name: median(cpu for _, cpu in sample) for name, sample in samples.items()})
    return rows


async def _ways(server: ServerProcess, spec: MoASpec, kept: Runs) -> dict[str, Run]:
    graph = compiled(spec)
    state = await checked_run(graph)
    ways: dict[str, Run] = {
        MOA: lambda: checked_run(graph),
        BARE: bare_of(spec, state["proposals"]),
        SQLITE: lambda: checked_start(kept),
    }
    peer = mixture_llm_run(spec, AsyncOpenAI(base_url=server.base_url, api_key="bench-key", max_retries=0))
    return ways | ({PEER: peer} if peer else {})


def _wall_rows(latency: float, walls: dict[str, float]) -> list[Figure]:
    ideal = DEPTH * latency
    rows = []
    for name, wall in walls.items():
        what = f"wall time of a run, {latency * 1000:g} ms models: {name}"
        shown = f"{wall * 1000:.1f} ms, {wall / walls[BARE]:.2f} × bare gather"
        if not ideal:
            rows.append(plain(what, shown))
            continue
        shown = f"{wall / ideal:.3f} × ideal ({shown})"
        goal = {MOA: WALL_GOAL, SQLITE: WALL_GOAL_SQLITE}.get(name) if latency == max(ROUNDS) else None
        rows.append(no_more_than(what, wall / ideal, goal, shown, " × ideal") if goal else plain(what, shown))
    return rows


def _cpu_rows(cpus: dict[str, float]) -> list[Figure]:
    rows = []
    for name, cpu in cpus.items():
        what = f"CPU of a run (19 calls), one at a time: {name}"
        over = (cpu - cpus[BARE]) * 1000
        if name == BARE:
            rows.append(plain(what, f"{cpu * 1000:.1f} ms"))
            continue
        shown = f"{over:+.1f} ms over bare gather ({cpu * 1000:.1f} ms, {cpu / cpus[BARE]:.2f} ×)"
        goal = {MOA: CPU_GOAL_MS, SQLITE: CPU_GOAL_SQLITE_MS}.get(name)
        rows.append(no_more_than(what, over, goal, shown, " ms") if goal else plain(what, shown))
    return rows
