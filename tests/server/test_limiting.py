"""Who may run something now: limits of keys, the queue, and what is counted whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from moa_graph.errors import StoreError
from moa_graph.server import limiting
from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key, KeyLimits
from moa_graph.server.limiting import Admission, Limiter
from moa_graph.server.shelf import Shelf, open_shelf

FREE = Key("f" * 12, "free", KeyLimits())


def key(name: str = "a", **limits: Any) -> Key:
    return Key(name * 12, name, KeyLimits(**limits))


class Clock:
    """Tell a time that only the test moves; it begins an hour and a half before midnight UTC."""

    def __init__(self) -> None:
        self.time = datetime(2031, 3, 9, 22, 30, 15, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.time


class GatedShelf(Shelf):
    """Do what another shelf does once the gate is open; fail while `error` is set."""

    def __init__(self, inner: Shelf) -> None:
        self._inner = inner
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.calls = 0

    async def _add(self, name: str, amount: float, seconds: float) -> float:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await self._inner.add(name, amount, seconds)

    async def _put(self, name: str, text: str, seconds: float) -> None:
        raise NotImplementedError

    async def _get(self, name: str) -> str | None:
        raise NotImplementedError

    async def _sweep(self) -> None:
        return


@pytest.fixture
async def shelf() -> AsyncIterator[GatedShelf]:
    async with open_shelf("memory:") as inner:
        yield GatedShelf(inner)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(shelf: GatedShelf, clock: Clock) -> Limiter:
    return Limiter(shelf, at_once=100, queue=0, patience=60, now=clock)


async def settled(limiter: Limiter) -> None:
    """Return when all corrections are made."""
    await limiter.close()


async def spent(shelf: Shelf, owner: Key, day: str = "2031-03-09") -> float:
    return round(await shelf.add(f"cost/{owner.id}/{day}", 0, 60), 9)


async def refused(limiter: Limiter, owner: Key, most: float | None = None) -> Refused:
    with pytest.raises(Refused) as raised:
        async with limiter.admitted(owner, most):
            pass
    assert int(raised.value.headers.get("Retry-After", "1")) >= 1
    return raised.value


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0)


class Guest:
    """Be a request in a task of its own, which stays admitted until it is told to leave."""

    def __init__(self, limiter: Limiter, owner: Key, most: float | None = None) -> None:
        self.admission: Admission | None = None
        self.told, self.leave = asyncio.Event(), asyncio.Event()
        self.cost: float | None = 0.0
        self.task = asyncio.ensure_future(self._stay(limiter, owner, most))
        self.task.add_done_callback(self._end)

    async def _stay(self, limiter: Limiter, owner: Key, most: float | None) -> None:
        async with limiter.admitted(owner, most) as self.admission:
            self.told.set()
            try:
                await self.leave.wait()
            finally:
                self.admission.settle(self.cost)

    def _end(self, task: asyncio.Task[None]) -> None:
        self.told.set()
        if not task.cancelled():
            task.exception()  # looked at

    async def inside(self) -> Guest:
        """Return when it is admitted, or is not."""
        await asyncio.wait_for(self.told.wait(), 20)
        return self

    async def gone(self) -> Guest:
        self.leave.set()
        await asyncio.wait({self.task})
        return self

    async def refusal(self) -> Refused:
        with pytest.raises(Refused) as raised:
            await self.task
        return raised.value


async def test_a_key_without_limits_is_admitted_without_a_look_at_the_shelf(
    limiter: Limiter, shelf: GatedShelf
) -> None:
    async with limiter.admitted(FREE, None) as admission:
        assert admission.max_cost is None
        admission.settle(3.0)
    await settled(limiter)
    assert shelf.calls == 0


# --- requests per minute ---------------------------------------------------------------------------------


async def test_requests_per_minute_are_refused_until_the_minute_is_over(
    limiter: Limiter, clock: Clock
) -> None:
    owner = key(requests_per_minute=2)
    for _ in range(2):
        async with limiter.admitted(owner, None):
            pass
    error = await refused(limiter, owner)
    assert (error.status, error.kind, error.code) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert error.headers["Retry-After"] == "45"
    async with limiter.admitted(key("b", requests_per_minute=2), None):
        pass
    clock.time += 45
    async with limiter.admitted(owner, None):
        pass


async def test_processes_that_share_a_database_share_a_keys_minute(tmp_path: Path, clock: Clock) -> None:
    url, owner = f"sqlite:///{tmp_path}/moa.db", key(requests_per_minute=3)
    async with open_shelf(url) as one, open_shelf(url) as other:
        limiters = [Limiter(each, at_once=9, queue=0, patience=1, now=clock) for each in (one, other)]
        for number in range(3):
            async with limiters[number % 2].admitted(owner, None):
                pass
        for each in limiters:
            assert (await refused(each, owner)).status == 429


# --- runs at once ----------------------------------------------------------------------------------------


async def test_a_key_has_only_so_many_runs_at_once(limiter: Limiter) -> None:
    owner = key(concurrent_runs=1)
    guest = await Guest(limiter, owner).inside()
    error = await refused(limiter, owner)
    assert (error.status, error.kind, error.code) == (429, "rate_limit_error", "concurrent_runs_exceeded")
    async with limiter.admitted(key("b", concurrent_runs=1), None):
        pass
    await guest.gone()
    async with limiter.admitted(owner, None):
        pass


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_a_run_that_ends_badly_gives_back_its_place(shelf: GatedShelf, how: str) -> None:
    owner, limiter = key(concurrent_runs=1), Limiter(shelf, at_once=1, queue=0, patience=1)
    if how == "cancelled":
        guest = await Guest(limiter, owner).inside()
        guest.task.cancel()
        await asyncio.wait({guest.task})
    else:
        with pytest.raises(ValueError, match="wrong"):
            async with limiter.admitted(owner, None):
                raise ValueError("wrong")
    async with limiter.admitted(owner, None):
        pass


# --- the queue -------------------------------------------------------------------------------------------


async def test_who_came_first_is_served_first(shelf: GatedShelf) -> None:
    limiter = Limiter(shelf, at_once=1, queue=3, patience=60)
    first = await Guest(limiter, FREE).inside()
    others = []
    for number in range(3):
        others.append(Guest(limiter, FREE))
        await until(lambda number=number: limiter.waiting == number + 1)  # type: ignore[misc]
    assert (await refused(limiter, FREE)).code == "queue_full"
    await first.gone()
    for guest in others:
        await guest.inside()
        assert [each.admission is not None for each in others].count(True) == others.index(guest) + 1
        await guest.gone()
    assert limiter.waiting == 0


async def test_who_waits_too_long_is_refused(shelf: GatedShelf) -> None:
    limiter = Limiter(shelf, at_once=1, queue=1, patience=0.01)
    guest = await Guest(limiter, FREE).inside()
    error = await refused(limiter, FREE)
    assert (error.status, error.kind, error.code) == (429, "rate_limit_error", "queue_timeout")
    assert limiter.waiting == 0
    await guest.gone()
    async with limiter.admitted(FREE, None):
        pass


async def test_who_goes_while_waiting_leaves_nothing_behind(shelf: GatedShelf, clock: Clock) -> None:
    limiter = Limiter(shelf, at_once=1, queue=1, patience=60, now=clock)
    owner = key(concurrent_runs=1, cost_per_day=1.0)
    first = await Guest(limiter, FREE).inside()
    second = Guest(limiter, owner, 0.5)
    await until(lambda: limiter.waiting == 1)
    second.task.cancel()
    await asyncio.wait({second.task})
    assert limiter.waiting == 0
    await first.gone()
    await settled(limiter)
    assert await spent(shelf, owner) == 0
    async with limiter.admitted(owner, 0.5):
        pass


async def test_a_place_that_comes_to_somebody_who_has_just_gone_goes_on_to_the_next(
    shelf: GatedShelf,
) -> None:
    limiter = Limiter(shelf, at_once=1, queue=2, patience=60)
    first = await Guest(limiter, FREE).inside()
    second, third = Guest(limiter, FREE), Guest(limiter, FREE)
    await until(lambda: limiter.waiting == 2)
    first.leave.set()
    await until(lambda: limiter.waiting == 1)
    second.task.cancel()  # its place came, but it has not seen that yet
    await third.inside()
    assert second.admission is None
    assert third.admission is not None
    await third.gone()


async def test_who_was_cancelled_but_has_not_noticed_is_passed_over(shelf: GatedShelf) -> None:
    limiter = Limiter(shelf, at_once=1, queue=2, patience=60)
    first = await Guest(limiter, FREE).inside()
    second, third = Guest(limiter, FREE), Guest(limiter, FREE)
    await until(lambda: limiter.waiting == 2)
    second.task.cancel()
    limiter._places.give_back()  # as if another run ended in the same moment
    await third.inside()
    assert second.admission is None
    for guest in (first, third):
        await guest.gone()


# --- shutting down ---------------------------------------------------------------------------------------


async def test_a_server_that_shuts_down_admits_nobody_nor_those_who_wait(shelf: GatedShelf) -> None:
    limiter = Limiter(shelf, at_once=1, queue=2, patience=60)
    running = await Guest(limiter, FREE).inside()
    waiting, going = Guest(limiter, FREE), Guest(limiter, FREE)
    await until(lambda: limiter.waiting == 2)
    going.task.cancel()
    limiter.drain()
    for error in (await waiting.refusal(), await refused(limiter, FREE)):
        assert (error.status, error.message, error.code) == (
            503,
            "the server is shutting down",
            "shutting_down",
        )
        assert error.headers["Retry-After"] == "1"
    assert running.admission is not None
    assert not running.task.done()
    await running.gone()


async def test_who_asks_the_shelf_while_the_server_shuts_down_is_not_admitted(
    limiter: Limiter, shelf: GatedShelf
) -> None:
    owner = key(cost_per_day=1.0)
    shelf.gate.clear()
    guest = Guest(limiter, owner, 0.5)
    await until(lambda: shelf.calls == 1)
    limiter.drain()
    shelf.gate.set()
    assert (await guest.refusal()).status == 503
    await settled(limiter)
    assert await spent(shelf, owner) == 0


# --- cost per day ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [None, float("inf"), float("nan")])
async def test_a_run_whose_cost_has_no_bound_is_forbidden_to_a_key_with_a_cost_per_day(
    limiter: Limiter, shelf: GatedShelf, most: float | None
) -> None:
    owner = key(cost_per_day=1.0)
    error = await refused(limiter, owner, most)
    assert (error.status, error.code) == (403, "cost_unknown")
    assert "max_tokens" in error.message
    assert await spent(shelf, owner) == 0


async def test_what_a_run_may_cost_is_counted_from_its_beginning_and_then_what_it_did(
    limiter: Limiter, shelf: GatedShelf
) -> None:
    owner = key(cost_per_day=1.0)
    async with limiter.admitted(owner, 0.4) as admission:
        assert admission.max_cost == 0.4
        assert await spent(shelf, owner) == 0.4
        admission.settle(0.1)
        admission.settle(0.0)  # once is enough
        admission.settle(None)
    await settled(limiter)
    assert await spent(shelf, owner) == 0.1


async def test_a_run_gets_what_is_left_of_the_day(limiter: Limiter, shelf: GatedShelf) -> None:
    owner = key(cost_per_day=1.0)
    first = await Guest(limiter, owner, 0.75).inside()
    async with limiter.admitted(owner, 3.0) as admission:
        assert admission.max_cost == 0.25
        await settled(limiter)
        assert await spent(shelf, owner) == 1.0
        admission.settle(0.05)
    first.cost = 0.5
    await first.gone()
    await settled(limiter)
    assert await spent(shelf, owner) == 0.55


async def test_a_key_that_has_used_up_its_day_is_refused_until_midnight(
    limiter: Limiter, shelf: GatedShelf, clock: Clock
) -> None:
    owner = key(cost_per_day=1.0)
    async with limiter.admitted(owner, 1.0) as admission:
        error = await refused(limiter, owner, 0.1)
        admission.settle(1.0)
    assert (error.status, error.kind, error.code) == (429, "insufficient_quota", "insufficient_quota")
    assert error.headers == {"Retry-After": str(90 * 60 - 15), "x-should-retry": "false"}
    await settled(limiter)
    assert await spent(shelf, owner) == 1.0
    assert (await refused(limiter, owner, 0.0)).status == 429
    clock.time += 90 * 60 - 15
    async with limiter.admitted(owner, 0.1) as admission:
        assert admission.max_cost == 0.1


async def test_a_run_that_costs_more_than_it_was_to_counts_fully(limiter: Limiter, shelf: GatedShelf) -> None:
    owner = key(cost_per_day=1.0)
    async with limiter.admitted(owner, 0.5) as admission:
        admission.settle(1.75)
    await settled(limiter)
    assert await spent(shelf, owner) == 1.75
    assert (await refused(limiter, owner, 0.1)).code == "insufficient_quota"


@pytest.mark.parametrize("told", [True, False])
async def test_a_run_whose_cost_is_not_known_counts_as_much_as_was_reserved(
    limiter: Limiter, shelf: GatedShelf, told: bool
) -> None:
    owner = key(cost_per_day=1.0)
    async with limiter.admitted(owner, 0.5) as admission:
        if told:
            admission.settle(None)
    await settled(limiter)
    assert await spent(shelf, owner) == 0.5


async def test_a_correction_is_that_of_the_day_of_the_admission(
    limiter: Limiter, shelf: GatedShelf, clock: Clock
) -> None:
    owner = key(cost_per_day=1.0)
    async with limiter.admitted(owner, 0.5) as admission:
        clock.time += 24 * 3600
        admission.settle(0.125)
    await settled(limiter)
    assert await spent(shelf, owner) == 0.125
    assert await spent(shelf, owner, "2031-03-10") == 0


@pytest.mark.parametrize("most", [-1.0, 1e300])
async def test_no_bound_can_unbalance_a_day(limiter: Limiter, shelf: GatedShelf, most: float) -> None:
    owner = key(cost_per_day=1.0)
    async with limiter.admitted(owner, 0.25) as admission:
        admission.settle(0.25)
    async with limiter.admitted(owner, most) as admission:
        assert admission.max_cost == (0 if most < 0 else 0.75)
        admission.settle(0.0)
    await settled(limiter)
    assert await spent(shelf, owner) == 0.25


async def test_fractions_that_sums_leave_behind_are_nothing(limiter: Limiter) -> None:
    owner = key(cost_per_day=0.3)
    for cost in (0.1, 0.2 - 1e-12):
        async with limiter.admitted(owner, cost) as admission:
            admission.settle(cost)
    assert (await refused(limiter, owner, 0.1)).code == "insufficient_quota"


async def test_requests_at_once_do_not_get_more_than_the_day_together(
    shelf: GatedShelf, clock: Clock
) -> None:
    limiter = Limiter(shelf, at_once=100, queue=0, patience=1, now=clock)
    owner = key(cost_per_day=1.0)
    guests = [Guest(limiter, owner, 0.3) for _ in range(20)]
    for guest in guests:
        await guest.inside()
    shares = [guest.admission.max_cost or 0 for guest in guests if guest.admission is not None]
    assert sum(shares) == pytest.approx(1.0)
    for guest in guests:
        await guest.gone()
        if guest.admission is None:
            assert (await guest.refusal()).code == "insufficient_quota"
    await settled(limiter)
    assert await spent(shelf, owner) == 0


async def test_who_goes_while_money_is_reserved_gets_it_back(limiter: Limiter, shelf: GatedShelf) -> None:
    owner = key(cost_per_day=1.0, concurrent_runs=1)
    shelf.gate.clear()
    guest = Guest(limiter, owner, 0.5)
    await until(lambda: shelf.calls == 1)
    guest.task.cancel()
    await asyncio.wait({guest.task})
    assert guest.task.cancelled()
    shelf.gate.set()
    await settled(limiter)
    assert await spent(shelf, owner) == 0
    async with limiter.admitted(owner, 1.0) as admission:
        assert admission.max_cost == 1.0


async def test_who_goes_while_nothing_was_left_owes_nothing(limiter: Limiter, shelf: GatedShelf) -> None:
    owner = key(cost_per_day=1.0)
    async with limiter.admitted(owner, 1.0) as admission:
        admission.settle(1.0)
    shelf.gate.clear()
    guest = Guest(limiter, owner, 0.5)
    before = shelf.calls
    await until(lambda: shelf.calls > before)
    guest.task.cancel()
    await asyncio.wait({guest.task})
    shelf.gate.set()
    await settled(limiter)
    assert await spent(shelf, owner) == 1.0


async def test_a_shelf_that_fails_admits_nobody_and_keeps_no_place(
    limiter: Limiter, shelf: GatedShelf
) -> None:
    owner = key(cost_per_day=1.0, concurrent_runs=1)
    shelf.error = StoreError("the shelf fell down")
    with pytest.raises(StoreError):
        async with limiter.admitted(owner, 0.5):
            pass
    shelf.error = None
    async with limiter.admitted(owner, 0.5):
        pass


async def test_a_correction_that_fails_leaves_the_reservation_and_a_warning(
    limiter: Limiter, shelf: GatedShelf, caplog: pytest.LogCaptureFixture
) -> None:
    owner = key(cost_per_day=1.0)
    with caplog.at_level(logging.WARNING):
        async with limiter.admitted(owner, 0.5) as admission:
            shelf.error = StoreError("the shelf fell down")
            admission.settle(0.1)
        await settled(limiter)
    assert "the shelf fell down" in caplog.text
    shelf.error = None
    assert await spent(shelf, owner) == 0.5


async def test_closing_waits_for_corrections_but_not_for_ever(
    limiter: Limiter,
    shelf: GatedShelf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner = key(cost_per_day=1.0)
    async with limiter.admitted(owner, 0.5) as admission:
        shelf.gate.clear()
        admission.settle(0.1)
    monkeypatch.setattr(limiting, "CLOSING", 0.01)
    with caplog.at_level(logging.WARNING):
        await limiter.close()
    assert "1 run" in caplog.text
    shelf.gate.set()
    assert await spent(shelf, owner) == 0.5


@pytest.mark.postgres
async def test_processes_on_one_postgres_share_a_keys_day(database: str, clock: Clock) -> None:
    owner = key(cost_per_day=1.0)
    async with AsyncExitStack() as stack:
        limiters = [
            Limiter(
                await stack.enter_async_context(open_shelf(database)),
                at_once=50,
                queue=0,
                patience=1,
                now=clock,
            )
            for _ in range(3)
        ]
        guests = [Guest(limiters[number % 3], owner, 0.09) for number in range(30)]
        for guest in guests:
            await guest.inside()
        shares = [guest.admission.max_cost or 0 for guest in guests if guest.admission is not None]
        assert sum(shares) <= 1.0 + 1e-6
        assert sum(shares) > 0.9
        for guest in guests:
            guest.cost = 0.01
            await guest.gone()
            if guest.admission is None:
                assert (await guest.refusal()).code == "insufficient_quota"
        for each in limiters:
            await each.close()
        async with open_shelf(database) as shelf:
            assert await spent(shelf, owner) == pytest.approx(0.01 * len(shares))


# --- whatever comes in whatever order --------------------------------------------------------------------

AT_ONCE, QUEUE, RUNS, DAY = 2, 2, 3, 1.0


class Requests(RuleBasedStateMachine):
    """Let requests come, wait, run, end and go: places and money are never given twice, nor lost."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.opened = open_shelf("memory:")
        self.shelf = self.loop.run_until_complete(self.opened.__aenter__())
        self.limiter = Limiter(self.shelf, at_once=AT_ONCE, queue=QUEUE, patience=60, now=Clock())
        self.owner = key(cost_per_day=DAY, concurrent_runs=RUNS)
        self.guests: list[Guest] = []
        self.paid = self.over = 0.0

    def go_on(self) -> None:
        """Let everybody do what they can."""

        async def turns() -> None:
            for _ in range(30):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        self.guests = [guest for guest in self.guests if not guest.task.done()]

    @property
    def inside(self) -> list[Guest]:
        return [guest for guest in self.guests if guest.admission is not None]

    def end(self, guest: Guest, cost: float | None, *, cancelled: bool) -> None:
        assert guest.admission is not None
        guest.cost = cost
        if guest.admission.max_cost is not None:
            paid = guest.admission.max_cost if cost is None else cost
            self.paid += paid
            self.over += max(0.0, paid - guest.admission.max_cost)
        if cancelled:
            guest.task.cancel()
        else:
            guest.leave.set()

    @rule(limited=st.booleans(), most=st.sampled_from([0.0, 0.125, 0.5, 2.0]), count=st.integers(1, 5))
    def come(self, limited: bool, most: float, count: int) -> None:
        async def ask() -> None:
            owner = self.owner if limited else FREE
            self.guests += [Guest(self.limiter, owner, most) for _ in range(count)]

        self.loop.run_until_complete(ask())
        self.go_on()

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), cost=st.sampled_from([None, 0.0, 0.0625, 0.25, 1.5]), cancelled=st.booleans())
    def leave(self, data: st.DataObject, cost: float | None, cancelled: bool) -> None:
        self.end(data.draw(st.sampled_from(self.inside)), cost, cancelled=cancelled)
        self.go_on()

    @precondition(lambda self: self.limiter.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        waiting = [guest for guest in self.guests if guest.admission is None]
        data.draw(st.sampled_from(waiting)).task.cancel()
        self.go_on()

    @precondition(lambda self: self.inside and self.limiter.waiting)
    @rule(data=st.data(), first=st.booleans(), turns=st.integers(0, 4))
    def give_up_as_a_place_comes_free(self, data: st.DataObject, first: bool, turns: int) -> None:
        waiting = data.draw(st.sampled_from([guest for guest in self.guests if guest.admission is None]))

        async def both() -> None:
            if first:
                waiting.task.cancel()
            self.end(data.draw(st.sampled_from(self.inside)), 0.0, cancelled=False)
            for _ in range(turns):
                await asyncio.sleep(0)
            if not first and waiting.admission is None:
                waiting.task.cancel()

        self.loop.run_until_complete(both())
        self.go_on()

    @invariant()
    def no_place_is_given_twice_or_lost(self) -> None:
        assert len(self.inside) <= AT_ONCE
        assert self.limiter.waiting == len(self.guests) - len(self.inside) <= QUEUE
        assert not self.limiter.waiting or len(self.inside) == AT_ONCE
        assert self.limiter._places._free == AT_ONCE - len(self.inside)

    @invariant()
    def no_dollar_is_given_twice_or_lost(self) -> None:
        counted = self.loop.run_until_complete(spent(self.shelf, self.owner))
        given = sum(guest.admission.max_cost or 0 for guest in self.inside if guest.admission)
        assert self.paid + given - 1e-6 <= counted <= DAY + self.over + 1e-6
        if not self.limiter.waiting:
            assert counted == pytest.approx(self.paid + given)

    def teardown(self) -> None:
        for guest in self.guests:
            guest.task.cancel()
        self.go_on()
        self.loop.run_until_complete(self.limiter.close())
        assert self.limiter._places._free == AT_ONCE
        assert not self.limiter._runs
        assert self.loop.run_until_complete(spent(self.shelf, self.owner)) == pytest.approx(self.paid)
        self.loop.run_until_complete(self.opened.__aexit__(None, None, None))
        self.loop.close()


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
