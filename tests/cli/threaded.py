"""Threads for the tests of commands that look at them and change them: made by the library, on a file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from moa_graph.errors import RunError
from moa_graph.runs.run import Run
from moa_graph.runs.threads import Runs
from moa_graph.spec.loading import load_spec

__all__ = ["ask", "go_on", "with_store"]

T = TypeVar("T")
DB = "sqlite:///moa.db"


def with_store(work: Callable[[Runs], Awaitable[T]], spec: str | None = None) -> T:
    """Do some work on the store in the current directory."""

    async def run() -> T:
        async with Runs.open(DB, load_spec(spec) if spec else None) as runs:
            return await work(runs)

    return asyncio.run(run())


def ask(spec: str, thread: str = "t1", question: str = "Why?", **options: Any) -> Run | None:
    """Ask a question in a thread; None for a run that failed."""

    async def start(runs: Runs) -> Run | None:
        try:
            return await runs.start(question, thread=thread, **options)
        except RunError:
            return None

    return with_store(start, spec)


def go_on(thread: str = "t1", **options: Any) -> Run:
    """Resume a thread."""

    async def resume(runs: Runs) -> Run:
        return await runs.resume(thread, **options)

    return with_store(resume)
