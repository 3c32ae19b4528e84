"""Spec files made to be slow or large: how long the worst takes to be refused, and how much memory."""

from __future__ import annotations

import asyncio
import sys
import textwrap

from bench.figures import Figure
from tests.fakes.process import ServerProcess
from tests.spec.samples import VALID
from tests.spec.test_hostile import HOSTILE, PROBE


async def measure(_: ServerProcess) -> list[Figure]:
    """Load each in a process of its own."""
    seconds, megabytes = 0.0, 0.0
    for expression in HOSTILE.values():
        code = textwrap.dedent(PROBE).format(valid=VALID, expression=expression)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
        )
        printed, _error = await process.communicate()
        _faults, took, grown = map(float, printed.split())
        seconds, megabytes = max(seconds, took), max(megabytes, grown)
    shown = f"{seconds:.2f} s, {megabytes:.0f} MB (the worst of {len(HOSTILE)})"
    return [
        Figure(
            "a hostile spec file is refused within",
            shown,
            "≤ 1 s, ≤ 100 MB",
            seconds <= 1 and megabytes <= 100,
        )
    ]
