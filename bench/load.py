"""Throughput and client CPU per call with 200 runs at once."""

from __future__ import annotations

import asyncio
import gc
import time

from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

from bench.figures import Figure, no_more_than, plain
from bench.setting import CALLS, Bare, Run, bare_of, checked_run, compiled, late, mixture_llm_run, spec_for
from moa_graph.spec.schema import MoASpec
from tests.fakes.process import ServerProcess

CONCURRENT = 200
RUNS = 600
RUNS_OF_OTHERS = 400
LATENCY = 0.2
CPU_GOAL_MS = 3.5
CALLS_GOAL = 250.0


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure a run, its bare calls, the same calls through ChatOpenAI as it comes, and mixture-llm."""
    spec = spec_for(server.base_url, late(LATENCY))
    graph = compiled(spec)
    state = await checked_run(graph)
    bare = bare_of(spec, state["proposals"])
    collector = _Collector()
    with collector:
        wall, cpu = await _drive(lambda: checked_run(graph), RUNS)
    per_call, busy = cpu / RUNS / CALLS * 1000, RUNS * CALLS / cpu
    rows = [
        no_more_than(
            f"client CPU per LLM call, {CONCURRENT} runs at once: moa_graph",
            per_call,
            CPU_GOAL_MS,
            f"{per_call:.2f} ms, {collector.seconds / cpu:.0%} of it Python's garbage collector",
            " ms",
        ),
        Figure(
            f"LLM calls per second of CPU, {CONCURRENT} runs at once: moa_graph",
            f"{busy:.0f} calls/s a core",
            f"≥ {CALLS_GOAL:g} calls/s a core",
            busy >= CALLS_GOAL,
        ),
        plain(
            f"throughput, {CONCURRENT} runs at once, {LATENCY * 1000:g} ms models: moa_graph",
            f"{RUNS / wall:.1f} runs/s, {RUNS * CALLS / wall:.0f} calls/s",
        ),
    ]
    others: dict[str, Run | None] = {
        "bare gather": bare,
        "bare gather of ChatOpenAI as it comes": _stock(bare, spec, server),
        "mixture-llm": mixture_llm_run(
            spec, AsyncOpenAI(base_url=server.base_url, api_key="bench-key", max_retries=0)
        ),
    }
    for name, run in others.items():
        if run is not None:
            rows.append(await _row(name, run, per_call))
    return [*rows, await _tuned(lambda: checked_run(graph), per_call)]


async def _tuned(run: Run, untuned: float) -> Figure:
    """Measure a run with the collector as docs/operators.md advises; nothing else may follow here."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    wall, cpu = await _drive(run, RUNS)
    per_call = cpu / RUNS / CALLS * 1000
    what = f"client CPU per LLM call, {CONCURRENT} runs at once: moa_graph, collector tuned"
    return plain(
        what, f"{per_call:.2f} ms ({RUNS / wall:.1f} runs/s), {per_call / untuned:.2f} × as it comes"
    )


class _Collector:
    """Measure the CPU seconds that Python's garbage collector takes."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        gc.callbacks.append(self._note)

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began = time.process_time()
        else:
            self.seconds += time.process_time() - self._began


async def _row(name: str, run: Run, ours: float) -> Figure:
    what = f"client CPU per LLM call, {CONCURRENT} runs at once: {name}"
    try:
        wall, cpu = await _drive(run, RUNS_OF_OTHERS)
    except Exception as error:  # noqa: BLE001 - that another package fails under this load is a result
        return plain(what, f"failed: {type(error).__name__}: {str(error)[:120]}")
    per_call = cpu / RUNS_OF_OTHERS / CALLS * 1000
    ratio = f"moa_graph takes {ours / per_call:.2f} × as much"
    return plain(what, f"{per_call:.2f} ms ({RUNS_OF_OTHERS / wall:.1f} runs/s); {ratio}")


def _stock(bare: Bare, spec: MoASpec, server: ServerProcess) -> Run:
    models: dict[str, ChatOpenAI] = {}

    def stock(name: str) -> ChatOpenAI:
        if name not in models:
            models[name] = ChatOpenAI(
                model=name, base_url=server.base_url, api_key="bench-key", max_retries=0
            )
        return models[name]

    return bare.with_models(stock, spec)


async def _drive(run: Run, runs: int) -> tuple[float, float]:
    """Make so many runs, CONCURRENT at once; return wall and CPU seconds."""
    places = asyncio.Semaphore(CONCURRENT)

    async def one() -> None:
        async with places:
            await run()

    await asyncio.gather(*(run() for _ in range(20)))
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(runs)))
    return time.perf_counter() - wall, time.process_time() - cpu
