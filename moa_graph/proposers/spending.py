"""What one call takes over all its attempts: booked with the run's budget before, settled after each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage

from moa_graph.budget import Budget
from moa_graph.errors import RunError
from moa_graph.proposers.outcomes import read_text
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

    A request is booked by `begin` under a key, and ends with one of `finish`, `refund` and `cut_short`.
    It also is the account that a nested run pays from (`moa_graph.budget.Account`).
    """

    def __init__(self, budget: Budget, price: PriceSpec | None, max_tokens: int | None) -> None:
        self._budget = budget
        self._price = price
        self._max_tokens = max_tokens or 0
        self._open: dict[Hashable, tuple[int, float]] = {}
        """Requests under way: the tokens of their prompts, and the dollars reserved."""
        self._taken: list[tuple[Usage, float | None]] = []
        self._booked = False
        self.attempts = 0
        self.cut = False
        """Whether a request ended before its tokens were reported."""

    def book(self) -> None:
        """Count one request for what may send none itself; the first that it sends takes this place.

        Raises BudgetSpent if the run cannot afford it.
        """
        self._booked = False
        self.reserve(0.0)
        self._booked = True

    def begin(self, prompt: Sequence[BaseMessage], key: Hashable = None) -> None:
        """Book a request at the most it may cost; raise BudgetSpent if the run cannot afford it."""
        tokens = sum(_tokens(message.content) for message in prompt)
        dollars = cost_of(_estimated(tokens, self._max_tokens), self._price) or 0.0
        self.reserve(dollars)
        self._open[key] = tokens, dollars

    def finish(self, message: AIMessage, key: Hashable = None) -> None:
        """Take what the provider reports; estimate it where that is missing or cannot be."""
        tokens, dollars = self._open.pop(key)
        usage = _reported(message)
        if usage is None:
            written = read_text(message)
            usage = _estimated(tokens, estimate_tokens(written.text + written.reasoning))
        self._take(message, usage, dollars)

    def report(self, message: AIMessage) -> None:
        """Take what a message reports of requests that nobody saw; nothing where it reports nothing."""
        if usage := _reported(message):
            self._take(message, usage, 0.0)

    def cut_short(self, written: str, *keys: Hashable) -> None:
        """Count requests, by default all, that ended before their usage was reported.

        Their prompt and what was written is estimated. The budget keeps their whole reservation, because a
        provider may go on writing for nobody.
        """
        for key in keys or tuple(self._open):
            if key in self._open:
                usage = _estimated(self._open.pop(key)[0], estimate_tokens(written))
                self.note(usage, cost_of(usage, self._price))
                self.cut = True

    def refund(self, *keys: Hashable) -> None:
        """Take back what was reserved for requests that were refused, by default all: nobody bills them."""
        for key in keys or tuple(self._open):
            if key in self._open:
                self.settle(self._open.pop(key)[1], 0.0)

    def lost(self, error: RunError, key: Hashable = None) -> None:
        """Take what a request to a model that is a mixture itself had taken when its run failed."""
        _, dollars = self._open.pop(key)
        self.attempts += error.calls - 1
        self.settle(dollars, error.cost or 0.0)
        if error.usage:
            self.note(cast("Usage", error.usage), error.cost)

    def reserve(self, dollars: float, calls: int = 1) -> None:
        """Book a request of at most `dollars`; raise BudgetSpent if the run cannot afford it."""
        if self._booked:
            calls = 0
        self._budget.reserve(dollars, calls)
        self._booked = False
        self.attempts += calls

    def settle(self, reserved: float, actual: float) -> None:
        """Replace a reservation by what the request really cost."""
        self._budget.settle(reserved, actual)

    def note(self, usage: Usage, cost: float | None) -> None:
        """Take down what a request took, here and in the runs around this one."""
        self._taken.append((usage, cost))
        self._budget.note(usage, cost)

    def place(self) -> AbstractAsyncContextManager[None]:
        """Return what a request holds while it is under way."""
        return self._budget.place()

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
        """Return what a request cost; a model that is a mixture itself says so, and counts its own calls."""
        if message.usage_metadata and {**message.usage_metadata}.get("total_cost") == 0:
            return 0.0  # how LangChain marks what came out of its cache
        summary = message.response_metadata.get("moa")
        if not isinstance(summary, dict):
            return cost_of(usage, self._price)
        self.attempts += summary["calls"] - 1
        cost: float | None = summary["cost"]
        return cost


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
