"""Leases as advisory locks, all of one session: thousands of runs take one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Any, TypeVar
from uuid import uuid4

from psycopg import Error

from moa_graph.errors import StoreError
from moa_graph.runs import stores
from moa_graph.runs.guard import Guard, claim
from moa_graph.runs.postgres.pool import CHECK_PATIENCE
from moa_graph.runs.postgres.server import Connection, Server

__all__ = ["Leases"]

T = TypeVar("T")

PING = 2.0
"""Seconds between looks at a connection from which nothing was heard."""
_POLL = 0.1
_CANCEL_AGAIN = 5.0
"""Seconds for a cancelled run to note how it ended."""
_CANCELLATIONS = 10

_TAKE = "SELECT pg_try_advisory_lock(%s) AS taken"
_GIVE_BACK = "SELECT pg_advisory_unlock(%s) AS taken"
_LOOK = "SELECT true AS taken"
# Without this a session whose host vanished would keep its locks for two hours, the usual time of TCP.
_NOTICE_A_LOST_HOST = (
    "SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),"
    " set_config('tcp_keepalives_count', '3', false)"
)
# After the network broke, the server may still keep the session that we lost, and its locks.
_END_LOST_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = %s AND usename = current_user AND pid <> pg_backend_pid()"
)


class _Holder:
    """Know who has a lease: `granted` from the server's yes to giving back, `lost` when that broke."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.granted = False
        self.lost: StoreError | None = None
        self._task = task
        self._before = task.cancelling()
        self._ours = 0
        self._again: asyncio.TimerHandle | None = None

    def lose(self, error: StoreError) -> None:
        """Cancel the task that relies on the lease."""
        if self.granted and self.lost is None:
            self.lost = error
            self._cancel()

    def _cancel(self) -> None:
        """Cancel, and again as long as the task runs on: some libraries lose a cancellation."""
        self._task.cancel()
        self._ours += 1
        if self._ours < _CANCELLATIONS:
            self._again = asyncio.get_running_loop().call_later(_CANCEL_AGAIN, self._cancel)

    def cancelled_from_outside(self) -> bool:
        """Take back our own cancellations; tell whether there is another one (see `asyncio.Timeout`)."""
        for _ in range(self._ours):
            self._task.uncancel()
        self._ours = 0
        return self._task.cancelling() > self._before

    def end(self) -> None:
        """Stop minding the task."""
        self.granted = False
        if self._again is not None:
            self._again.cancel()


class Leases:
    """Hold leases in one session of a server, and take them again when that breaks.

    `realm` sets apart stores that share a database; it is the same text in all processes.
    """

    def __init__(self, server: Server, guard: Guard, realm: str) -> None:
        self._server = server
        self._guard = guard
        self._realm = realm
        self._name = f"moa_graph leases {uuid4().hex}"
        self._held: dict[str, _Holder] = {}
        self._connection: Connection | None = None
        self._one_at_a_time = asyncio.Lock()
        self._heard = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watcher: asyncio.Task[None] | None = None

    def number(self, key: str) -> int:
        """Return the number of a thread's advisory lock, 64 bits with a sign."""
        return int.from_bytes(sha256(f"{self._realm}{key}".encode()).digest()[:8], signed=True)

    @asynccontextmanager
    async def lease(self, key: str, *, wait: bool) -> AsyncIterator[None]:
        """Hold a lease; see `Store.lease`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- this is a coroutine
        holder = _Holder(task)
        await claim(key, lambda: self._try(key, holder), wait=wait)
        try:
            yield
        except asyncio.CancelledError:
            if holder.lost is None or holder.cancelled_from_outside():
                raise
            raise holder.lost from None
        except BaseException:
            if holder.lost is not None:
                holder.cancelled_from_outside()
            raise
        else:
            if holder.lost is not None:
                holder.cancelled_from_outside()
                raise holder.lost
        finally:
            await self._give_back(key, holder)

    async def close(self) -> None:
        """End the session, and with it all leases."""
        tasks = {*self._tasks, *([self._watcher] if self._watcher else [])}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drop()

    async def _try(self, key: str, holder: _Holder) -> bool:
        """Take a lease if it is free; a session may take its own lock twice, so we look here first."""
        if key in self._held:
            return False
        self._held[key] = holder

        async def work() -> None:
            holder.granted = await self._guard(lambda: self._ask(_TAKE, self.number(key)))

        taking = self._start(work())
        try:
            await asyncio.shield(taking)
        except BaseException:
            # The server may have given it, or may be about to.
            self._start(self._undo(taking, key, holder))
            raise
        if not holder.granted:
            del self._held[key]
        elif self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(), name="moa_graph leases")
        return holder.granted

    async def _undo(self, taking: asyncio.Task[None], key: str, holder: _Holder) -> None:
        await asyncio.wait({taking})
        await self._give_back(key, holder)

    async def _give_back(self, key: str, holder: _Holder) -> None:
        holder.end()
        if holder.lost is None:
            await asyncio.shield(self._start(self._unlock(key)))
        else:
            del self._held[key]

    async def _unlock(self, key: str) -> None:
        try:
            async with self._one_at_a_time:
                if self._connection is not None:
                    await self._execute(self._connection, _GIVE_BACK, self.number(key))
        except Error:
            # The session is over, and with it the lock; the others are taken again.
            self._heard.set()
        finally:
            del self._held[key]

    async def _watch(self) -> None:
        """Look at the session whenever something is heard from it, or nothing for long."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PING):
                    await self._heard.wait()
            self._heard.clear()
            async with self._one_at_a_time:
                if not self._held:
                    await self._drop()
                    self._watcher = None
                    return
            # After twice the patience: a run's own failure comes first, and hands over what was made.
            error = await self._trouble() and await self._trouble()
            if error is not None:
                for holder in self._held.values():
                    holder.lose(error)

    async def _trouble(self) -> StoreError | None:
        try:
            await self._guard(lambda: self._ask(_LOOK))
        except StoreError as error:
            return error
        return None

    async def _ask(self, query: str, *values: Any) -> bool:
        async with self._one_at_a_time:
            if self._connection is None:
                self._connection = await self._connect()
            return await self._execute(self._connection, query, *values)

    async def _connect(self) -> Connection:
        """Begin a session and take again in it what is held."""
        connection = await self._server.connect(application_name=self._name)
        connection.limit = CHECK_PATIENCE
        try:
            await connection.execute(_NOTICE_A_LOST_HOST)
            await connection.execute(_END_LOST_SESSIONS, [self._name])
            ends = time.monotonic() + stores.BUSY_PATIENCE
            for key, holder in list(self._held.items()):
                while holder.granted and holder.lost is None:
                    cursor = await connection.execute(_TAKE, [self.number(key)])
                    row = await cursor.fetchone()
                    if row and row["taken"]:
                        break
                    if time.monotonic() >= ends:
                        holder.lose(self._taken(key))
                    await asyncio.sleep(_POLL)
        except BaseException:
            await connection.close()
            raise
        return connection

    def _taken(self, key: str) -> StoreError:
        return StoreError(
            f"{self._server.url}: the connection broke, and somebody else now runs thread {key!r}",
            hint="Wait until that run has ended; what this one finished is kept.",
        )

    async def _execute(self, connection: Connection, query: str, *values: Any) -> bool:
        """Ask on a connection that is watched whenever nobody asks."""
        try:
            loop, socket = asyncio.get_running_loop(), connection.fileno()
            loop.remove_reader(socket)
            row = await (await connection.execute(query.encode(), values)).fetchone()
        except BaseException:
            await self._drop()
            raise
        loop.add_reader(socket, self._hear, socket)
        return bool(row and row["taken"])

    def _hear(self, socket: int) -> None:
        asyncio.get_running_loop().remove_reader(socket)
        self._heard.set()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.closed:
            asyncio.get_running_loop().remove_reader(connection.fileno())
            await connection.close()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin what must not stop halfway; who waits for it (shielded) may be cancelled all the same."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever waits; nobody does when that one was cancelled
