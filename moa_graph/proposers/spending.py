"""What one call takes over all its attempts: booked with the run's budget before, settled after each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from moa_graph.budget import Budget
from moa_graph.proposers.outcomes import read_text
from moa_graph.spec.schema import PriceSpec
from moa_graph.usage import Usage, add_usage, cost_of, estimate_tokens

__all__ = ["Spending"]

_TOKENS_OF_OTHER_BLOCK = 1000
"""About what a picture counts for; used where a prompt has to be estimated."""


class Spending:
    """Count the requests of one call, their tokens and their cost.

    After each `reserve`, exactly one of `settle`, `cut_short` and `refund` has to be called.
    """

    def __init__(self, budget: Budget, price: PriceSpec | None, max_tokens: int | None) -> None:
        self._budget = budget
        self._price = price
        self._max_tokens = max_tokens or 0
        self._usages: list[Usage] = []
        self._prompt_tokens = 0
        self._reserved = 0.0
        self.attempts = 0

    def reserve(self, prompt: Sequence[BaseMessage]) -> None:
        """Book a request at the most it may cost; raise BudgetSpent if the run cannot afford it."""
        self._prompt_tokens = sum(_tokens(message.content) for message in prompt)
        most = self._estimate(self._max_tokens)
        self._reserved = cost_of(most, self._price) or 0.0
        self._budget.reserve(self._reserved)
        self.attempts += 1

    def settle(self, message: AIMessage) -> None:
        """Take what the provider reports; estimate it where that is missing or cannot be."""
        usage, reported = None, message.usage_metadata
        if reported is not None and reported["input_tokens"] >= 0 and reported["output_tokens"] >= 0:
            usage = Usage(
                input_tokens=reported["input_tokens"],
                output_tokens=reported["output_tokens"],
                source="provider",
            )
        if usage is None:
            written = read_text(message)
            usage = self._estimate(estimate_tokens(written.text + written.reasoning))
        self._usages.append(usage)
        self._budget.settle(self._reserved, cost_of(usage, self._price) or 0.0)

    def cut_short(self, written: str) -> None:
        """Count a request that ended before its usage was reported: prompt and what was written, estimated.

        The budget keeps the whole reservation, because a provider may go on writing for nobody.
        """
        self._usages.append(self._estimate(estimate_tokens(written)))

    def refund(self) -> None:
        """Take back the reservation of a request that was refused: no provider bills it."""
        self._budget.settle(self._reserved, 0.0)

    @property
    def usage(self) -> Usage | None:
        """Return the tokens of all requests; None where none was answered."""
        return add_usage(self._usages) if self._usages else None

    @property
    def cost(self) -> float | None:
        """Return USD; None where tokens or price are unknown."""
        return cost_of(self.usage, self._price)

    def _estimate(self, output_tokens: int) -> Usage:
        return {"input_tokens": self._prompt_tokens, "output_tokens": output_tokens, "source": "estimated"}


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
