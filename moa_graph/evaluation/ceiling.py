"""The ceiling of what an evaluation may cost: what is spent, what is promised, and what an item may cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from moa_graph.errors import MoAError
from moa_graph.estimate import estimate
from moa_graph.evaluation.datasets import Item, Message
from moa_graph.runs.run import Run
from moa_graph.spec.schema import MoASpec, PriceSpec
from moa_graph.usage import estimate_tokens

__all__ = ["Ceiling", "most_of"]

Prices = Callable[[str], PriceSpec | None]


class Ceiling:
    """Hold what an evaluation may spend, in USD, and book its items by their number.

    `most` are the bounds of each turn of each item, as `most_of` gives them.
    """

    def __init__(self, dollars: float, most: Mapping[int, list[float]]) -> None:
        self.dollars = dollars
        self._most = most
        self._spent: dict[int, float] = {}
        self._reserved: dict[int, float] = {}

    @property
    def spent(self) -> float:
        """Return USD that were paid; an item of unknown cost counts with all that it may have cost."""
        return sum(self._spent.values())

    @property
    def reserved(self) -> float:
        """Return USD that the items under way may cost at most."""
        return sum(self._reserved.values())

    def reserve(self, item: int, standing: Run | None = None, *, turns: int = 0) -> bool:
        """Book what the rest of an item may cost; False if it does not fit.

        `standing` is the run of its last turn where that has begun and is not answered, `turns` the number
        of turns that have begun.
        """
        due = sum(self._most[item][turns:])
        if standing is not None:
            due += self._most[item][turns - 1] if standing.cost_left is None else standing.cost_left
        if self.spent + self.reserved + due > self.dollars:
            return False
        self._reserved[item] = due
        return True

    def settle(self, item: int, cost: float | None) -> None:
        """Replace what was booked for an item by what it has cost, in all its turns and processes."""
        self._reserved.pop(item, None)
        self._spent[item] = sum(self._most[item]) if cost is None else cost


def most_of(item: Item, spec: MoASpec, price: Prices) -> list[float]:
    """Return USD that each turn of an item costs at most, as `moa_graph.estimate` bounds it.

    Raises MoAError where a price or a length is unknown.
    """
    most, tokens = [], 0
    for turn in item.turns:
        tokens += sum(map(_tokens, turn))
        bound = estimate(spec, price, question_tokens=tokens)
        if bound.max_cost is None:
            raise MoAError(
                f"a ceiling cannot be kept: {bound.unknown}",
                hint="Give every slot a price and max_tokens, or leave out --max-cost. Nothing was asked.",
            )
        most.append(bound.max_cost)
        tokens += _longest_answer(spec)
    return most


def _tokens(message: Message) -> int:
    content = message["content"]
    return estimate_tokens(content if isinstance(content, str) else str(content))


def _longest_answer(spec: MoASpec) -> int:
    """Return the tokens that an answer adds to the next turn at most; 0 where no bound is set."""
    members = [member for layer in spec.layers for member in spec.members(layer)] + spec.aggregators()
    lengths = [
        member.max_tokens or spec.models[member.model].max_tokens or 0
        for member in members
        if member.model is not None
    ]
    inner = [_longest_answer(member.spec) for member in members if member.spec is not None]
    return max([*lengths, *inner], default=0)
