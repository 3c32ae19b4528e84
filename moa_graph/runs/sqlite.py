"""Threads in a SQLite file: one connection in WAL mode, and a lock file for every thread that runs."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import aiosqlite
from filelock import FileLock, Timeout
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from moa_graph.errors import MoAError, StoreError, ThreadError
from moa_graph.runs.guard import Guard, GuardedSaver, claim
from moa_graph.runs.serializer import untrusted
from moa_graph.runs.stores import Store

__all__ = ["open_sqlite"]

_BUSY = 0.5
"""Seconds that SQLite itself waits for a lock, while all other work waits behind it; then the guard waits."""
_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_CLOSED = frozenset({"no active connection", "Connection closed"})
_COLUMNS = "thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value"
_ROW = f"({', '.join('?' * len(_COLUMNS.split()))})"
_TABLE = "CREATE TABLE IF NOT EXISTS moa_threads (key TEXT PRIMARY KEY NOT NULL, type TEXT, record BLOB)"


def _trouble(error: Exception) -> bool | None:
    """See moa_graph.runs.guard.Trouble."""
    if isinstance(error, sqlite3.Error):
        # Extended codes hold the primary one in their lowest byte; https://sqlite.org/rescode.html
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _PASSING
    if isinstance(error, ValueError) and str(error) in _CLOSED:  # aiosqlite's own words for it
        return False
    return None


class _Turn(asyncio.Lock):
    """Let one piece of work at a time use the connection, and take back what it did not commit.

    Else a cancelled write would leave its transaction open, and with it the whole file locked.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        super().__init__()
        self._connection = connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                with suppress(sqlite3.Error, ValueError):  # a closed connection has nothing to take back
                    await self._connection.rollback()
        finally:
            await super().__aexit__(kind, error, trace)


class _QuickSaver(AsyncSqliteSaver):
    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Write what a task gave, in one statement.

        LangGraph opens and closes a cursor round it: twice as many waits for SQLite's thread, which take a
        seventh of a run's CPU time, for there are two dozen such writes in a run.
        """
        await self.setup()
        place = config["configurable"]
        key = (str(place["thread_id"]), str(place["checkpoint_ns"]), str(place["checkpoint_id"]))
        rows = [
            (
                *key,
                task_id,
                task_path,
                WRITES_IDX_MAP.get(channel, number),
                channel,
                *self.serde.dumps_typed(value),
            )
            for number, (channel, value) in enumerate(writes)
        ]
        known = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        statement = f"INSERT OR {'REPLACE' if known else 'IGNORE'} INTO writes ({_COLUMNS}) VALUES "  # noqa: S608 - ours
        async with self.lock:
            await self.conn.execute_fetchall(statement + ",".join([_ROW] * len(rows)), [*chain(*rows)])
            await self.conn.commit()


class _Saver(GuardedSaver, _QuickSaver):
    def __init__(
        self, connection: aiosqlite.Connection, guard: Guard, serializer: SerializerProtocol
    ) -> None:
        super().__init__(connection, serde=serializer)
        self.guard = guard
        self.lock = _Turn(connection)


@asynccontextmanager
async def open_sqlite(
    url: str, serializer: SerializerProtocol, *, create: bool = True
) -> AsyncIterator[Store]:
    """Open `sqlite:///relative.db` or `sqlite:////absolute.db`; a new file is its owner's alone (0600).

    Raises MoAError for a URL that names no file, and StoreError when the file cannot be opened or is no
    database.
    """
    path = _path(url)
    guard = Guard(url, _trouble)
    try:
        if create:
            _create(path)
        elif not path.exists():
            raise ThreadError(
                f"there are no threads: {path} does not exist", hint="Check where they are kept."
            )
    except OSError as error:
        raise StoreError(
            f"{url}: {error.strerror or error}", hint=f"Check that the folder exists: {path.parent}"
        ) from error
    # Opened beforehand: when aiosqlite cannot, its thread tells of its end to a loop that may be gone.
    opened = await guard(lambda: asyncio.to_thread(_open, path))
    connection = await aiosqlite.Connection(lambda: opened, iter_chunk_size=64)
    try:
        store = _SqliteStore(path, guard, _Saver(connection, guard, serializer))
        if create or not await store.is_foreign():
            await store.set_up()
        else:
            raise ThreadError(f"there are no threads in {path}", hint="Check where they are kept.")
        yield store
    finally:
        with suppress(sqlite3.Error):  # what was committed is on the disk
            await _to_the_end(connection.close())


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY, check_same_thread=False)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work whoever cancels the wait: SQLite's thread reports to a loop, which must be there."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()


def _path(url: str) -> Path:
    """Return the file that a URL names, absolute, so that a later change of folder does not move it."""
    place = url.removeprefix("sqlite:///")
    path = unquote(place, errors="surrogateescape")
    problem = ""
    if place == url:
        problem = "does not begin with sqlite:/// (a file has no host)"
    elif "?" in place:
        problem = "has options; there are none (a question mark in a name is written %3F)"
    elif not path or path.endswith("/") or "\0" in path:
        problem = "names no file"
    elif path == ":memory:":
        problem = "is not kept; memory: says so"
    if problem:
        shown = re.sub(r"//[^/]*@", "//", url)  # a password has no place here, but may stand here
        raise MoAError(
            f"{shown!r} {problem}", hint="Use sqlite:///relative.db or sqlite:////absolute/path.db."
        )
    return Path(path).absolute()


def _create(path: Path) -> None:
    """Make the file if it is missing, before SQLite would do it with a wider mode; -wal and -shm follow it.

    A file that is there is not opened: closing it again would end the locks that another store of this
    process has on it; https://sqlite.org/howtocorrupt.html
    """
    real = path.resolve()  # where a link leads, even to a file that is not there yet
    with suppress(FileExistsError):
        os.close(os.open(real, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


class _SqliteStore(Store):
    def __init__(self, path: Path, guard: Guard, saver: _Saver) -> None:
        self.url = guard.url
        self._locks = path.with_name(f"{path.name}.locks")
        self._guard = guard
        self._saver = saver

    async def is_foreign(self) -> bool:
        """Tell whether the file is another program's: who only looks leaves that as it is."""
        tables = await self._execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return bool(tables) and ("moa_threads",) not in tables

    async def set_up(self) -> None:
        """Make the tables that are missing."""
        await self._execute("PRAGMA synchronous=FULL")
        await self._guard(self._saver.setup)
        await self._execute(_TABLE)

    def saver(self) -> _Saver:
        return self._saver

    async def read(self, key: str) -> dict[str, Any] | None:
        rows = await self._execute("SELECT type, record FROM moa_threads WHERE key = ?", key)
        if not rows:
            return None
        record = self._saver.serde.loads_typed(rows[0])
        if not isinstance(record, dict):
            raise untrusted("it has not the shape of a record")
        return record

    async def write(self, key: str, record: dict[str, Any]) -> None:
        values = self._saver.serde.dumps_typed(record)
        await self._execute("INSERT OR REPLACE INTO moa_threads VALUES (?, ?, ?)", key, *values)

    async def remove(self, key: str) -> None:
        await self._saver.adelete_thread(key)
        await self._execute("DELETE FROM moa_threads WHERE key = ?", key)

    async def keys(self) -> list[str]:
        keys = [key for (key,) in await self._execute("SELECT key FROM moa_threads ORDER BY key")]
        if not all(isinstance(key, str) for key in keys):
            raise untrusted("its key is no text")
        return keys

    async def _execute(self, statement: str, *values: Any) -> list[Any]:
        async def work() -> list[Any]:
            async with self._saver.lock, self._saver.conn.execute(statement, values) as cursor:
                rows = await cursor.fetchall()
                await self._saver.conn.commit()
                return list(rows)

        return await self._guard(work)

    @asynccontextmanager
    async def lease(self, key: str, *, wait: bool = False) -> AsyncIterator[None]:
        lock = self._lock(key)

        async def take() -> bool:
            return self._take(lock)

        await claim(key, take, wait=wait)
        try:
            yield
        finally:
            lock.release()

    async def leased(self, key: str) -> bool:
        return not self._is_free(self._lock(key))

    def _lock(self, key: str) -> FileLock:
        # A lock that does not vanish with its process is none: better no lease on such a file system.
        name = f"{sha256(key.encode()).hexdigest()[:32]}.lock"
        return FileLock(self._locks / name, mode=0o600, thread_local=False, fallback_to_soft=False)

    def _is_free(self, lock: FileLock) -> bool:
        """Tell whether nobody has a lock; who only looks leaves no file behind."""
        if not Path(lock.lock_file).exists():
            return True
        free = self._take(lock)
        if free:
            lock.release()
        return free

    def _take(self, lock: FileLock) -> bool:
        """Try to take a lock; this neither blocks nor waits, so a cancellation cannot come between."""
        try:
            self._locks.mkdir(mode=0o700, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise self._guard.broken(error) from error
        return True
