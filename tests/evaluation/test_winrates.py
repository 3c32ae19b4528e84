from __future__ import annotations

import numpy as np
import pytest

from moa_graph.errors import MoAError
from moa_graph.evaluation.winrates import win_rate


def test_a_win_rate_is_the_mean_preference_and_a_tie_half_a_win() -> None:
    found = win_rate([1.0, 0.9, 0.5, 0.0, None])
    assert found.rate.value == pytest.approx(0.6)
    assert (found.wins, found.losses, found.ties, found.unjudged, found.items) == (2, 1, 1, 1, 4)
    assert found.rate.low < 0.6 < found.rate.high


def test_a_rate_of_wins_and_losses_alone_has_an_interval_also_where_all_are_won() -> None:
    found = win_rate([1.0] * 20)
    assert (found.rate.value, found.rate.high) == (1.0, 1.0)
    assert found.rate.low == pytest.approx(0.839, abs=0.001)


@pytest.mark.parametrize(
    ("preferences", "preferred"),
    [
        ([1.0, 1.0, 1.0, 0.5, 0.5, 0.5], None),  # three wins say nothing
        ([1.0] * 7 + [0.0], None),  # p = 0.07
        ([1.0] * 5, None),
        ([1.0] * 8, "answer"),
        ([0.0] * 8, "baseline"),
        ([0.5] * 30, None),
        ([1.0] * 20 + [0.5] * 10, "answer"),
        ([0.55] * 30 + [0.0] * 12, None),  # more wins, yet the lower mean
    ],
)
def test_a_side_is_preferred_only_where_interval_and_sign_test_agree(
    preferences: list[float], preferred: str | None
) -> None:
    assert win_rate(preferences).preferred == preferred


def test_preferences_of_numpy_are_told_as_others_are() -> None:
    preferences = [1.0] * 150 + [0.0] * 50
    assert win_rate(list(np.array(preferences))).preferred == win_rate(preferences).preferred == "answer"


@pytest.mark.parametrize("preferences", [[], [None, None]])
def test_where_nothing_was_judged_there_is_no_win_rate(preferences: list[float | None]) -> None:
    with pytest.raises(MoAError, match="no item was judged"):
        win_rate(preferences)


@pytest.mark.parametrize("outside", [1.5, -0.1, float("nan")])
def test_a_preference_out_of_bounds_is_refused(outside: float) -> None:
    with pytest.raises(MoAError, match="between 0 and 1"):
        win_rate([0.5, outside])


def test_published_win_rates_are_reproduced_and_the_others_explained() -> None:
    bench = pytest.importorskip("bench.winrates")
    if not bench.data_folder().is_dir():
        pytest.skip("the recorded data are not here")
    rows = bench.compute(bench.data_folder(), resamples=1)
    assert len(rows) == 56
    assert all(row.win.value == pytest.approx(row.published_win, abs=0.01) for row in rows)
    off = [row for row in rows if not row.close]
    assert len(off) == 5  # 91 % are close
    assert all(row.missing for row in off)
    assert all(row.shifted == pytest.approx(row.published, abs=0.12) for row in off)
    figures = bench.figures(rows)
    assert [figure.met for figure in figures] == [True, True, None]
    assert figures[1].figure == "51 of 56 (91.1 %)"
    assert bench.table(rows).splitlines()[2].startswith("| gpt35_turbo_instruct | 8.46 ")
