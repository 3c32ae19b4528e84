"""What threads survive and what they take: kills, two resumes at once, a changed spec, bytes kept."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.figures import Figure, no_more_than, plain
from moa_graph.errors import SpecMismatch, ThreadBusy
from moa_graph.runs.threads import Runs
from tests.fakes.crashing import Round
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel
from tests.fakes.postgres import find_binaries, postgres_server
from tests.fakes.process import ServerProcess

ROUNDS = 20
WIDTH = 6
TEXT = "A proposal's sentence. " * 87  # 2,001 characters
BUSY_GOAL, TEXT_GOAL, LAYERS_GOAL = 2.0, 3.0, 4.5

_SQLITE = """SELECT (SELECT coalesce(sum(length(checkpoint) + length(metadata)), 0) FROM checkpoints)
 + (SELECT coalesce(sum(length(value)), 0) FROM writes) + (SELECT sum(length(record)) FROM moa_threads)"""
_POSTGRES = """SELECT (SELECT coalesce(sum(octet_length(checkpoint::text) + octet_length(metadata::text)), 0)
 FROM checkpoints) + (SELECT coalesce(sum(octet_length(blob)), 0) FROM checkpoint_blobs)
 + (SELECT coalesce(sum(octet_length(blob)), 0) FROM checkpoint_writes)
 + (SELECT sum(octet_length(record)) FROM moa_threads)"""

NewUrl = Callable[[], str]


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure each store there is."""
    rows: list[Figure] = []
    with urls() as stores:
        for name, new_url in stores.items():
            rows += await asyncio.to_thread(_kills, name, new_url(), server)
            rows += [await _double(name, new_url()), await _changed(name, new_url())]
            rows += await _sizes(name, new_url)
    return rows


@contextmanager
def urls() -> Iterator[dict[str, NewUrl]]:
    """Give a maker of new stores' URLs for each kind of store."""
    binaries = find_binaries()
    with tempfile.TemporaryDirectory() as folder:
        names = iter(range(1000))
        stores: dict[str, NewUrl] = {"SQLite": lambda: f"sqlite:///{folder}/{next(names)}.db"}
        if binaries is None:
            yield stores
        else:
            with postgres_server(binaries, "-c", "fsync=on") as server:
                yield {**stores, "PostgreSQL": server.new_database}


def _kills(name: str, url: str, server: ServerProcess) -> list[Figure]:
    """Kill runs at random points and resume them; `finish` raises if one is lost or repeated."""
    lost = repeated = at_risk = 0
    for number in range(ROUNDS):
        thread = Round(server, url, f"{name}-{number}")
        thread.kill_at(random.Random(number))
        told = set(thread.told)
        worker = thread.finish(check=False)
        made = {proposal["id"] for proposal in (worker.run or {"proposals": []})["proposals"]}
        lost += len(told - made - {"aggregator"})
        counts = thread.counts()
        repeated += sum(counts[id_] > 1 for id_ in told)
        at_risk += sum(count > 1 for id_, count in counts.items() if id_ not in told)
    return [
        Figure(
            f"{name}: kill -9 at a random point of 3×6, {ROUNDS} rounds: proposals that were reported "
            "finished and are lost, or asked for again",
            f"{lost} lost, {repeated} repeated",
            "0 lost, 0 repeated",
            lost == repeated == 0,
        ),
        plain(f"{name}: calls under way at the kill that were made again", f"{at_risk / ROUNDS:.1f} a kill"),
    ]


async def _double(name: str, url: str) -> Figure:
    """Let two stores resume a thread at once."""
    gate, models = asyncio.Event(), models_of(3)
    models["z"] = ScriptedChatModel(TEXT, wait=gate.wait)
    spec = spec_of(3, models)
    async with Runs.open(url, spec, models=models) as first, Runs.open(url, spec, models=models) as second:
        await first.start("Why?", thread="t", breakpoints=["aggregator"])

        async def resume(runs: Runs) -> float | None:
            began = time.monotonic()
            try:
                await runs.resume("t")
            except ThreadBusy:
                gate.set()
                return time.monotonic() - began
            return None

        waits = await asyncio.gather(resume(first), resume(second))
    waited = [wait for wait in waits if wait is not None]
    calls, sound = len(models["z"].calls), len(waited) == 1
    return Figure(
        f"{name}: two resumes at once",
        f"{calls} call for 1 that was left, ThreadBusy after {max(waited, default=0):.2f} s",
        f"exactly one runs, ≤ {BUSY_GOAL:g} s",
        sound and calls == 1 and max(waited) <= BUSY_GOAL,
    )


async def _changed(name: str, url: str) -> Figure:
    models = models_of(3)
    async with Runs.open(url, spec_of(3, models), models=models) as runs:
        await runs.start("Why?", thread="t", breakpoints=["layer-2"])
    before, refused = _calls(models), False
    async with Runs.open(url, spec_of(2, models), models=models) as runs:
        try:
            await runs.resume("t")
        except SpecMismatch:
            refused = True
    calls = _calls(models) - before
    return Figure(
        f"{name}: a changed spec before a resume",
        f"{'SpecMismatch' if refused else 'not refused'}, {calls} calls",
        "SpecMismatch, 0 calls",
        refused and calls == 0,
    )


async def _sizes(name: str, new_url: NewUrl) -> list[Figure]:
    sizes = {}
    rows = []
    for layers, turns in ((3, 1), (12, 1), (3, 10)):
        url = new_url()
        models = models_of(layers)
        async with Runs.open(url, spec_of(layers, models), models=models) as runs:
            for turn in range(turns):
                await runs.start("Why?", thread="t", turn=str(turn))
        size, beside = stored_bytes(url)
        ratio = size / (turns * (layers * WIDTH + 1) * len(TEXT))
        sizes[layers, turns] = size
        shape = f"{layers} layers of {WIDTH}, turns: {turns}"
        what = f"{name}: bytes kept per byte of text, {shape}"
        rows.append(no_more_than(what, ratio, TEXT_GOAL, f"{ratio:.2f} ({size / 1000:.0f} kB{beside})"))
    growth = sizes[12, 1] / sizes[3, 1]
    rows.append(
        no_more_than(f"{name}: bytes of 12 layers over those of 3", growth, LAYERS_GOAL, f"{growth:.2f}")
    )
    return rows


def stored_bytes(url: str) -> tuple[int, str]:
    """Return the bytes of all columns with a thread's content, and what else there is to tell."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(path)) as connection:
            size = int(connection.execute(_SQLITE).fetchone()[0])
        return size, f"; the file {path.stat().st_size / 1000:.0f} kB"
    with psycopg.connect(url) as connection:
        row = connection.execute(_POSTGRES.encode()).fetchone()
        assert row is not None
        return int(row[0]), ""


def models_of(layers: int) -> dict[str, Any]:
    names = [f"layer-{layer}-p{place}" for layer in range(1, layers + 1) for place in range(1, WIDTH + 1)]
    return {name: ScriptedChatModel(TEXT) for name in [*names, "z"]}


def _calls(models: dict[str, Any]) -> int:
    return sum(len(model.calls) for model in models.values())


def spec_of(layers: int, models: dict[str, Any]) -> Any:
    def members(layer: int) -> dict[str, Any]:
        return {f"p{place}": models[f"layer-{layer}-p{place}"] for place in range(1, WIDTH + 1)}

    return mixture({f"layer-{n}": members(n) for n in range(1, layers + 1)}, {"z": models["z"]}).spec
