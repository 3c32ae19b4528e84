"""Small things that a server keeps for a while, beside the threads: sums, and values by name."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

from pydantic import JsonValue

from moa_graph.errors import MoAError
from moa_graph.extras import needing
from moa_graph.runs.serializer import untrusted

__all__ = ["LARGEST", "SWEEP_EVERY", "Shelf", "open_shelf"]

LARGEST = 1_000_000
"""Bytes of JSON that a value may have."""
SWEEP_EVERY = 600.0
"""Seconds between two looks for what is to be forgotten; what is late is not given out in the meantime."""


class Shelf(ABC):
    """Keep sums and values under names, each for some time; processes that share a database share them.

    A name is that of a sum or of a value, not of both. Every method raises StoreError when the database does
    not do its work for longer than a short trouble lasts.
    """

    _next_sweep = 0.0

    async def add(self, name: str, amount: float, seconds: float) -> float:
        """Add to a sum, which begins at 0, and return it; `seconds` after the last addition it is forgotten.

        Additions from wherever never get lost between each other.
        """
        await self._sweep_now_and_then()
        return await self._add(name, amount, seconds)

    async def put(self, name: str, value: JsonValue, seconds: float) -> None:
        """Keep a value for some time in place of the one before; raise MoAError for one that is too large."""
        text = json.dumps(value, separators=(",", ":"))  # ASCII: no database trips over NUL or surrogates
        if len(text) > LARGEST:
            raise MoAError(f"{len(text)} bytes are too many to be kept; at most {LARGEST} are")
        await self._sweep_now_and_then()
        await self._put(name, text, seconds)

    async def get(self, name: str) -> JsonValue:
        """Return a value, or None."""
        text = await self._get(name)
        try:
            value: JsonValue = None if text is None else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise untrusted("it is no JSON") from error
        return value

    async def _sweep_now_and_then(self) -> None:
        # Before the work, not after it: when this fails, the work has not been done.
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_EVERY
            await self._sweep()

    @abstractmethod
    async def _add(self, name: str, amount: float, seconds: float) -> float: ...

    @abstractmethod
    async def _put(self, name: str, text: str, seconds: float) -> None: ...

    @abstractmethod
    async def _get(self, name: str) -> str | None: ...

    @abstractmethod
    async def _sweep(self) -> None: ...


def open_shelf(url: str) -> AbstractAsyncContextManager[Shelf]:
    """Open the shelf in the database of `moa_graph.runs.stores.open_store`; its table is made if missing.

    Raises MoAError for a URL that names no store and where an extra is missing, StoreError when the database
    cannot be opened.
    """
    scheme, _, rest = url.partition(":")
    match scheme:
        case "memory" if not rest:
            from moa_graph.server.shelf.memory import open_memory  # noqa: PLC0415 - one shelf is used

            return open_memory()
        case "sqlite" if rest.startswith("///") and rest != "///" and "?" not in rest:
            from moa_graph.server.shelf.sqlite import open_sqlite  # noqa: PLC0415 - one shelf is used

            return open_sqlite(url)
        case "postgresql" | "postgres":
            with needing("postgres"):
                from moa_graph.server.shelf.postgres import open_postgres  # noqa: PLC0415 - an extra

            return open_postgres(url)
    raise MoAError(
        f"{scheme + ':' if rest else url!r} names no database",
        hint="Use sqlite:///path/to/file.db, postgresql://user@host/database or memory:",
    )
