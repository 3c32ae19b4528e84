"""How surely a figure is known: intervals of shares and means, and an exact test of changed items."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from moa_graph.errors import MoAError
from moa_graph.extras import needing

__all__ = [
    "Interval",
    "bootstrap_interval",
    "can_be_told",
    "difference_interval",
    "mean_interval",
    "share_interval",
    "sign_test",
]


_FEWEST = 6
"""Items below which not even a change of all of them in one direction tells anything: 2 · 0.5⁵ > 0.05."""


@dataclass(frozen=True)
class Interval:
    """Hold a figure and the interval in which it lies with the probability `level`.

    `str()` gives `53.7 [50.1, 57.4]`; a format applies to each number: `f"{share:.1%}"` gives
    `53.7% [50.1%, 57.4%]`, `f"{cost:.4f}"` gives `0.0123 [0.0110, 0.0141]`.
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def holds(self, value: float) -> bool:
        """Tell whether a value lies in the interval, its ends included."""
        return self.low <= value <= self.high

    def times(self, factor: float) -> Interval:
        """Return the interval in another unit, such as percent for a share."""
        low, high = sorted((self.low * factor, self.high * factor))
        return Interval(self.value * factor, low, high, self.level)

    def __str__(self) -> str:
        return f"{self:.1f}"

    def __format__(self, form: str) -> str:
        form = form or ".1f"
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"


def bootstrap_interval(
    statistic: Callable[[Any], float],
    count: int,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Return a statistic of `count` items with its bootstrap percentile interval (Efron 1979).

    `statistic` takes a numpy array of indices into the items, of shape (count,), in which an item may stand
    several times. Raises MoAError for no items, ModelNotReady without numpy.
    """
    if count < 1:
        raise MoAError("there are no items to estimate a figure from")
    with needing("eval"):
        import numpy as np  # noqa: PLC0415 -- of the extra `eval`

    generator = np.random.default_rng(seed)
    drawn = [statistic(generator.integers(0, count, count)) for _ in range(resamples)]
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(statistic(np.arange(count))), float(low), float(high), level)


def mean_interval(
    values: Sequence[float], *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Return the mean of values with its bootstrap percentile interval; raises as `bootstrap_interval`."""
    with needing("eval"):
        import numpy as np  # noqa: PLC0415 -- of the extra `eval`

    array = np.asarray(values, dtype=float)
    return bootstrap_interval(
        lambda items: float(array[items].mean()), len(array), seed=seed, resamples=resamples, level=level
    )


def share_interval(successes: int, count: int, *, level: float = 0.95) -> Interval:
    """Return the share of successes among `count` items with the score interval (Wilson 1927).

    Unlike a bootstrap it has a width also where all items are alike: 20 of 20 is `100.0% [83.9%, 100.0%]`.
    Raises MoAError for no items, ValueError for successes outside 0 to `count`.
    """
    if count < 1:
        raise MoAError("there are no items to estimate a figure from")
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count} items")
    share = successes / count
    squared = NormalDist().inv_cdf((1 + level) / 2) ** 2 / count
    middle = (share + squared / 2) / (1 + squared)
    half = math.sqrt(squared * (share * (1 - share) + squared / 4)) / (1 + squared)
    # At the ends the bound is exact; computed it would miss it by a rounding error.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == count else middle + half
    return Interval(share, low, high, level)


def difference_interval(
    old: Sequence[float],
    new: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Return the mean of `new` minus that of `old` with the interval of a paired bootstrap.

    Both have one value for each item, in the same order; whole items are drawn. Raises as
    `bootstrap_interval`, and ValueError for unequal lengths.
    """
    differences = [after - before for before, after in zip(old, new, strict=True)]
    return mean_interval(differences, seed=seed, resamples=resamples, level=level)


def can_be_told(interval: Interval, items: int, *, against: float = 0.0) -> bool:
    """Tell whether a figure of so many items differs from `against`: its interval leaves that out.

    Fewer than six items tell nothing: drawn again and again from so few, an interval is far too narrow.
    """
    return items >= _FEWEST and not interval.holds(against)


def sign_test(one: int, other: int) -> float:
    """Return the probability of a split at least as uneven as one : other if both sides are equally likely.

    For the items that changed to right and to wrong this is McNemar's exact test, two-sided.
    """
    one, other = int(one), int(other)  # those of numpy would overflow
    count = one + other
    tail = sum(math.comb(count, chosen) for chosen in range(min(one, other) + 1))
    return min(1.0, 2 * tail / (1 << count))
