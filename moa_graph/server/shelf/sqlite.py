"""A shelf in a SQLite file, that of the threads: one statement for each piece of work."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from moa_graph.runs.guard import Guard
from moa_graph.server.shelf import Shelf

__all__ = ["open_sqlite"]

_BUSY = 0.5
"""Seconds that SQLite itself waits for a lock, while all other work waits behind it; then the guard waits."""
_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_SETUP = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",  # what survives the process; losing power may cost the last few additions
    "CREATE TABLE IF NOT EXISTS moa_shelf (name TEXT PRIMARY KEY, amount REAL, value TEXT, expires REAL)",
)
_ADD = (
    "INSERT INTO moa_shelf (name, amount, expires) VALUES (?1, ?2, ?3)"
    " ON CONFLICT (name) DO UPDATE SET expires = excluded.expires, value = NULL,"
    " amount = excluded.amount + iif(moa_shelf.expires > ?4, coalesce(moa_shelf.amount, 0), 0)"
    " RETURNING amount"
)
_PUT = "INSERT OR REPLACE INTO moa_shelf (name, value, expires) VALUES (?1, ?2, ?3)"
_GET = "SELECT value FROM moa_shelf WHERE name = ?1 AND expires > ?2"
_SWEEP = "DELETE FROM moa_shelf WHERE expires <= ?1"


def _trouble(error: Exception) -> bool | None:
    """See moa_graph.runs.guard.Trouble."""
    if isinstance(error, sqlite3.Error):
        # Extended codes hold the primary one in their lowest byte; https://sqlite.org/rescode.html
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _PASSING
    return False if isinstance(error, RuntimeError) else None  # the thread is gone: the shelf is closed


@asynccontextmanager
async def open_sqlite(url: str) -> AsyncIterator[Shelf]:
    """Open `sqlite:///relative.db` or `sqlite:////absolute.db`; a new file is its owner's alone (0600)."""
    path = _path(url)
    guard = Guard(url, _trouble)
    try:
        _create(path)
    except (OSError, ValueError) as error:  # a name may hold what no file's name can
        raise guard.broken(error) from error
    shelf = _SqliteShelf(path, guard)
    try:
        await shelf.set_up()
        yield shelf
    finally:
        shelf.close()


def _path(url: str) -> Path:
    """Return the file that a URL names, absolute, so that a later change of folder does not move it."""
    return Path(unquote(url.removeprefix("sqlite:///"), errors="surrogateescape")).absolute()


def _create(path: Path) -> None:
    """Make the file if it is missing, before SQLite would do it with a wider mode."""
    with suppress(FileExistsError):
        os.close(os.open(path.resolve(), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


class _SqliteShelf(Shelf):
    """Use one connection in a thread of its own, where a cancelled wait leaves no statement half done."""

    def __init__(self, path: Path, guard: Guard) -> None:
        self._path = path
        self._guard = guard
        self._thread = ThreadPoolExecutor(1, "moa-shelf")
        self._connection: sqlite3.Connection | None = None

    async def set_up(self) -> None:
        """Make the table if it is missing."""
        for statement in _SETUP:
            await self._ask(statement)

    def close(self) -> None:
        """Close the connection once what is under way is done."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    async def _add(self, name: str, amount: float, seconds: float) -> float:
        now = time.time()
        [(total,)] = await self._ask(_ADD, name, amount, now + seconds, now)
        return float(total)

    async def _put(self, name: str, text: str, seconds: float) -> None:
        await self._ask(_PUT, name, text, time.time() + seconds)

    async def _get(self, name: str) -> str | None:
        rows = await self._ask(_GET, name, time.time())
        return None if not rows or rows[0][0] is None else str(rows[0][0])

    async def _sweep(self) -> None:
        await self._ask(_SWEEP, time.time())

    async def _ask(self, statement: str, *values: Any) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await self._guard(lambda: loop.run_in_executor(self._thread, self._do, statement, values))

    def _do(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        if self._connection is None:
            # Without transactions of Python's own each statement commits itself.
            self._connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)
        return self._connection.execute(statement, values).fetchall()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
