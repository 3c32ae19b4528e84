"""Memory of a run when a thousand are under way in one process."""

from __future__ import annotations

import asyncio
import gc
import resource
import time

import psutil  # type: ignore[import-untyped]

from bench.figures import Figure, plain
from bench.setting import checked_run, compiled, spec_for
from tests.fakes.process import ServerProcess

RUNS = 1000
LATENCY = 0.2
GOAL_KB = 400.0


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure the growth of the process's peak while all runs are under way; needs a fresh process."""
    graph = compiled(spec_for(server.base_url, LATENCY))
    for _ in range(3):
        await checked_run(graph)
    gc.collect()
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    outcomes = await asyncio.gather(*(_answered(graph) for _ in range(RUNS)))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    errors = [outcome for outcome in outcomes if outcome]
    each = (peak - before) / RUNS / 1000
    shown = f"{each:.0f} kB each (from {before / 1e6:.0f} to {peak / 1e6:.0f} MB), {len(errors)} errors"
    if errors:
        shown += f", the first: {errors[0][:80]}"
    return [
        Figure(
            f"memory, {RUNS:,} runs at once in one process",
            shown,
            f"all answered, ≤ {GOAL_KB:g} kB each",
            each <= GOAL_KB and not errors,
        ),
        plain(f"time for {RUNS:,} runs at once, {LATENCY * 1000:g} ms models", f"{seconds:.1f} s"),
    ]


async def _answered(graph: object) -> str:
    """Run once and keep nothing; return what went wrong, or an empty string."""
    try:
        await checked_run(graph)
    except Exception as error:  # noqa: BLE001 - counted and shown
        return f"{type(error).__name__}: {error}"
    return ""
