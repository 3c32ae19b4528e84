"""What one run may take: time, requests, money and parallel requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from moa_graph.spec.schema import LimitsSpec
from moa_graph.usage import Usage

__all__ = ["Account", "Budget", "BudgetSpent"]


class BudgetSpent(BaseException):
    """Refuse a request that would break a limit.

    No Exception, like asyncio's CancelledError: no fallback, retry or middleware inside an agent is to take
    it for a model's failure and go on.
    """


class Account(Protocol):
    """Pay for the requests of a run inside another run."""

    def reserve(self, dollars: float, calls: int = 1) -> None:
        """Book a request of at most `dollars`; raise BudgetSpent if a limit would be broken.

        `calls` is 0 where the request was counted before.
        """
        ...

    def settle(self, reserved: float, actual: float) -> None:
        """Replace a reservation by what the request really cost."""
        ...

    def note(self, usage: Usage, cost: float | None, *, cut: bool = False) -> None:
        """Take down what a request took; `cut` tells that it ended before its tokens were reported."""
        ...

    def place(self) -> AbstractAsyncContextManager[None]:
        """Return what a request holds of the outer run's places while it is under way."""
        ...


class Budget:
    """Keep one run's clock and spending; lives in memory, one per run and process.

    Cost is reserved *before* a request from the tokens it may use at most, and settled after it, so
    that parallel requests cannot break the limit together. `committed` counts what may have been billed: a
    request that was cut off in mid-answer keeps its whole reservation.
    """

    def __init__(
        self,
        limits: LimitsSpec,
        paid: Iterable[Mapping[str, Any]] = (),
        account: Account | None = None,
    ) -> None:
        """Start the clock; `paid` are records of calls that an earlier process of this run made.

        A run inside another one is bound by its own limits and pays from the `account` of the outer one.
        """
        self.limits = limits
        self.account = account
        self.started = time.monotonic()
        self.deadline = self.started + limits.deadline
        self.calls = 0
        self.committed = 0.0
        for record in paid:
            self.book(record)
        self.concurrency = asyncio.Semaphore(limits.max_concurrency)
        self._lock = threading.Lock()  # a runnable of the host may send its requests from threads
        self.ran: set[str] = set()
        """The ids of the calls that ran in this process; the results of all others were restored."""

    @property
    def seconds(self) -> float:
        """Return the seconds since the run began in this process."""
        return time.monotonic() - self.started

    @property
    def expired(self) -> bool:
        """Tell whether the run's deadline has passed."""
        return time.monotonic() >= self.deadline

    def book(self, record: Mapping[str, Any]) -> None:
        """Count a call that an earlier process of this run made."""
        self.calls += record["attempts"]
        self.committed += record["cost"] or 0.0

    def reserve(self, dollars: float, calls: int = 1) -> None:
        """Book a request of at most `dollars`; raise BudgetSpent if a limit would be broken."""
        limits = self.limits
        with self._lock:
            if limits.max_calls is not None and self.calls + calls > limits.max_calls:
                raise BudgetSpent(f"limits.max_calls = {limits.max_calls} requests are used up")
            if limits.max_cost is not None and self.committed + dollars > limits.max_cost:
                raise BudgetSpent(
                    f"the next request may cost ${dollars:.6f}, and ${self.committed:.6f} of "
                    f"limits.max_cost = ${limits.max_cost:g} are spent or reserved"
                )
            if self.account is not None:
                self.account.reserve(dollars, calls)
            self.calls += calls
            self.committed += dollars

    def settle(self, reserved: float, actual: float) -> None:
        """Replace a reservation by what the request really cost."""
        with self._lock:
            self.committed += actual - reserved
        if self.account is not None:
            self.account.settle(reserved, actual)

    def note(self, usage: Usage, cost: float | None, *, cut: bool = False) -> None:
        """Tell the outer run, if there is one, what a request took."""
        if self.account is not None:
            self.account.note(usage, cost, cut=cut)

    def place(self) -> AbstractAsyncContextManager[None]:
        """Return what a request holds while it is under way: a place here, and one in the outer run."""
        return self.concurrency if self.account is None else _both(self.concurrency, self.account.place())


@asynccontextmanager
async def _both(
    inner: AbstractAsyncContextManager[None], outer: AbstractAsyncContextManager[None]
) -> AsyncIterator[None]:
    # The outer place last: whoever holds it sends a request, and waits for no other place.
    async with inner, outer:
        yield
