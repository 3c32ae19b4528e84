"""What one run may take: time, requests, money and parallel requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from moa_graph.spec.schema import LimitsSpec
from moa_graph.usage import Usage

__all__ = ["Account", "Budget", "BudgetSpent"]


class BudgetSpent(Exception):
    """Refuse a request that would break a limit."""


class Account(Protocol):
    """Pay for the requests of a run inside another run."""

    def reserve(self, dollars: float) -> None:
        """Book one request of at most `dollars`; raise BudgetSpent if a limit would be broken."""
        ...

    def settle(self, reserved: float, actual: float) -> None:
        """Replace a reservation by what the request really cost."""
        ...

    def note(self, usage: Usage, cost: float | None) -> None:
        """Take down what a request took."""
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

    def reserve(self, dollars: float) -> None:
        """Book one request of at most `dollars`; raise BudgetSpent if a limit would be broken."""
        limits = self.limits
        if limits.max_calls is not None and self.calls >= limits.max_calls:
            raise BudgetSpent(f"limits.max_calls = {limits.max_calls} requests are used up")
        if limits.max_cost is not None and self.committed + dollars > limits.max_cost:
            raise BudgetSpent(
                f"the next request may cost ${dollars:.6f}, and ${self.committed:.6f} of "
                f"limits.max_cost = ${limits.max_cost:g} are spent or reserved"
            )
        if self.account is not None:
            self.account.reserve(dollars)
        self.calls += 1
        self.committed += dollars

    def settle(self, reserved: float, actual: float) -> None:
        """Replace a reservation by what the request really cost."""
        self.committed += actual - reserved
        if self.account is not None:
            self.account.settle(reserved, actual)

    def note(self, usage: Usage, cost: float | None) -> None:
        """Tell the outer run, if there is one, what a request took."""
        if self.account is not None:
            self.account.note(usage, cost)
