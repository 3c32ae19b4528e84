"""Who may run something now: what a key has left, and a place among those that run."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from moa_graph.server.faults import Refused, closing
from moa_graph.server.keys import Key
from moa_graph.server.shelf import Shelf

__all__ = ["CLOSING", "Admission", "Limiter", "used_up"]

T = TypeVar("T")

CLOSING = 1.0
"""Seconds that the last corrections get at the end; what they would have given back stays counted."""
_LOG = logging.getLogger(__name__)
_MINUTE = 60
_SHELF_DAY = 2 * 24 * 3600.0
"""Seconds that a day's sum is kept: the correction of a run may come after midnight."""
_LEAST = 1e-9
"""USD that count as nothing: what sums of fractions leave behind."""
_MOMENT = 5
"""Seconds after which a full queue is worth another try."""


class Admission:
    """Be the right to run once; `max_cost` is USD that are reserved for it, None where its key has no limit.

    So much is counted against the key's day from the beginning, whatever becomes of this process. `left` is
    what the key had left then.
    """

    def __init__(
        self,
        max_cost: float | None = None,
        correct: Callable[[float], None] | None = None,
        left: float | None = None,
    ) -> None:
        self.max_cost = max_cost
        self.left = left
        self._correct = correct

    def settle(self, cost: float | None) -> None:
        """Count USD that were paid instead of what was reserved; None, or never: the reservation counts."""
        correct, self._correct = self._correct, None
        if correct is not None and self.max_cost is not None and cost is not None:
            correct(cost - self.max_cost)


class Limiter:
    """Hold requests to the limits of their keys and of this process.

    A key's requests per minute (of the clock) and its cost per day (UTC) are counted on the shelf: processes
    that share a database share them. Runs under way are counted in each process, and wait there for one of
    `at_once` places: at most `queue` do, first come, first served, each for at most `patience` seconds.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        at_once: int,
        queue: int,
        patience: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._shelf = shelf
        self._places = _Places(at_once, queue, patience)
        self._now = now
        self._runs: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def waiting(self) -> int:
        """Return how many requests wait for a place."""
        return self._places.waiting

    @asynccontextmanager
    async def admitted(
        self, key: Key, most: float | None, *, request: bool = True
    ) -> AsyncIterator[Admission]:
        """Give a request its place, and its key's money; `most` is USD that it costs at most, None: unknown.

        With `request` it counts among the key's requests per minute.

        Raises Refused with 429 when the key has used up a limit or no place came free, with 403 when its
        cost per day is limited and the run's cost is not, and with 503 once the server shuts down.
        """
        self._places.check()
        with self._counted(key):
            if request:
                await self._count_request(key)
            admission = await self._reserved(key, most)
            try:
                await self._places.take()
            except BaseException:
                admission.settle(0.0)
                raise
            try:
                yield admission
            finally:
                self._places.give_back()

    def drain(self) -> None:
        """Admit nobody from now on, nor those who wait: none of them has paid for anything."""
        self._places.close()

    async def close(self) -> None:
        """Wait until what runs cost is counted, for a bounded time."""
        ends = time.monotonic() + CLOSING
        while self._tasks and (left := ends - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        if self._tasks:
            _LOG.warning("What %d run(s) cost is not counted: what was reserved is", len(self._tasks))
        for task in self._tasks:
            task.cancel()

    @contextmanager
    def _counted(self, key: Key) -> Iterator[None]:
        """Count a run against its key's, also while it waits: else one key could fill the queue."""
        limit = key.limits.concurrent_runs
        if limit is not None and self._runs[key.id] >= limit:
            raise _busy(f"the key's limit of runs at once is {limit}", "concurrent_runs_exceeded", 1)
        self._runs[key.id] += 1
        try:
            yield
        finally:
            self._runs[key.id] -= 1
            if not self._runs[key.id]:
                del self._runs[key.id]

    async def _count_request(self, key: Key) -> None:
        limit, now = key.limits.requests_per_minute, self._now()
        if limit is None:
            return
        minute = int(now // _MINUTE)
        count = await self._shelf.add(f"rpm/{key.id}/{minute}", 1, 2 * _MINUTE)
        if count > limit:
            seconds = (minute + 1) * _MINUTE - now
            raise _busy(f"the key's limit of requests per minute is {limit}", "rate_limit_exceeded", seconds)

    async def _reserved(self, key: Key, most: float | None) -> Admission:
        """Return an admission for which the key's money is reserved."""
        limit = key.limits.cost_per_day
        if limit is None:
            return Admission()
        if most is None or not math.isfinite(most):
            raise Refused(
                403,
                "the key's cost per day is limited, and what this model may cost has no bound: in its spec, "
                "prices or max_tokens are missing",
                code="cost_unknown",
            )
        reserving = self._begin(self._reserve(key, limit, min(max(most, 0.0), limit)))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            reserving.add_done_callback(_given_back)
            raise

    async def _reserve(self, key: Key, limit: float, most: float) -> Admission:
        now = datetime.fromtimestamp(self._now(), UTC)
        day = f"cost/{key.id}/{now:%Y-%m-%d}"
        others = await self._shelf.add(day, most, _SHELF_DAY) - most
        left = limit - others
        if left <= _LEAST:
            self._correct(day, -most)
            spent = f"${limit:g} are spent, or reserved by runs under way"
            raise used_up(f"the key's cost per day is used up: {spent}", now)
        if most > left:
            self._correct(day, left - most)
        return Admission(min(most, left), lambda amount: self._correct(day, amount), left)

    def _correct(self, day: str, amount: float) -> None:
        """Change a day's sum, which nobody waits for."""
        self._begin(self._change(day, amount))

    async def _change(self, day: str, amount: float) -> None:
        try:
            await self._shelf.add(day, amount, _SHELF_DAY)
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it
            _LOG.warning("%s could not be changed by $%f: %s", day, amount, error)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Places:
    """Give out places, first come, first served."""

    def __init__(self, at_once: int, queue: int, patience: float) -> None:
        self._free = at_once
        self._queue = queue
        self._patience = patience
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def check(self) -> None:
        """Raise Refused when there is no place, nor one in the queue."""
        if self._closed:
            raise closing()
        if not self._free and len(self._waiting) >= self._queue:
            raise _busy("too many requests wait already", "queue_full", _MOMENT)

    async def take(self) -> None:
        """Return when a place is taken; raise Refused when none came free in time."""
        self.check()
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self.give_back()  # it came together with what ended the wait
            if isinstance(error, TimeoutError):
                raise _busy("no place came free in time", "queue_timeout", _MOMENT) from None
            raise

    def give_back(self) -> None:
        """Hand a place over to who waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Give out none any more."""
        self._closed = True
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(closing())


def _given_back(reserving: asyncio.Task[Admission]) -> None:
    """Give back a reservation that came when nobody wanted it any more."""
    if not reserving.cancelled() and reserving.exception() is None:
        reserving.result().settle(0.0)


def used_up(message: str, now: datetime) -> Refused:
    """Return the refusal of what the rest of a key's day does not pay for; `now` is in UTC."""
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    return Refused(
        429,
        message,
        kind="insufficient_quota",
        code="insufficient_quota",
        # OpenAI's clients would not wait that long, but ask again at once.
        headers={"Retry-After": _whole((midnight - now).total_seconds()), "x-should-retry": "false"},
    )


def _busy(message: str, code: str, seconds: float) -> Refused:
    return Refused(429, message, kind="rate_limit_error", code=code, headers={"Retry-After": _whole(seconds)})


def _whole(seconds: float) -> str:
    return str(max(1, math.ceil(seconds)))
