"""Win rates: the share of items on which one answer is preferred to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moa_graph.errors import MoAError
from moa_graph.evaluation.statistics import (
    Interval,
    can_be_told,
    mean_interval,
    share_interval,
    sign_test,
)
from moa_graph.evaluation.verdicts import Side

__all__ = ["WinRate", "win_rate"]


@dataclass(frozen=True)
class WinRate:
    """Hold how often an answer is preferred: `rate` is a share from 0 to 1 with its interval.

    A tie counts as half a win. `unjudged` items have no preference and count in nothing else.
    """

    rate: Interval
    wins: int
    losses: int
    ties: int
    unjudged: int

    @property
    def items(self) -> int:
        """Return the number of items that were judged."""
        return self.wins + self.losses + self.ties

    @property
    def preferred(self) -> Side | None:
        """Return which side is preferred, None where no difference can be told.

        Two things must agree: the interval leaves out 50 %, and the exact sign test of wins against losses
        (ties left out) gives such a split a chance of 5 % at most.
        """
        split = sign_test(self.wins, self.losses) <= 1 - self.rate.level
        if not split or not can_be_told(self.rate, self.items, against=0.5):
            return None
        side: Side = "answer" if self.rate.value > 0.5 else "baseline"
        return side if (self.wins > self.losses) == (side == "answer") else None


def win_rate(preferences: Sequence[float | None], *, seed: int = 0, resamples: int = 2000) -> WinRate:
    """Return the mean preference as a win rate, as AlpacaEval does (arXiv 2404.04475).

    A preference is the probability, from 0 to 1, that the answer is preferred to the baseline's; 0.5 is a
    tie, None was not judged. The interval is Wilson's where all are won or lost, else a bootstrap's. Raises
    MoAError where nothing was judged, or for a preference out of bounds.
    """
    known = [preference for preference in preferences if preference is not None]
    if not known:
        raise MoAError("no item was judged: there is no win rate")
    if outside := [preference for preference in known if not 0 <= preference <= 1]:
        raise MoAError(f"a preference lies between 0 and 1, not at {outside[0]:g}")
    decided = all(preference in {0, 1} for preference in known)
    return WinRate(
        rate=share_interval(round(sum(known)), len(known))
        if decided
        else mean_interval(known, seed=seed, resamples=resamples),
        wins=sum(bool(preference > 0.5) for preference in known),
        losses=sum(bool(preference < 0.5) for preference in known),
        ties=sum(bool(preference == 0.5) for preference in known),
        unjudged=len(preferences) - len(known),
    )
