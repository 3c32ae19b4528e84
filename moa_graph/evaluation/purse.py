"""The ceiling of what verdicts may cost: what was spent, and what is under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moa_graph.evaluation.verdicts import Verdict

__all__ = ["Purse", "Reached", "paid"]


@dataclass(frozen=True)
class Reached:
    """Hold a ceiling of cost that is reached, in USD: what was spent, what a verdict may cost, and enough.

    `spent` counts a call of unknown cost with the most that it may cost; with `enough` as the ceiling no
    verdict that is lacking would be kept from being asked for.
    """

    spent: float
    next: float
    enough: float


class Purse:
    """Keep what may still be spent; requests under way count with what they may cost at most."""

    def __init__(self, limit: float | None, spent: float) -> None:
        self._limit = limit
        self._spent = spent

    def reserve(self, cost: float) -> bool:
        """Take what a request may cost at most; False, and nothing is taken, where that is too much."""
        if self._limit is not None and self._spent + cost > self._limit:
            return False
        self._spent += cost
        return True

    def settle(self, reserved: float, cost: float) -> None:
        """Put back what was reserved, and take what the request did cost."""
        self._spent += cost - reserved

    def reached(self, due: Sequence[float]) -> Reached:
        """Return what is to be said where requests of these costs are left."""
        return Reached(self._spent, due[0], self._spent + sum(due))


def paid(known: Verdict, bounds: Mapping[str, float]) -> float:
    """Return what a verdict of the file cost; unknown costs are never 0, but the most that is possible."""
    if known.cost is not None or known.calls == 0:
        return known.cost or 0.0
    return bounds.get(known.key, max(bounds.values(), default=0.0))
