"""A few connections that many runs share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import Error, InterfaceError, OperationalError
from psycopg.pq import TransactionStatus

from moa_graph.runs import guard
from moa_graph.runs.postgres.server import Connection, Server

__all__ = ["CHECK_AFTER", "CHECK_PATIENCE", "Pool"]

CHECK_AFTER = 1.0
"""Seconds of silence after which a connection is checked: under load that would be an eighth of all work."""
CHECK_PATIENCE = 3.0
"""Seconds for a connection to say that it is there."""


class Pool:
    """Share connections that are made, and made anew, by whoever needs one: the guard is patient for all.

    Not psycopg's pool: its workers pause ever longer between attempts to reach a server (after 8 s without
    one the next comes at 15), its check pauses for seconds after each dead connection, and with Python
    3.11 who waits in it may miss a cancellation.
    """

    def __init__(self, server: Server, size: int) -> None:
        self._server = server
        self._places = asyncio.Semaphore(size)
        self._idle: list[tuple[Connection, float]] = []
        self._heard = 0.0
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Give a connection once one is free; raises psycopg's errors."""
        began = time.monotonic()
        async with self._places:
            if self._heard < began < time.monotonic() - guard.PATIENCE:
                raise OperationalError("the server answers nobody")
            connection = await self._take()
            try:
                yield connection
            finally:
                await self._give_back(connection)

    async def close(self) -> None:
        """Close all connections, also those that are in use, once they are given back."""
        self._closed = True
        await self._drop_idle()

    async def _take(self) -> Connection:
        if self._closed:
            raise InterfaceError("the store is closed")
        if self._idle:
            connection, since = self._idle.pop()
            if time.monotonic() - since < CHECK_AFTER or await self._answers(connection):
                return connection
        return await self._server.connect()

    async def _answers(self, connection: Connection) -> bool:
        """Check a connection; when it is lost, so are likely those that nobody uses."""
        connection.limit = CHECK_PATIENCE
        try:
            await connection.execute("")
        except BaseException as error:
            await connection.close()
            await self._drop_idle()
            if isinstance(error, Error):
                return False
            raise
        connection.limit = None
        return True

    async def _give_back(self, connection: Connection) -> None:
        if connection.pgconn.transaction_status == TransactionStatus.IDLE and not self._closed:
            self._heard = time.monotonic()
            self._idle.append((connection, self._heard))
            return
        lost = connection.closed
        await connection.close()
        if lost:
            await self._drop_idle()

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            await connection.close()
