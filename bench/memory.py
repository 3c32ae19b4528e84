"""Memory of a run when a thousand are under way in one process."""

from __future__ import annotations

import asyncio
import gc
import resource
import time

import psutil  # type: ignore[import-untyped]

from bench.figures import Figure, plain
from bench.setting import Run, bare_of, checked_run, compiled, late, spec_for
from tests.fakes.process import ServerProcess

RUNS = 1000
LATENCY = 0.2
GOAL_KB = 400.0


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure 1,000 runs of the graph."""
    graph = compiled(spec_for(server.base_url, late(LATENCY)))
    each, shown, errors, seconds = await _grown(lambda: checked_run(graph))
    return [
        Figure(
            f"memory, {RUNS:,} runs at once in one process: moa_graph",
            shown,
            f"all answered, ≤ {GOAL_KB:g} kB each",
            each <= GOAL_KB and not errors,
        ),
        plain(f"time for {RUNS:,} runs at once, {LATENCY * 1000:g} ms models: moa_graph", f"{seconds:.1f} s"),
    ]


async def measure_bare(server: ServerProcess) -> list[Figure]:
    """Measure the same calls on their own."""
    spec = spec_for(server.base_url, late(LATENCY))
    state = await checked_run(compiled(spec))
    _, shown, _, seconds = await _grown(bare_of(spec, state["proposals"]))
    return [
        plain(f"memory, {RUNS:,} runs at once in one process: bare gather", shown),
        plain(
            f"time for {RUNS:,} runs at once, {LATENCY * 1000:g} ms models: bare gather", f"{seconds:.1f} s"
        ),
    ]


async def _grown(run: Run) -> tuple[float, str, int, float]:
    """Make all runs at once in this process, which must be fresh; return kB each, a line, errors, seconds."""
    for _ in range(3):
        await run()
    gc.collect()
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    outcomes = await asyncio.gather(*(_fault(run) for _ in range(RUNS)))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    errors = [outcome for outcome in outcomes if outcome]
    each = (peak - before) / RUNS / 1000
    shown = f"{each:.0f} kB each (from {before / 1e6:.0f} to {peak / 1e6:.0f} MB), {len(errors)} errors"
    return each, shown + (f", the first: {errors[0][:120]}" if errors else ""), len(errors), seconds


async def _fault(run: Run) -> str:
    """Run once and keep nothing; return what went wrong, or an empty string."""
    try:
        await run()
    except Exception as error:  # noqa: BLE001 - counted and shown
        return f"{type(error).__name__}: {error}"
    return ""
