"""A hundred times `invoke` against a hundred times `ainvoke`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.figures import Figure, plain
from bench.setting import CALLS, QUESTION, checked_run, compiled, late, spec_for
from tests.fakes.process import ServerProcess

RUNS = 100
BLOCKS = 5


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure blocks of both in turn, the sync ones in a thread without an event loop."""
    graph = compiled(spec_for(server.base_url, late(0.0)))
    state = await checked_run(graph)
    assert len(state["proposals"]) == CALLS - 1
    await asyncio.to_thread(_invoke, graph, 2)
    times = {"ainvoke": 0.0, "invoke": 0.0}
    for _ in range(BLOCKS):
        began = time.perf_counter()
        for _ in range(RUNS // BLOCKS):
            await checked_run(graph)
        middle = time.perf_counter()
        await asyncio.to_thread(_invoke, graph, RUNS // BLOCKS)
        times["ainvoke"] += middle - began
        times["invoke"] += time.perf_counter() - middle
    each = {name: seconds / RUNS * 1000 for name, seconds in times.items()}
    shown = f"{each['invoke']:.1f} ms a run against {each['ainvoke']:.1f} ms"
    return [
        plain(
            f"`invoke` over `ainvoke`, {RUNS} runs, 0 ms models",
            f"{each['invoke'] / each['ainvoke']:.2f} × ({shown})",
        )
    ]


def _invoke(graph: Any, runs: int) -> None:
    for _ in range(runs):
        state = graph.invoke({"messages": [("user", QUESTION)]})
        assert state["status"] == "answered"
