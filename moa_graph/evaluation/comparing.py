"""Two runs of `moa eval` over the same items: how they differ, and whether the difference can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moa_graph.errors import MoAError
from moa_graph.evaluation.evaluated import EvaluatedRun, known_number, readings_apart
from moa_graph.evaluation.statistics import (
    Interval,
    can_be_told,
    difference_interval,
    mean_interval,
    share_interval,
    sign_test,
)

__all__ = ["MEASURES", "Change", "Difference", "RunComparison", "compare_runs"]

Record = Mapping[str, Any]
Telling = Literal["higher", "lower", "no difference can be told", "depends on the load"]

MEASURES = ("correct", "cost", "calls", "seconds")
"""What is compared: the share of right answers, USD, requests and seconds per item."""
_OF_LOAD = frozenset({"seconds"})
"""What depends on how much was under way at once, on both sides: no run is called higher for it."""


@dataclass(frozen=True)
class Difference:
    """Hold one measure per item in both runs: its means, and the second minus the first with its interval.

    `items` have the measure in both runs. `telling` says whether the second run is higher or lower: only
    where the interval leaves out 0 and an exact sign test over the items that changed agrees (for `correct`
    that is McNemar's). For `seconds` it says neither: they depend on the load.
    """

    measure: str
    old: Interval
    new: Interval
    difference: Interval
    items: int
    telling: Telling


@dataclass(frozen=True)
class Change:
    """Hold an item whose answer became right, or wrong."""

    id: str
    old: str | None
    new: str | None
    gold: str | None


@dataclass(frozen=True)
class RunComparison:
    """Hold how two runs differ over the `items` that are in both.

    `only_old` and `only_new` are ids that only one run has. `won` went from wrong to right, `lost` from
    right to wrong; `both_right` and `both_wrong` count the rest, `chance` is the two-sided probability of
    such a split where both runs are equally good (McNemar's exact test). `unscored` items say in one of the
    runs not whether they are correct. `unknown` names measures that no item has in both runs. `readings` are
    there where the runs' answers were read in different ways: then right in one run means something else than
    right in the other, `correct` is unknown, and no item is scored.
    """

    items: int
    only_old: list[str]
    only_new: list[str]
    differences: list[Difference]
    unknown: list[str]
    won: list[Change]
    lost: list[Change]
    both_right: int
    both_wrong: int
    unscored: int
    chance: float
    readings: tuple[str, str] | None = None


def compare_runs(
    old_run: EvaluatedRun, new_run: EvaluatedRun, *, seed: int = 0, resamples: int = 2000
) -> RunComparison:
    """Return how the second run differs from the first, item by item.

    Raises MoAError where the runs are not over the same dataset: no id is in both, an item has another gold
    answer, or there are no gold answers and the questions are known to be others.
    """
    old, new = old_run.records, new_run.records
    ids = [id_ for id_ in old if id_ in new]
    _check_same_dataset(old_run, new_run, ids)
    readings = readings_apart(old_run, new_run)
    pairs = [(old[id_], new[id_]) for id_ in ids]
    found = {
        measure: None if readings and measure == "correct" else _difference(measure, pairs, seed, resamples)
        for measure in MEASURES
    }
    known = [id_ for id_ in ids if _known(old[id_], "correct") and _known(new[id_], "correct")]
    scored = [] if readings else known
    right = {id_: (bool(old[id_]["correct"]), bool(new[id_]["correct"])) for id_ in scored}
    won = [_change(old[id_], new[id_]) for id_ in scored if right[id_] == (False, True)]
    lost = [_change(old[id_], new[id_]) for id_ in scored if right[id_] == (True, False)]
    return RunComparison(
        items=len(ids),
        only_old=[id_ for id_ in old if id_ not in new],
        only_new=[id_ for id_ in new if id_ not in old],
        differences=[part for part in found.values() if part is not None],
        unknown=[measure for measure, part in found.items() if part is None],
        won=won,
        lost=lost,
        both_right=sum(pair == (True, True) for pair in right.values()),
        both_wrong=sum(pair == (False, False) for pair in right.values()),
        unscored=len(ids) - len(scored),
        chance=sign_test(len(won), len(lost)),
        readings=readings,
    )


def _check_same_dataset(old: EvaluatedRun, new: EvaluatedRun, ids: Sequence[str]) -> None:
    hint = "Compare two runs of `moa eval` over one dataset."
    if not ids:
        raise MoAError("the runs are over different datasets: no item's id is in both", hint=hint)
    golds = {id_: (_said(old.records[id_], "gold"), _said(new.records[id_], "gold")) for id_ in ids}
    other = [id_ for id_, (before, after) in golds.items() if before != after]
    if other:
        raise MoAError(
            f"the runs are over different datasets: {len(other)} of {len(ids)} items that are in both have "
            f"another gold answer, such as {other[0]!r}",
            hint=hint,
        )
    nothing_to_tell = all(gold == (None, None) for gold in golds.values())
    if nothing_to_tell and old.digest and new.digest and old.digest != new.digest:
        raise MoAError(
            f"the runs are over different datasets: {old.dataset} and {new.dataset} as they were then",
            hint=hint,
        )


def _difference(
    measure: str, pairs: Sequence[tuple[Record, Record]], seed: int, resamples: int
) -> Difference | None:
    known = [
        _without_noise(float(before[measure]), float(after[measure]))
        for before, after in pairs
        if _known(before, measure) and _known(after, measure)
    ]
    if not known:
        return None
    before, after = [pair[0] for pair in known], [pair[1] for pair in known]
    difference = difference_interval(before, after, seed=seed, resamples=resamples)
    more, less = sum(b < a for b, a in known), sum(b > a for b, a in known)
    telling: Telling = "no difference can be told"
    if measure in _OF_LOAD:
        telling = "depends on the load"
    elif (
        can_be_told(difference, len(known))
        and sign_test(more, less) <= 1 - difference.level
        and (difference.value > 0) == (more > less)
    ):
        telling = "higher" if more > less else "lower"
    return Difference(
        measure=measure,
        old=_interval(before, seed, resamples, shares=measure == "correct"),
        new=_interval(after, seed, resamples, shares=measure == "correct"),
        difference=difference,
        items=len(known),
        telling=telling,
    )


def _interval(values: Sequence[float], seed: int, resamples: int, *, shares: bool) -> Interval:
    if shares:
        return share_interval(round(sum(values)), len(values))
    return mean_interval(values, seed=seed, resamples=resamples)


def _without_noise(before: float, after: float) -> tuple[float, float]:
    """Return two figures that differ by rounding alone, such as 0.1 + 0.2 and 0.3, as the same."""
    return (before, before) if math.isclose(before, after, abs_tol=1e-12) else (before, after)


def _known(record: Record, measure: str) -> bool:
    return known_number(record.get(measure))


def _said(record: Record, field: str) -> str | None:
    """Return a field as text; several gold answers are alternatives."""
    value = record.get(field)
    if isinstance(value, list):
        return " | ".join(map(str, value))
    return None if value is None else str(value)


def _change(old: Record, new: Record) -> Change:
    said = [
        _said(record, "answer" if record.get("extracted") is None else "extracted") for record in (old, new)
    ]
    return Change(str(old["id"]), said[0], said[1], _said(old, "gold"))
