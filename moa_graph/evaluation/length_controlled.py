"""The length-controlled win rate of AlpacaEval 2: what the win rate would be at equal lengths.

Source: Dubois et al. 2024, arXiv 2404.04475. A logistic model explains each preference by the difference of
lengths, by the difficulty of the instruction, and by a constant, the model's own strength:

    P(preferred) = logistic( φ·tanh(Δlength / sd(Δlength)) + ψ·difficulty + θ )

The length-controlled win rate is the mean prediction with Δlength = 0. AlpacaEval adds the preferences of its
baseline's own short and long answers with a small weight (the anchors), which carry no θ: whoever only
writes at another length shall be level with the baseline. φ, ψ and θ are fitted under an L1 penalty whose
weight is chosen by cross-validation.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moa_graph.errors import MoAError
from moa_graph.evaluation.logistic import Rows, chosen_strength, fit, probabilities
from moa_graph.evaluation.statistics import Interval, bootstrap_interval, can_be_told
from moa_graph.evaluation.verdicts import Side
from moa_graph.extras import needing

with needing("eval"):
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FEWEST_TO_TELL", "Anchors", "Judged", "LengthControlled", "length_controlled", "read_anchors"]

FEWEST_TO_TELL = 200
"""Items below which the penalty pulls a rate so far towards 50 % that nothing is told from it: in simulations
of 100 items as few as two of three intervals held the true rate, of 200 items 94 of 100 and more."""
_ANCHOR_WEIGHT = 0.1
"""Of each anchor beside an item's 1: 0.2 for the two gamed baselines together."""
_FEWEST = 10
"""Two items for each of five folds."""
_LEAST_SPREAD = 1 / 3
"""Of the lengths' column beside its own size. Below it the column is nearly a constant, as θ is: which of the
two explains the preferences cannot be told. No model of AlpacaEval's leaderboard lies below 0.35."""


@dataclass(frozen=True)
class Anchors:
    """Hold the preferences of a baseline's own answers of other lengths; one value for each of its rows.

    `delta` is the baseline's length minus the answer's in standard deviations.
    """

    preference: Sequence[float]
    delta: Sequence[float]
    difficulty: Sequence[float]


@dataclass(frozen=True)
class Judged:
    """Hold what is known of a model's answers, item by item.

    `preference` is from 0 to 1 as in `win_rate`; `length` and `baseline_length` are in characters;
    `difficulty` of the instruction, None where it is not known for this data. An item without a preference
    or a length is left out.
    """

    preference: Sequence[float | None]
    length: Sequence[int | None]
    baseline_length: Sequence[int]
    difficulty: Sequence[float] | None = None


@dataclass(frozen=True)
class LengthControlled:
    """Hold a length-controlled win rate (a share from 0 to 1), and the coefficients φ, ψ, θ behind it.

    `difficulty` (ψ) is None where none was given. `strength` is the weight C of the data against the
    penalty. The interval is of a bootstrap over the items, with `strength` and the anchors kept: how far the
    penalty pulls the rate towards 50 % is not in it.
    """

    rate: Interval
    length: float
    difficulty: float | None
    own: float
    strength: float
    items: int

    @property
    def preferred(self) -> Side | None:
        """Return which side is preferred at equal lengths, None where no difference can be told.

        The interval leaves out 50 %, and there are 200 items: fewer tell nothing under the penalty.
        """
        if self.items < FEWEST_TO_TELL or not can_be_told(self.rate, self.items, against=0.5):
            return None
        return "answer" if self.rate.value > 0.5 else "baseline"


def read_anchors(path: str | os.PathLike[str]) -> Anchors:
    """Read anchors as AlpacaEval publishes them (`df_gamed.csv`); raise MoAError for another file."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return Anchors(
            preference=[float(row["preference"]) for row in rows],
            delta=[float(row["std_delta_len"]) for row in rows],
            difficulty=[float(row["instruction_difficulty"]) for row in rows],
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise MoAError(
            f"{os.fspath(path)}: cannot be read as anchors: {error!r}",
            hint="It is a CSV file with the columns preference, std_delta_len and instruction_difficulty.",
        ) from error


def length_controlled(
    judged: Judged, anchors: Anchors | None = None, *, seed: int = 0, resamples: int = 500
) -> LengthControlled:
    """Return the win rate that a model would have if its answers were as long as the baseline's.

    Without `difficulty` that term is left out, of the anchors as well. Raises MoAError where fewer than
    ten items were judged, or all differ from the baseline by the same length; without anchors also where
    nearly all are longer (or shorter) by much the same, or all were judged alike: what the length does to
    them is then unknown.
    """
    items = _items(judged)
    if anchors is None:
        _check_tellable(items)
    kept = _anchor_rows(anchors, with_difficulty=judged.difficulty is not None)
    count = len(items.target)
    strength = chosen_strength(kept.and_(items))
    whole = fit(kept.and_(items), strength)
    level = items.features * (np.arange(items.features.shape[1]) > 0)  # the same items, with equal lengths

    def rate(drawn: NDArray[np.intp]) -> float:
        beta = fit(kept.and_(items.at(drawn)), strength, start=whole)
        return float(probabilities(level[drawn], beta).mean())

    return LengthControlled(
        rate=bootstrap_interval(rate, count, seed=seed, resamples=resamples),
        length=float(whole[0]),
        difficulty=float(whole[1]) if judged.difficulty is not None else None,
        own=float(whole[-1]),
        strength=strength,
        items=count,
    )


def _items(judged: Judged) -> Rows:
    """Return a row for each judged item."""
    count = len(judged.preference)
    columns_given = [judged.length, judged.baseline_length, judged.difficulty]
    if any(each is not None and len(each) != count for each in columns_given):
        raise MoAError("preferences, lengths and the baseline's lengths are not of the same items")
    preference = np.array(judged.preference, dtype=float)  # None becomes NaN
    delta = np.array(judged.baseline_length, dtype=float) - np.array(judged.length, dtype=float)
    there = ~np.isnan(preference) & ~np.isnan(delta)
    if there.sum() < _FEWEST:
        raise MoAError(f"{there.sum()} judged items are too few for a length-controlled win rate")
    spread = float(np.std(delta[there], ddof=1))
    if spread == 0:
        raise MoAError("all answers differ from the baseline by the same length: its effect is unknown")
    columns = [np.tanh(delta / spread)]
    if judged.difficulty is not None:
        columns.append(np.array(judged.difficulty, dtype=float))
    ones = np.ones(len(preference))
    return Rows(np.column_stack([*columns, ones]), preference, ones).at(there)


def _check_tellable(items: Rows) -> None:
    """Refuse items from which the effect of the length cannot be told without anchors."""
    lengths = items.features[:, 0]
    if np.std(lengths) < _LEAST_SPREAD * np.sqrt(np.mean(lengths**2)):
        raise MoAError(
            f"nearly all answers are {'shorter' if lengths.mean() > 0 else 'longer'} than the baseline's "
            "by much the same: the length's effect is unknown"
        )
    if items.target.min() == 1 or items.target.max() == 0:
        raise MoAError("all items were judged alike: the length's effect is unknown")


def _anchor_rows(anchors: Anchors | None, *, with_difficulty: bool) -> Rows:
    """Return a row for each anchor, which has no strength of its own."""
    anchors = anchors or Anchors([], [], [])
    columns = [np.tanh(np.array(anchors.delta, dtype=float))]
    if with_difficulty:
        columns.append(np.array(anchors.difficulty, dtype=float))
    count = len(anchors.preference)
    features = np.column_stack([*columns, np.zeros(count)])
    return Rows(features, np.array(anchors.preference, dtype=float), np.full(count, _ANCHOR_WEIGHT))
