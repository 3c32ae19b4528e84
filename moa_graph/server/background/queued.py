"""Background runs as jobs in PostgreSQL, taken from one queue by all processes that serve their specs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar, cast

from procrastinate import App, BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, JobAborted, UniqueViolation
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Job as QueuedJob
from procrastinate.jobs import Status
from procrastinate.worker import Worker
from psycopg import Error

from moa_graph.errors import StoreError, ThreadBusy
from moa_graph.runs.postgres.server import Server, ServerGuard
from moa_graph.server.background.interface import Background
from moa_graph.server.background.jobs import Job, cancelled, interrupted, work
from moa_graph.server.background.tables import connector_of, set_up

if TYPE_CHECKING:
    from moa_graph.server.asking import Served

__all__ = ["QueuedBackground", "open_queued"]

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

HEARTBEAT = 1.0
"""Seconds between a worker's signs of life."""
LOST_AFTER = 5.0
"""Seconds without one after which others take up a worker's jobs."""
SWEEP = 1.0
"""Seconds between looks for jobs whose worker is lost."""
LAST_WORDS = 1.5
"""Seconds for turns that are interrupted at the end to note it."""
_POLL = 1.0
"""Seconds between looks for jobs that were put back; of new ones the database tells at once."""
_CONNECTIONS = 4
_SWEEPING = 0x6D6F615F73776570
"""The number of the advisory lock of whoever sweeps: "moa_swep" as eight bytes."""

_THERE = (AlreadyEnqueued, UniqueViolation, AssertionError)
"""How procrastinate says that a job waits already; the last where the server does not speak English."""


class _Later(Exception):
    """Tell procrastinate when to try again; no error."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


class _Retries(BaseRetryStrategy):
    """Put a job back that says when to try again, or whose worker ends."""

    def get_retry_decision(self, *, exception: BaseException, job: QueuedJob) -> RetryDecision | None:  # noqa: ARG002 -- procrastinate's own signature
        if isinstance(exception, _Later):
            return RetryDecision(retry_in={"seconds": max(1, round(exception.seconds))})
        return RetryDecision() if isinstance(exception, asyncio.CancelledError | StoreError) else None


class QueuedBackground(Background):
    """Queue turns in PostgreSQL, and work on the queue in this process unless the settings say 0."""

    def __init__(self, url: str) -> None:
        self._server = Server(url)
        self._guard = ServerGuard(self._server)
        self._app = App(connector=connector_of(url, _CONNECTIONS))
        self._task = self._app.task(name="moa:run", pass_context=True, retry=_Retries())(self._perform)
        self._working: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
        self._under_way: set[int] = set()
        self._astray: set[int] = set()
        self._served: Served

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Make the tables where they are missing, and hold connections; raises StoreError."""
        try:
            await set_up(self._server)
            await self._app.open_async()
        except Error as error:
            raise self._guard.broken(error) from error
        try:
            yield
        finally:
            await self._app.close_async()

    async def begin(self, served: Served) -> None:
        """Take up turns from now on."""
        self._served = served
        if served.settings.background:
            self._working = asyncio.create_task(self._work(), name="background turns")

    async def submit(self, model: str, thread: str, turn: str, owner: str) -> None:
        """Queue a turn; who serves its spec takes it up."""
        if await self._jobs(thread, turn):
            return
        # One thread's turns run one after the other, and none waits twice.
        waiting = self._task.configure(queue=_queue(model), lock=thread, queueing_lock=_name(thread, turn))
        job = Job(model, thread, turn, owner)
        with suppress(*_THERE):
            await self._ask(lambda: waiting.defer_async(**asdict(job)))

    async def cancel(self, thread: str, turn: str) -> bool:
        """Stop a turn for good, whatever process runs it."""
        manager = self._app.job_manager
        asked = False
        for job in await self._jobs(thread, turn):
            stop = partial(manager.cancel_job_by_id_async, job.id or 0, abort=True, delete_job=True)
            asked |= await self._ask(stop)
        try:
            return await cancelled(self._served.performer.store, Job("", thread, turn, ""))
        except ThreadBusy:
            if asked:  # its worker has been told, and notes it
                return True
            raise

    async def drain(self) -> None:
        """Take up no more, wait for what is under way, and put back what lasts too long."""
        working, self._working = self._working, None
        if working is None:
            return
        living = asyncio.create_task(self._live_on(), name="signs of life of background turns that end")
        patience = self._served.settings.drain + LAST_WORDS
        try:
            while not working.done():
                working.cancel()  # and again: some libraries lose a cancellation
                await asyncio.wait({working}, timeout=patience)
                patience = LAST_WORDS
        finally:
            living.cancel()
        await asyncio.wait({living})

    async def _live_on(self) -> None:
        """Give signs of life while the last jobs end: procrastinate stops its own before it waits."""
        while self._worker is not None and self._worker.worker_id is not None:
            with suppress(ConnectorException, Error):
                await self._app.job_manager.update_heartbeat(self._worker.worker_id)
            await asyncio.sleep(HEARTBEAT)

    async def _jobs(self, thread: str, turn: str, status: str | None = None) -> Iterable[QueuedJob]:
        """Return the jobs of a turn: those that wait ("todo") and those under way ("doing")."""
        manager, name = self._app.job_manager, _name(thread, turn)
        return await self._ask(lambda: manager.list_jobs_async(queueing_lock=name, status=status))

    async def _ask(self, work: Callable[[], Awaitable[T]]) -> T:
        """Ask the database, patiently as the store is; raises StoreError."""

        async def asked() -> T:
            try:
                return await work()
            except ConnectorException as error:
                raise (error.__cause__ or error) from None  # psycopg's own, which tells whether it may pass

        return await self._guard(asked)

    async def _perform(self, context: JobContext, /, **given: str) -> None:
        job, number = Job(**given), context.job.id or 0
        store = self._served.performer.store
        self._under_way.add(number)
        try:
            pause = await work(self._served, job)
        except asyncio.CancelledError:
            if context.abort_reason() is AbortReason.USER_REQUEST:
                with suppress(StoreError, ThreadBusy):
                    await cancelled(store, job)
                raise JobAborted from None
            await interrupted(store, job)
            raise
        finally:
            self._under_way.discard(number)
        if pause is not None and not await self._jobs(job.thread, job.turn, "todo"):
            raise _Later(pause)

    async def _work(self) -> None:
        """Work on the queue; after a trouble of the database, which ends a worker, begin anew."""
        sweeping = asyncio.create_task(self._sweep(), name="background turns of lost workers")
        settings = self._served.settings
        try:
            while True:
                try:
                    self._worker = Worker(
                        self._app,
                        queues=[_queue(model) for model in self._served.performer.models],
                        concurrency=settings.background,
                        fetch_job_polling_interval=_POLL,
                        abort_job_polling_interval=_POLL,
                        shutdown_graceful_timeout=settings.drain,
                        # How a turn ended is noted in its thread.
                        delete_jobs="always",
                        install_signal_handlers=False,
                        update_heartbeat_interval=HEARTBEAT,
                        stalled_worker_timeout=LOST_AFTER,
                    )
                    await cast("Any", self._worker).run()  # which has no annotations
                except Exception:  # noqa: BLE001 -- whatever ends a worker, turns go on to be queued
                    _LOG.warning("background turns wait", exc_info=True)
                await asyncio.sleep(1)
        finally:
            sweeping.cancel()
            await asyncio.wait({sweeping})

    async def _sweep(self) -> None:
        """Put back the jobs of workers that were killed, for as long as this one works."""
        with suppress(ConnectorException, Error):
            # Only those are left that were cancelled after their worker was killed.
            await self._app.job_manager.delete_old_jobs(nb_hours=1, include_failed=True)
        while True:
            with suppress(ConnectorException, Error):  # it is looked again in a moment
                await self._put_back()
            await asyncio.sleep(SWEEP)

    async def _put_back(self) -> None:
        connector: Any = self._app.connector
        manager = self._app.job_manager
        async with connector.pool.connection() as connection:
            # One at a time: what another one has put back may be under way again already.
            cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_SWEEPING])
            if not (await cursor.fetchone())[0]:
                return
            lost = await manager.get_stalled_jobs(seconds_since_heartbeat=LOST_AFTER)
            for job in [*lost, *await self._strays()]:
                try:
                    await manager.retry_job(job)
                except _THERE:  # the same turn waits once more already
                    await manager.finish_job(job, Status.FAILED, delete_job=True)
                else:
                    _LOG.warning("job %s is taken up again: its worker had lost it", job.id)

    async def _strays(self) -> list[QueuedJob]:
        """Return jobs that the database takes to be under way here, and that are not, for the second time.

        Its word that this worker has a job, or ours that the job has ended, was lost with a connection.
        """
        if self._worker is None or self._worker.worker_id is None:
            return []
        id_ = self._worker.worker_id
        jobs = await self._app.job_manager.list_jobs_async(status="doing", worker_id=id_)
        before, self._astray = self._astray, {job.id or 0 for job in jobs} - self._under_way
        return [job for job in jobs if job.id in before & self._astray]


def _queue(model: str) -> str:
    # A queue's name is part of a notification channel's, which may have 63 bytes.
    return f"moa_{sha256(model.encode()).hexdigest()[:24]}"


def _name(thread: str, turn: str) -> str:
    # Without signs that procrastinate would trip over where it reads the server's words.
    return sha256(f"{thread}\n{turn}".encode()).hexdigest()


@asynccontextmanager
async def open_queued(url: str) -> AsyncIterator[Background]:
    """Give a QueuedBackground that ends with the block; raises MoAError and StoreError."""
    background = QueuedBackground(url)
    async with background.opened():
        try:
            yield background
        finally:
            await background.drain()
