"""A shelf in PostgreSQL, beside the threads: one statement, one round trip for each piece of work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, cast
from uuid import uuid4

from psycopg import Error
from psycopg.rows import DictRow

from moa_graph.runs.postgres.pool import Pool
from moa_graph.runs.postgres.server import Server, ServerGuard
from moa_graph.server.shelf import Shelf

__all__ = ["open_postgres"]

POOL_SIZE = 4
"""Connections of one shelf, beside those of the store."""
_SETUP_NUMBER = int.from_bytes(sha256(b"moa_graph shelf").digest()[:8], signed=True)
# Nothing but its name is indexed, so that an addition rewrites no index; sweeping reads a small table.
_TABLE = (
    "CREATE TABLE IF NOT EXISTS moa_shelf (name text PRIMARY KEY, amount double precision, value text,"
    " mark text, expires timestamptz NOT NULL)"
)
_EXPIRES = "clock_timestamp() + make_interval(secs => %(seconds)s)"
# The mark is an addition's own: one that was committed before its connection broke is not made twice.
_ADD = (
    "INSERT INTO moa_shelf AS kept (name, amount, mark, expires)"  # noqa: S608 - ours
    f" VALUES (%(name)s, %(amount)s, %(mark)s, {_EXPIRES})"
    " ON CONFLICT (name) DO UPDATE SET expires = EXCLUDED.expires, mark = EXCLUDED.mark, value = NULL,"
    " amount = CASE WHEN kept.expires <= clock_timestamp() THEN EXCLUDED.amount"
    " WHEN kept.mark = EXCLUDED.mark THEN kept.amount"
    " ELSE coalesce(kept.amount, 0) + EXCLUDED.amount END"
    " RETURNING amount"
)
_PUT = (
    "INSERT INTO moa_shelf (name, value, expires)"  # noqa: S608 - ours
    f" VALUES (%(name)s, %(value)s, {_EXPIRES})"
    " ON CONFLICT (name) DO UPDATE SET expires = EXCLUDED.expires, value = EXCLUDED.value,"
    " amount = NULL, mark = NULL"
)
_GET = "SELECT value FROM moa_shelf WHERE name = %(name)s AND expires > clock_timestamp()"
_SWEEP = "DELETE FROM moa_shelf WHERE expires <= clock_timestamp()"


@asynccontextmanager
async def open_postgres(url: str) -> AsyncIterator[Shelf]:
    """Open `postgresql://user@host/database`; what follows a `?` are libpq's own settings."""
    server = Server(url)
    try:
        await _set_up(server)
    except Error as error:
        raise ServerGuard(server).broken(error) from error
    pool = Pool(server, POOL_SIZE)
    try:
        yield _PostgresShelf(server, pool)
    finally:
        await pool.close()


async def _set_up(server: Server) -> None:
    """Make the table if it is missing: whoever only uses it need not be allowed to make any."""
    async with await server.connect() as connection:
        cursor = await connection.execute("SELECT to_regclass('moa_shelf') IS NOT NULL AS there")
        row = await cursor.fetchone()
        if row is None or not row["there"]:
            # Two processes that make a table at once trip over each other, IF NOT EXISTS or not. The lock
            # ends with the connection.
            await connection.execute(cast("Any", f"SELECT pg_advisory_lock({_SETUP_NUMBER})"))
            await connection.execute(_TABLE)


class _PostgresShelf(Shelf):
    def __init__(self, server: Server, pool: Pool) -> None:
        self._pool = pool
        self._guard = ServerGuard(server)

    async def _add(self, name: str, amount: float, seconds: float) -> float:
        [row] = await self._ask(_ADD, name=name, amount=amount, seconds=seconds, mark=uuid4().hex)
        return float(row["amount"])

    async def _put(self, name: str, text: str, seconds: float) -> None:
        await self._ask(_PUT, name=name, value=text, seconds=seconds)

    async def _get(self, name: str) -> str | None:
        rows = await self._ask(_GET, name=name)
        return None if not rows else cast("str | None", rows[0]["value"])

    async def _sweep(self) -> None:
        await self._ask(_SWEEP)

    async def _ask(self, query: str, **values: Any) -> list[DictRow]:
        async def work() -> list[DictRow]:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(cast("Any", query), values)
                return await cursor.fetchall() if cursor.description else []

        return await self._guard(work)
