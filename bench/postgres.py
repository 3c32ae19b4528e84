"""Throughput of 150 runs at once whose threads are kept in PostgreSQL, each step before the next."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from bench.figures import Figure, plain
from bench.setting import LAYERS, WIDTH, checked_run
from moa_graph.runs.stores import Store, open_store
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel
from tests.fakes.postgres import find_binaries, postgres_server
from tests.fakes.process import ServerProcess

CONCURRENT = 150
RUNS = 300
LATENCY = 0.05
GOAL = 30.0
WHAT = f"throughput, {CONCURRENT} runs at once on PostgreSQL, {LATENCY * 1000:g} ms models, durability sync"


async def measure(_: ServerProcess) -> list[Figure]:
    """Measure runs with a lease and a checkpointer each, beside the same runs that keep nothing."""
    binaries = find_binaries()
    if binaries is None:
        return [plain(WHAT, "not measured: no PostgreSQL here")]
    graph = _graph()
    with postgres_server(binaries, "-c", "fsync=on") as server:
        async with open_store(server.new_database()) as store:
            kept = await _runs_a_second(graph, store)
    bare = await _runs_a_second(graph, None)
    return [
        Figure(f"{WHAT}: moa_graph", f"{kept:.1f} runs/s", f"≥ {GOAL:g} runs/s", kept >= GOAL),
        plain(f"{WHAT}: moa_graph, nothing kept", f"{bare:.1f} runs/s"),
    ]


def _graph() -> Any:
    text = "x" * 1000

    def model() -> ScriptedChatModel:
        return ScriptedChatModel(text, wait=lambda: asyncio.sleep(LATENCY))

    layers = {
        f"layer-{layer}": {f"p{number}": model() for number in range(1, WIDTH + 1)}
        for layer in range(1, LAYERS + 1)
    }
    return mixture(layers, {"final-model": model()}).compile()


async def _runs_a_second(graph: Any, store: Store | None) -> float:
    places, threads = asyncio.Semaphore(CONCURRENT), itertools.count()

    async def one() -> None:
        async with places:
            thread = f"thread-{next(threads)}"
            if store is None:
                await checked_run(graph)
                return
            async with store.lease(thread):
                await checked_run(graph.copy({"checkpointer": store.saver()}), thread)

    await asyncio.gather(*(one() for _ in range(20)))
    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(RUNS)))
    return RUNS / (time.perf_counter() - began)
