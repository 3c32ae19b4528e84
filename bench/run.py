"""Measure everything and write docs/benchmarks.md; `--only NAME` measures one scenario and writes nothing."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench.figures import Figure
from tests.fakes.process import server_process

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
SCENARIOS = (
    "faults",
    "hostile",
    "latency",
    "load",
    "memory",
    "memory:measure_bare",
    "first_token",
    "postgres",
    "durability",
    "synchronous",
    "serving",
    "streams",
    "http_layer",
    "startup",
)
TIME_LIMIT = 200.0
QUIET = 0.5
"""The load of a machine that does nothing else."""
PACKAGES = (
    "moa-graph",
    "langgraph",
    "langchain-core",
    "langchain-openai",
    "openai",
    "aiohttp",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
    "psycopg",
    "fastapi",
    "uvicorn",
    "mixture-llm",
)

INTRODUCTION = """\
# Benchmarks

`make bench` measures this page anew. The setting: 3 proposer layers × 6 proposers and an aggregator, 19 calls
a run over real HTTP to a fake server in a process of its own; every call answers 1,000 characters. *Bare
gather* is the same 19 calls to the same chat models with the same prompts in `asyncio.gather`, layer after
layer, without anything else; *ideal* is 4 × the models' latency. All ways are measured in turn within one run
on one machine: read the ratios, not the milliseconds. Figures are medians; CPU is that of the client's
process alone.
"""


def main() -> None:
    """Run each scenario in a fresh process with a fresh server, print the rows and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SCENARIOS)
    chosen = parser.parse_args().only
    began, busy = time.monotonic(), os.getloadavg()[0]
    if busy > QUIET:
        print(f"This machine is busy (load {busy:.1f}): the figures will be too high.", file=sys.stderr)
    rows: list[Figure] = []
    for name in [chosen] if chosen else SCENARIOS:
        print(f"{name} …", file=sys.stderr, flush=True)
        for row in measured(name):
            print("  ", row.what, "→", row.figure, f"[{row.goal}: {verdict(row)}]" if row.goal else "")
            rows.append(row)
    if chosen is None:
        PAGE.write_text(page(rows, time.monotonic() - began, busy), encoding="utf-8")
        print(f"Wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)


def measured(name: str) -> list[Figure]:
    """Return a scenario's rows."""
    with server_process(keep=name == "first_token") as server:
        command = [sys.executable, "-m", "bench.scenario", name, str(server.port)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LANGSMITH_")}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=TIME_LIMIT, check=True
        )
    return [Figure(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def verdict(row: Figure) -> str:
    """Say whether a row meets its goal."""
    return {True: "yes", False: "**no**", None: ""}[row.met]


def page(rows: list[Figure], seconds: float, busy: float) -> str:
    """Return the page as Markdown."""
    lines = [INTRODUCTION, "| what | figure | goal | met |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.figure} | {row.goal} | {verdict(row)} |" for row in rows]
    lines += ["", *_circumstances(seconds, busy)]
    return "\n".join(lines) + "\n"


def _circumstances(seconds: float, busy: float) -> list[str]:
    memory = psutil.virtual_memory().total / 2**30
    versions = [f"{name} {found}" for name in PACKAGES if (found := _version(name))]
    disturbed = f" Other work was going on (load {busy:.1f})." if busy > QUIET else ""
    absent = [name for name in PACKAGES if not _version(name)]
    machine = f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GB, {platform.system()}"
    lines = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d} in {seconds:.0f} s on {machine}.{disturbed}",
        "",
        f"Python {platform.python_version()}; {', '.join(versions)}.",
    ]
    if absent:
        lines += ["", f"Not installed, hence without rows: {', '.join(absent)}."]
    return lines


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
