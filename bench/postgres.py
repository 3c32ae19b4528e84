"""Throughput of 150 runs at once whose threads are kept in PostgreSQL, each step before the next."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.figures import Figure, plain
from bench.setting import CALLS, LAYERS, QUESTION, TEXT_CHARS, WIDTH, CheckedError, checked_run
from moa_graph.graph import build_graph
from moa_graph.resources import Registered
from moa_graph.runs.stores import open_store
from moa_graph.runs.threads import Runs
from moa_graph.spec.schema import MoASpec
from tests.fakes.models import ScriptedChatModel
from tests.fakes.postgres import find_binaries, postgres_server
from tests.fakes.process import ServerProcess

CONCURRENT = 150
RUNS = 300
LATENCY = 0.05
GOAL = 30.0
WHAT = f"throughput, {CONCURRENT} runs at once on PostgreSQL, {LATENCY * 1000:g} ms models, durability sync"


async def measure(_: ServerProcess) -> list[Figure]:
    """Measure threads, the graph with a lease and a checkpointer for each run, and runs that keep nothing."""
    binaries = find_binaries()
    if binaries is None:
        return [plain(WHAT, "not measured: no PostgreSQL here")]
    spec, models = _mixture()
    graph: Any = build_graph(spec, models=models).compile()
    with postgres_server(binaries, "-c", "fsync=on") as server:
        async with open_store(server.new_database()) as store:

            async def on_graph(thread: str) -> None:
                async with store.lease(thread):
                    await checked_run(graph.copy({"checkpointer": store.saver()}), thread)

            kept = await _runs_a_second(on_graph)
        async with open_store(server.new_database()) as store:
            runs = Runs(store, spec, Registered(models))

            async def on_thread(thread: str) -> None:
                run = await runs.start(QUESTION, thread=thread)
                if run.status != "answered" or len(run.proposals) != CALLS - 1:
                    raise CheckedError(f"{run.status} with {len(run.proposals)} proposals")

            threads = await _runs_a_second(on_thread)
    bare = await _runs_a_second(lambda _: checked_run(graph))
    return [
        Figure(f"{WHAT}: moa_graph", f"{kept:.1f} runs/s", f"≥ {GOAL:g} runs/s", kept >= GOAL),
        Figure(f"{WHAT}: moa_graph, `Runs`", f"{threads:.1f} runs/s", f"≥ {GOAL:g} runs/s", threads >= GOAL),
        plain(f"{WHAT}: moa_graph, nothing kept", f"{bare:.1f} runs/s"),
    ]


def _mixture() -> tuple[MoASpec, dict[str, Any]]:
    layers = [[f"layer-{layer}-{number}" for number in range(1, WIDTH + 1)] for layer in range(1, LAYERS + 1)]
    models: dict[str, Any] = {
        slot: ScriptedChatModel("x" * TEXT_CHARS, wait=lambda: asyncio.sleep(LATENCY))
        for slot in [*itertools.chain(*layers), "final"]
    }
    spec = {
        "moa": 1,
        "name": "bench",
        "models": {slot: {"model": f"host:{slot}"} for slot in models},
        "layers": [{"proposers": [{"model": slot} for slot in layer]} for layer in layers],
        "aggregator": {"model": "final"},
    }
    return MoASpec.model_validate(spec), models


async def _runs_a_second(run: Callable[[str], Awaitable[Any]]) -> float:
    places, numbers = asyncio.Semaphore(CONCURRENT), itertools.count()

    async def one() -> None:
        async with places:
            await run(f"thread-{next(numbers)}")

    await asyncio.gather(*(one() for _ in range(CONCURRENT)))
    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(RUNS)))
    return RUNS / (time.perf_counter() - began)
