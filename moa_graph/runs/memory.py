"""Threads in memory: for tests and trials; they end with the store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from moa_graph.runs.guard import Guard, GuardedSaver, claim
from moa_graph.runs.stores import Store

__all__ = ["open_memory"]

_URL = "memory:"


class _Saver(GuardedSaver, InMemorySaver):
    guard = Guard(_URL, lambda _: None)


@asynccontextmanager
async def open_memory(serializer: SerializerProtocol) -> AsyncIterator[Store]:
    """Open an empty store of its own."""
    yield _MemoryStore(serializer)


class _MemoryStore(Store):
    url = _URL

    def __init__(self, serializer: SerializerProtocol) -> None:
        self._saver = _Saver(serde=serializer)
        self._records: dict[str, str] = {}
        self._leases: set[str] = set()

    def saver(self) -> _Saver:
        return self._saver

    async def read(self, key: str) -> dict[str, Any] | None:
        # Kept as text, so that nobody holds a piece of what others read.
        text = self._records.get(key)
        record: dict[str, Any] | None = None if text is None else json.loads(text)
        return record

    async def write(self, key: str, record: dict[str, Any]) -> None:
        self._records[key] = json.dumps(record)

    async def remove(self, key: str) -> None:
        await self._saver.adelete_thread(key)
        self._records.pop(key, None)

    async def keys(self) -> list[str]:
        return sorted(self._records)

    @asynccontextmanager
    async def lease(self, key: str, *, wait: bool = False) -> AsyncIterator[None]:
        await claim(key, lambda: self._take(key), wait=wait)
        try:
            yield
        finally:
            self._leases.discard(key)

    async def leased(self, key: str) -> bool:
        return key in self._leases

    async def _take(self, key: str) -> bool:
        free = key not in self._leases
        self._leases.add(key)
        return free
