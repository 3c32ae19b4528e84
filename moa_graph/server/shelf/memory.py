"""A shelf in memory: for one process, and for as long as that runs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moa_graph.server.shelf import Shelf

__all__ = ["open_memory"]


@asynccontextmanager
async def open_memory() -> AsyncIterator[Shelf]:
    """Open an empty shelf of its own."""
    yield _MemoryShelf()


class _MemoryShelf(Shelf):
    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}
        self._texts: dict[str, tuple[str, float]] = {}

    async def _add(self, name: str, amount: float, seconds: float) -> float:
        before, expires = self._sums.get(name, (0.0, 0.0))
        total = amount + (before if expires > time.monotonic() else 0.0)
        self._sums[name] = (total, time.monotonic() + seconds)
        return total

    async def _put(self, name: str, text: str, seconds: float) -> None:
        self._texts[name] = (text, time.monotonic() + seconds)

    async def _get(self, name: str) -> str | None:
        text, expires = self._texts.get(name, (None, 0.0))
        return text if expires > time.monotonic() else None

    async def _sweep(self) -> None:
        now = time.monotonic()
        self._sums = {name: each for name, each in self._sums.items() if each[1] > now}
        self._texts = {name: each for name, each in self._texts.items() if each[1] > now}
