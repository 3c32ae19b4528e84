"""A store in PostgreSQL: LangGraph's tables for checkpoints, one of our own for the threads' records."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncCursor, Error
from psycopg.rows import DictRow

from moa_graph.errors import StoreError
from moa_graph.runs.guard import Guard, GuardedSaver
from moa_graph.runs.postgres.leases import Leases
from moa_graph.runs.postgres.pool import Pool
from moa_graph.runs.postgres.server import Connection, Server, ServerGuard
from moa_graph.runs.serializer import untrusted
from moa_graph.runs.stores import Store

__all__ = ["opened"]

POOL_SIZE = 10
"""Connections of one store, besides the one that holds the leases."""
_ROW = re.compile(r"(?<=VALUES )\(%s(?:, %s)*\)")
_SETUP_PATIENCE = 60.0
_SETUP_POLL = 0.05
_SETUP_NUMBER = int.from_bytes(sha256(b"moa_graph tables").digest()[:8], signed=True)
_THREADS = (
    "CREATE TABLE IF NOT EXISTS moa_threads (key text PRIMARY KEY, type text NOT NULL, record bytea NOT NULL)"
)


class _Batch:
    """Gather what LangGraph sends down a pipeline, to send it as one statement: a single round trip."""

    def __init__(self) -> None:
        self._statements: list[str] = []
        self._values: list[Any] = []

    async def execute(self, statement: str, values: Sequence[Any]) -> None:
        """Add a statement."""
        await self.executemany(statement, [values])

    async def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Add an INSERT of several rows."""
        if rows:
            every_row = _ROW.sub(lambda row: ", ".join([row[0]] * len(rows)), statement.strip(" ;\n"))
            self._statements.append(every_row)
            self._values += [value for row in rows for value in row]

    async def send(self, cursor: AsyncCursor[DictRow]) -> None:
        """Do all of it, or nothing."""
        *others, last = self._statements or ["SELECT"]
        together = ", ".join(f"part_{number} AS ({other})" for number, other in enumerate(others))
        await cursor.execute(f"WITH {together} {last}".encode() if others else last.encode(), self._values)


class _PoolSaver(AsyncPostgresSaver):
    """Do what LangGraph's checkpointer does with fewer round trips, which are what a run waits for."""

    def __init__(self, pool: Pool, serializer: SerializerProtocol) -> None:
        super().__init__(cast("Any", pool), serde=serializer)
        self._pool = pool

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        async with self._pool.connection() as connection:
            cursor = connection.cursor(binary=True)
            if pipeline:
                batch = _Batch()
                yield cast("Any", batch)
                await batch.send(cursor)
            else:
                yield cursor

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Write what a task gave; LangGraph's own method takes a thread for packing these few bytes."""
        statement = self.INSERT_CHECKPOINT_WRITES_SQL
        if all(channel in WRITES_IDX_MAP for channel, _ in writes):
            statement = self.UPSERT_CHECKPOINT_WRITES_SQL
            writes = list(dict(writes).items())  # one statement cannot change a row twice
        place = config["configurable"]
        thread_id, namespace, checkpoint_id = (
            place[name] for name in ("thread_id", "checkpoint_ns", "checkpoint_id")
        )
        rows = self._dump_writes(thread_id, namespace, checkpoint_id, task_id, task_path, writes)
        async with self._cursor(pipeline=True) as cursor:
            await cursor.executemany(statement, rows)


class _Saver(GuardedSaver, _PoolSaver):
    """Keep checkpoints in PostgreSQL."""

    def __init__(self, pool: Pool, serializer: SerializerProtocol, guard: Guard) -> None:
        _PoolSaver.__init__(self, pool, serializer)
        self.guard = guard


class _PostgresStore(Store):
    """Keep threads in a PostgreSQL database."""

    def __init__(self, server: Server, pool: Pool, serializer: SerializerProtocol, leases: Leases) -> None:
        self.url = server.url
        self._pool = pool
        self._serializer = serializer
        self._guard = ServerGuard(server)
        self._leases = leases

    def saver(self) -> _Saver:
        """Return a checkpointer of its own for one run: LangGraph's lets one call pass at a time."""
        return _Saver(self._pool, self._serializer, self._guard)

    async def read(self, key: str) -> dict[str, Any] | None:
        """Return a thread's record, or None."""
        rows = await self._ask("SELECT type, record FROM moa_threads WHERE key = %s", key)
        if not rows:
            return None
        record = self._serializer.loads_typed((rows[0]["type"], bytes(rows[0]["record"])))
        if not isinstance(record, dict):
            raise untrusted("it has not the shape of a record")
        return record

    async def write(self, key: str, record: dict[str, Any]) -> None:
        """Write a thread's record."""
        kind, data = self._serializer.dumps_typed(record)
        await self._ask(
            "INSERT INTO moa_threads (key, type, record) VALUES (%s, %s, %s)"
            " ON CONFLICT (key) DO UPDATE SET type = EXCLUDED.type, record = EXCLUDED.record",
            key,
            kind,
            data,
        )

    async def remove(self, key: str) -> None:
        """Take away a thread: its checkpoints first, then its record."""
        await self.saver().adelete_thread(key)
        await self._ask("DELETE FROM moa_threads WHERE key = %s", key)

    async def keys(self) -> list[str]:
        """Return the keys of all threads that have a record, in alphabetical order."""
        return sorted(row["key"] for row in await self._ask("SELECT key FROM moa_threads"))

    def lease(self, key: str, *, wait: bool = False) -> AbstractAsyncContextManager[None]:
        """Hold the right to run a thread: an advisory lock of the database."""
        return self._leases.lease(key, wait=wait)

    async def leased(self, key: str) -> bool:
        """Tell whether somebody, on whatever host, holds a thread's lease."""
        number = self._leases.number(key) % 2**64
        # Where PostgreSQL shows a lock of 64 bits: docs of the view pg_locks.
        return bool(
            await self._ask(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
                " AND classid = %s::bigint::oid AND objid = %s::bigint::oid"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                number >> 32,
                number % 2**32,
            )
        )

    async def _ask(self, query: str, *values: Any) -> list[DictRow]:
        async def work() -> list[DictRow]:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(cast("Any", query), values)
                return await cursor.fetchall() if cursor.description else []

        return await self._guard(work)


@asynccontextmanager
async def _opened(server: Server, serializer: SerializerProtocol) -> AsyncIterator[Store]:
    # What matters of psycopg's warnings is raised; without a handler they would go to the user's terminal.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    try:
        tables = await _set_up(server)
    except Error as error:
        raise ServerGuard(server).broken(error) from error
    pool = Pool(server, POOL_SIZE)
    leases = Leases(server, ServerGuard(server), f"{tables}\n")
    try:
        yield _PostgresStore(server, pool, serializer, leases)
    finally:
        await leases.close()
        await pool.close()


def opened(url: str, serializer: SerializerProtocol) -> AbstractAsyncContextManager[Store]:
    """Open the store; raises MoAError for a URL that cannot be read, StoreError when it cannot be opened."""
    return _opened(Server(url), serializer)


async def _set_up(server: Server) -> int:
    """Make the tables that are missing; return the number by which the database knows ours."""
    connection = await server.connect()
    connection.limit = _SETUP_PATIENCE
    async with connection:
        encoding = await _value(connection, "SELECT current_setting('server_encoding') AS value")
        if encoding != "UTF8":
            raise StoreError(
                f"{server.url}: the database's encoding is {encoding}, which cannot hold every text",
                hint="Make one by: createdb --template=template0 --encoding=UTF8 NAME",
            )
        if not await _is_ready(connection):
            await _wait_for_turn(connection, server)
            await AsyncPostgresSaver(cast("Any", connection)).setup()
            await connection.execute(_THREADS)
        return int(await _value(connection, "SELECT 'moa_threads'::regclass::oid::bigint AS value"))


async def _is_ready(connection: Connection) -> bool:
    """Tell whether nothing is left to make: whoever only uses the tables need not be allowed to make any."""
    names = "to_regclass('moa_threads') IS NOT NULL AND to_regclass('checkpoint_migrations') IS NOT NULL"
    if not await _value(connection, f"SELECT {names} AS value"):
        return False
    last = await _value(connection, "SELECT max(v) AS value FROM checkpoint_migrations")
    return last is not None and last >= len(AsyncPostgresSaver.MIGRATIONS) - 1


async def _wait_for_turn(connection: Connection, server: Server) -> None:
    """Lock out other processes until the connection is closed.

    Whoever waits inside `pg_advisory_lock` keeps a snapshot, for which CREATE INDEX CONCURRENTLY of the one
    who has the lock waits in turn: a deadlock. Hence the polling.
    """
    ends = time.monotonic() + _SETUP_PATIENCE
    while not await _value(connection, f"SELECT pg_try_advisory_lock({_SETUP_NUMBER}) AS value"):
        if time.monotonic() >= ends:
            raise StoreError(f"{server.url}: another process has been making the tables for too long")
        await asyncio.sleep(_SETUP_POLL)


async def _value(connection: Connection, query: str) -> Any:
    row = await (await connection.execute(cast("Any", query))).fetchone()
    return row["value"] if row else None
