"""What one call takes over all its attempts: booked with the run's budget before, settled after each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from moa_graph.budget import Budget, BudgetSpent
from moa_graph.proposers.outcomes import read_text, summary_of
from moa_graph.spec.slots import PriceSpec
from moa_graph.state import FailureKind
from moa_graph.usage import Usage, add_usage, cost_of, estimate_tokens

__all__ = ["ANSWERED", "Spending"]

ANSWERED: frozenset[FailureKind] = frozenset({"malformed", "too_long"})
"""Failures of a request that the provider answered, if badly, and may bill."""

_TOKENS_OF_OTHER_BLOCK = 1000
"""About what a picture counts for; used where a prompt has to be estimated."""


class Spending:
    """Count the requests of one call, their tokens and their cost.

    A request is booked by `begin` under a key, and ends with one of `finish`, `refund` and `cut_short`,
    of which only the first counts. It also is the account that runs inside the call pay from
    (`moa_graph.budget.Account`).
    """

    def __init__(
        self, budget: Budget, price: PriceSpec | None, max_tokens: int | None, *, holds_place: bool = True
    ) -> None:
        """Begin with nothing; `holds_place` tells whether an attempt is a request, or only holds some."""
        self._budget = budget
        self._price = price
        self._max_tokens = max_tokens or 0
        self._holds_place = holds_place
        self._lock = threading.RLock()  # what is inside may send its requests from threads
        self._open: dict[Hashable, tuple[int, float]] = {}
        """Requests under way: the tokens of their prompts, and the dollars reserved."""
        self._parts: dict[Hashable, Hashable] = {}
        """Requests that are part of another one, by their keys."""
        self._taken: list[tuple[Usage, float | None]] = []
        self._booked = 0
        """Places in the count that the next requests take."""
        self._ends: list[Callable[[], None]] = []
        self._closed = False
        self.attempts = 0
        self.refused: BudgetSpent | None = None
        """Why the run could not afford a request."""
        self.cut = False
        """Whether a request ended before its tokens were reported."""

    def book(self) -> None:
        """Count one request for what may send none itself; the first that it sends takes this place.

        Raises BudgetSpent if the run cannot afford it.
        """
        self._booked = 0
        self.reserve(0.0)
        self._booked = 1

    def begin(
        self, prompt: Sequence[BaseMessage], key: Hashable = None, *, longest: int | None = None
    ) -> None:
        """Book a request at the most it may cost; raise BudgetSpent if the run cannot afford it.

        `longest` is the longest output in tokens where the request itself says it.
        """
        tokens = sum(_tokens(message.content) for message in prompt)
        dollars = cost_of(_estimated(tokens, longest or self._max_tokens), self._price) or 0.0
        self.reserve(dollars)
        self._open[key] = tokens, dollars

    def finish(self, message: AIMessage, key: Hashable = None) -> None:
        """Take what the provider reports; estimate it where that is missing or cannot be."""
        if (opened := self._open.pop(key, None)) is None:
            return
        tokens, dollars = opened
        usage = _reported(message)
        if usage is None:
            written = read_text(message)
            usage = _estimated(tokens, estimate_tokens(written.text + written.reasoning))
        self._take(message, usage, dollars)

    def report(self, message: AIMessage) -> None:
        """Take what a message reports of requests that nobody saw; nothing where it reports nothing.

        A mixture elsewhere tells how many they were.
        """
        if self._booked and (usage := _reported(message)):
            self._take(message, usage, 0.0)
            if summary := summary_of(message):
                self.attempts += summary.calls - 1

    def cut_short(self, written: str, *keys: Hashable) -> None:
        """Count requests, by default all, that ended before their usage was reported.

        Their prompt and what was written is estimated. The budget keeps their whole reservation, because a
        provider may go on writing for nobody.
        """
        if not keys:
            for end in tuple(self._ends):
                end()
        for key in keys or tuple(self._open):
            if (opened := self._open.pop(key, None)) is not None:
                usage = _estimated(opened[0], estimate_tokens(written))
                self.note(usage, cost_of(usage, self._price), cut=True)

    @contextmanager
    def counting(self, end: Callable[[], None]) -> Iterator[None]:
        """Call `end` when the call is cut short meanwhile: it is to count what is under way inside it."""
        self._ends.append(end)
        try:
            yield
        finally:
            self._ends.remove(end)

    def refund(self, *keys: Hashable) -> None:
        """Take back what was reserved for requests that were refused, by default all: nobody bills them."""
        for key in keys or tuple(self._open):
            if (opened := self._open.pop(key, None)) is not None:
                self.settle(opened[1], 0.0)

    def part_of(self, whole: Hashable, key: Hashable) -> None:
        """Note that a request is made to answer another one, and not booked itself."""
        self._parts[key] = whole

    def adopt(self, key: Hashable) -> None:
        """Take back a request that turns out to be a run of its own, which pays for all it sends from here.

        The first request that it sends takes its place in the count.
        """
        whole = self._parts.get(key, key)
        opened = self._open.pop(whole, None) or self._open.pop(None, None)
        if opened is not None:
            self.settle(opened[1], 0.0)
            self._booked += 1

    def reserve(self, dollars: float, calls: int = 1) -> None:
        """Book a request of at most `dollars`; raise BudgetSpent if the run cannot afford it."""
        with self._lock:
            if self._closed:
                raise BudgetSpent("the call that this request belongs to has ended")
            taken = min(calls, self._booked)
            try:
                self._budget.reserve(dollars, calls - taken)
            except BudgetSpent as spent:
                self.refused = spent
                raise
            self._booked -= taken
            self.attempts += calls - taken

    def close(self) -> None:
        """Refuse all further requests: the call has ended, and something inside was left behind."""
        self._closed = True

    def belongs_to(self, other: Spending) -> bool:
        """Tell whether what is paid here is paid from `other`, too."""
        outer = self._budget.account
        return self is other or (isinstance(outer, Spending) and outer.belongs_to(other))

    def settle(self, reserved: float, actual: float) -> None:
        """Replace a reservation by what the request really cost."""
        self._budget.settle(reserved, actual)

    def note(self, usage: Usage, cost: float | None, *, cut: bool = False) -> None:
        """Take down what a request took, here and in the runs around this one.

        What a run inside knows no price of costs what the member says.
        """
        if cost is None and (cost := cost_of(usage, self._price)) is not None:
            self.settle(0.0, cost)
        self._taken.append((usage, cost))
        self.cut = self.cut or cut
        self._budget.note(usage, cost, cut=cut)

    def hold(self) -> AbstractAsyncContextManager[None]:
        """Return what an attempt holds while it is under way, so that `limits.max_concurrency` is kept."""
        return self._budget.place() if self._holds_place else nullcontext()

    def place(self) -> AbstractAsyncContextManager[None]:
        """Return what a request inside holds: nothing where the attempt itself holds a place.

        To wait for another one, it might wait for itself.
        """
        return nullcontext() if self._holds_place else self._budget.place()

    @property
    def usage(self) -> Usage | None:
        """Return the tokens of all requests; None where none was answered."""
        return add_usage(usage for usage, _ in self._taken) if self._taken else None

    @property
    def cost(self) -> float | None:
        """Return USD; None where tokens or price are unknown."""
        costs = [cost for _, cost in self._taken if cost is not None]
        return sum(costs) if self._taken and len(costs) == len(self._taken) else None

    def _take(self, message: AIMessage, usage: Usage, reserved: float) -> None:
        cost = self._cost(message, usage)
        self.settle(reserved, cost or 0.0)
        self.note(usage, cost)

    def _cost(self, message: AIMessage, usage: Usage) -> float | None:
        """Return what a request cost; a mixture elsewhere says so itself."""
        if message.usage_metadata and {**message.usage_metadata}.get("total_cost") == 0:
            return 0.0  # how LangChain marks what came out of its cache
        summary = summary_of(message)
        return summary.cost if summary else cost_of(usage, self._price)


def _reported(message: AIMessage) -> Usage | None:
    reported = message.usage_metadata
    if reported is None or reported["input_tokens"] < 0 or reported["output_tokens"] < 0:
        return None
    return {
        "input_tokens": reported["input_tokens"],
        "output_tokens": reported["output_tokens"],
        "source": "provider",
    }


def _estimated(input_tokens: int, output_tokens: int) -> Usage:
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "source": "estimated"}


def _tokens(content: Any) -> int:
    if isinstance(content, str):
        return estimate_tokens(content)
    return sum(_block_tokens(block) for block in content)


def _block_tokens(block: Any) -> int:
    if isinstance(block, str):
        return estimate_tokens(block)
    if block.get("type") == "text":
        return estimate_tokens(str(block.get("text", "")))
    return _TOKENS_OF_OTHER_BLOCK
