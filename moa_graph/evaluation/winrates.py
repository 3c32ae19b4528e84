"""Win rates: the share of items on which one answer is preferred to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moa_graph.errors import MoAError
from moa_graph.evaluation.statistics import Interval, mean_interval

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


def win_rate(preferences: Sequence[float | None], *, seed: int = 0, resamples: int = 2000) -> WinRate:
    """Return the mean preference as a win rate, as AlpacaEval does (arXiv 2404.04475).

    A preference is the probability, from 0 to 1, that the answer is preferred to the baseline's; 0.5 is a
    tie, None was not judged. Raises MoAError where nothing was judged, or for a preference out of bounds.
    """
    known = [preference for preference in preferences if preference is not None]
    if not known:
        raise MoAError("no item was judged: there is no win rate")
    if outside := [preference for preference in known if not 0 <= preference <= 1]:
        raise MoAError(f"a preference lies between 0 and 1, not at {outside[0]:g}")
    return WinRate(
        rate=mean_interval(known, seed=seed, resamples=resamples),
        wins=sum(preference > 0.5 for preference in known),
        losses=sum(preference < 0.5 for preference in known),
        ties=sum(preference == 0.5 for preference in known),
        unjudged=len(preferences) - len(known),
    )
