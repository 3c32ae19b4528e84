from __future__ import annotations

import sys

import numpy as np
import pytest

from moa_graph.errors import MoAError, ModelNotReady
from moa_graph.evaluation.statistics import (
    Interval,
    bootstrap_interval,
    can_be_told,
    difference_interval,
    mean_interval,
    share_interval,
    sign_test,
)


def test_an_interval_is_written_with_its_ends_in_any_format() -> None:
    interval = Interval(0.537, 0.501, 0.574)
    assert str(interval.times(100)) == "53.7 [50.1, 57.4]"
    assert f"{interval:.1%}" == "53.7% [50.1%, 57.4%]"
    assert f"{interval}" == "0.5 [0.5, 0.6]"


def test_a_negative_unit_swaps_the_ends() -> None:
    assert Interval(1.0, 0.0, 3.0).times(-2) == Interval(-2.0, -6.0, -0.0)


def test_an_interval_holds_its_ends_and_nothing_outside() -> None:
    interval = Interval(0.2, 0.1, 0.3)
    assert [interval.holds(value) for value in (0.1, 0.3, 0.09, 0.31)] == [True, True, False, False]


def test_the_bootstrap_agrees_with_the_normal_approximation() -> None:
    shares = [1.0] * 300 + [0.0] * 700
    interval = mean_interval(shares)
    assert interval.value == pytest.approx(0.3)
    assert interval.low == pytest.approx(0.3 - 1.96 * 0.01449, abs=0.003)
    assert interval.high == pytest.approx(0.3 + 1.96 * 0.01449, abs=0.003)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, 857-872, method 3; the last is the first turned round
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (15, 148, 0.0624, 0.1605),
        (81, 263, 0.2553, 0.3662),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_a_share_has_wilsons_interval_which_is_wide_where_all_items_are_alike(
    successes: int, count: int, low: float, high: float
) -> None:
    interval = share_interval(successes, count)
    assert interval.value == successes / count
    assert [interval.low, interval.high] == pytest.approx([low, high], abs=5e-5)
    wider = share_interval(successes, count, level=0.99)
    assert (wider.low <= interval.low, wider.high >= interval.high, wider.level) == (True, True, 0.99)


def test_wilsons_ends_solve_the_equation_that_defines_them() -> None:
    interval = share_interval(7, 30)
    for end in (interval.low, interval.high):
        assert abs(7 / 30 - end) == pytest.approx(1.959964 * (end * (1 - end) / 30) ** 0.5)


def test_a_share_of_nothing_and_more_than_all_are_refused() -> None:
    with pytest.raises(MoAError, match="no items"):
        share_interval(0, 0)
    with pytest.raises(ValueError, match="3 successes of 2 items"):
        share_interval(3, 2)


def test_the_same_seed_gives_the_same_interval_and_a_level_widens_it() -> None:
    values = [number**0.5 for number in range(50)]
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)
    narrow, wide = mean_interval(values, level=0.5), mean_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.level == 0.99


def test_items_are_paired_so_that_what_they_share_cancels_out() -> None:
    old = [float(number) for number in range(100)]
    difference = difference_interval(old, [value + 1 for value in old])
    assert (difference.value, difference.low, difference.high) == (1.0, 1.0, 1.0)


def test_unequal_lengths_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="zip"):
        difference_interval([1.0], [1.0, 2.0])


def test_any_statistic_of_the_items_has_an_interval() -> None:
    interval = bootstrap_interval(lambda items: float(items.max()), 10, resamples=200)
    assert interval.value == 9
    assert interval.low < 9 == interval.high


def test_nothing_is_estimated_from_no_items() -> None:
    with pytest.raises(MoAError, match="no items"):
        mean_interval([])


def test_fewer_than_six_items_tell_nothing_whatever_they_say() -> None:
    certain = Interval(1.0, 1.0, 1.0)
    assert not can_be_told(certain, 5)
    assert can_be_told(certain, 6)
    assert not can_be_told(certain, 6, against=1.0)


@pytest.mark.parametrize(
    ("one", "other", "chance"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64), (6, 0, 2 / 64), (1, 9, 2 * 11 / 1024), (0, 2000, 0.0)],
)
def test_the_sign_test_is_exact(one: int, other: int, chance: float) -> None:
    assert sign_test(one, other) == pytest.approx(chance)


def test_the_sign_test_takes_counts_of_numpy() -> None:
    counts = np.array([True] * 150 + [False] * 50)
    assert sign_test(counts.sum(), (~counts).sum()) == sign_test(150, 50) > 0


def test_without_numpy_the_install_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ModelNotReady, match=r"pip install 'moa-graph\[eval\]'"):
        bootstrap_interval(lambda _: 0.0, 3)
