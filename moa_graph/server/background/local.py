"""Background runs as tasks of the one server process, over a store that no other process shares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from moa_graph.errors import MoAError
from moa_graph.runs.records import key_of, read_record, thread_of
from moa_graph.runs.stores import Store
from moa_graph.server.background.interface import Background
from moa_graph.server.background.jobs import Job, cancelled, has_ended, interrupted, work

if TYPE_CHECKING:
    from moa_graph.server.asking import Served

__all__ = ["LocalBackground", "open_local"]

_LOG = logging.getLogger(__name__)


class LocalBackground(Background):
    """Run turns in tasks; at its beginning it takes up those that a process before left unended."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._under_way: set[Job] = set()
        self._search: asyncio.Task[None] | None = None
        self._drained = False
        self._served: Served
        self._places: asyncio.Semaphore

    async def begin(self, served: Served) -> None:
        """Take up turns from now on."""
        self._served = served
        self._places = asyncio.Semaphore(served.settings.background)
        self._search = asyncio.create_task(self._take_up(), name="background turns of before")

    async def submit(self, model: str, thread: str, turn: str, owner: str) -> None:
        """Have a turn run; while the server ends it stays noted for the next start."""
        self._start(Job(model, thread, turn, owner))

    async def cancel(self, thread: str, turn: str) -> bool:
        """Stop a turn for good."""
        task = self._tasks.get((thread, turn))
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        return await cancelled(self._store, Job("", thread, turn, ""))

    async def drain(self) -> None:
        """Take up no more, wait for what is under way, and interrupt what lasts too long."""
        if self._drained or self._search is None:
            return
        self._drained = True
        self._search.cancel()
        places = {(job.thread, job.turn) for job in self._under_way}
        waiting = {task for place, task in self._tasks.items() if place not in places}
        under_way = {self._tasks[place] for place in places}
        for task in waiting:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way, timeout=self._served.settings.drain)
        for task in under_way:
            task.cancel()
        await asyncio.wait({self._search, *waiting, *under_way})

    @property
    def _store(self) -> Store:
        return self._served.performer.store

    def _start(self, job: Job) -> None:
        place = (job.thread, job.turn)
        if place in self._tasks or self._drained:
            return
        task = asyncio.create_task(self._run(job), name=f"background turn {job.turn}")
        self._tasks[place] = task
        task.add_done_callback(lambda _: self._tasks.pop(place))

    async def _run(self, job: Job) -> None:
        pause: float | None = 0.0
        while pause is not None:
            await asyncio.sleep(pause)
            async with self._places:
                self._under_way.add(job)
                try:
                    pause = await work(self._served, job)
                except asyncio.CancelledError:
                    if self._drained:
                        await interrupted(self._store, job)
                    raise
                finally:
                    self._under_way.discard(job)

    async def _take_up(self) -> None:
        """Look through all threads for background turns that have not ended and that nobody runs."""
        try:
            for key in await self._store.keys():
                try:
                    await self._look_at(thread_of(key))
                except MoAError as error:
                    _LOG.warning("thread %s is not looked at: %s", key, error.message)
        except MoAError as error:
            _LOG.error("the background turns of before are not taken up: %s", error.message)

    async def _look_at(self, thread: str) -> None:
        record = await read_record(self._store, thread)
        if record is None or not record.turn.notes.get("background") or has_ended(record, record.turn):
            return
        if record.turn.status == "running" and await self._store.leased(key_of(thread)):
            return
        model = record.load_spec().name
        if model in self._served.performer.models:
            self._start(Job(model, thread, record.turn.id, thread.partition("/")[0]))


@asynccontextmanager
async def open_local() -> AsyncIterator[Background]:
    """Give a LocalBackground that ends with the block."""
    background = LocalBackground()
    try:
        yield background
    finally:
        await background.drain()
