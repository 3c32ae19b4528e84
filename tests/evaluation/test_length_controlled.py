from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest

from moa_graph.errors import MoAError
from moa_graph.evaluation import logistic
from moa_graph.evaluation.length_controlled import Anchors, Judged, length_controlled, read_anchors
from moa_graph.evaluation.logistic import STRENGTHS, Rows, chosen_strength, fit, probabilities


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _made(*, effect: float, own: float, count: int = 400, longer: int = 300) -> Judged:
    """Make judgements by the model itself: `effect` of the length, `own` strength, answers mostly longer."""
    generator = random.Random(7)
    lengths = [1000 + longer + generator.randint(-500, 500) for _ in range(count)]
    deltas = [1000 - length for length in lengths]
    mean = sum(deltas) / count
    spread = math.sqrt(sum((delta - mean) ** 2 for delta in deltas) / (count - 1))
    preferences = [_logistic(effect * math.tanh(delta / spread) + own) for delta in deltas]
    return Judged(preferences, lengths, [1000] * count)


def test_what_length_alone_won_is_taken_away() -> None:
    judged = _made(effect=-2.0, own=0.0)
    known = [value for value in judged.preference if value is not None]
    assert sum(known) / len(known) > 0.65
    found = length_controlled(judged, resamples=50)
    assert found.rate.value == pytest.approx(0.5, abs=0.01)
    assert found.rate.low <= found.rate.value <= found.rate.high
    assert found.length == pytest.approx(-2.0, abs=0.05)
    assert found.difficulty is None
    assert found.items == 400


def test_a_models_own_strength_stays() -> None:
    found = length_controlled(_made(effect=-2.0, own=1.0), resamples=10)
    assert found.own == pytest.approx(1.0, abs=0.05)
    assert found.rate.value == pytest.approx(_logistic(1.0), abs=0.01)


def test_the_difficulty_of_the_instructions_is_kept() -> None:
    judged = _made(effect=-1.0, own=0.0)
    difficulty = [float(number % 5 - 2) for number in range(400)]
    logits = [math.log(value / (1 - value)) for value in judged.preference if value is not None]
    preferences = [_logistic(logit + 0.8 * hard) for logit, hard in zip(logits, difficulty, strict=True)]
    harder = Judged(preferences, judged.length, judged.baseline_length, difficulty)
    found = length_controlled(harder, resamples=10)
    assert found.difficulty == pytest.approx(0.8, abs=0.03)
    expected = sum(_logistic(0.8 * hard) for hard in difficulty) / 400
    assert found.rate.value == pytest.approx(expected, abs=0.01)


def test_anchors_pull_the_effect_of_length_but_not_the_strength() -> None:
    judged = _made(effect=0.0, own=0.7)
    grid = [number / 50 - 2 for number in range(200)]
    anchors = Anchors([_logistic(-3 * math.tanh(delta)) for delta in grid], grid, [0.0] * 200)
    assert length_controlled(judged, resamples=10).length == pytest.approx(0.0, abs=0.01)
    anchored = length_controlled(judged, anchors, resamples=10)
    assert -1.0 < anchored.length < -0.05
    assert anchored.own == pytest.approx(0.7, abs=0.2)


def test_items_without_a_preference_or_a_length_are_left_out() -> None:
    judged = _made(effect=-2.0, own=0.3)
    preferences, lengths = [None, *judged.preference[1:]], [*judged.length[:-1], None]
    with_gaps = Judged(preferences, lengths, judged.baseline_length)
    without = Judged(judged.preference[1:-1], judged.length[1:-1], judged.baseline_length[1:-1])
    found = length_controlled(with_gaps, resamples=5)
    assert found == length_controlled(without, resamples=5)
    assert found.items == 398


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        (Judged([0.5] * 9, list(range(9)), [5] * 9), "9 judged items are too few"),
        (Judged([0.5] * 20, [3] * 20, [5] * 20), "the same length"),
        (Judged([0.5] * 20, [3] * 19, [5] * 20), "not of the same items"),
        (Judged([0.5] * 20, list(range(20)), [5] * 20, [0.0]), "not of the same items"),
    ],
)
def test_what_tells_nothing_about_length_is_refused(judged: Judged, words: str) -> None:
    with pytest.raises(MoAError, match=words):
        length_controlled(judged)


def _longer(*, by: int, spread: int, count: int, won: float = 0.7) -> Judged:
    generator = random.Random(4)
    lengths = [1000 + by + generator.randint(-spread, spread) for _ in range(count)]
    return Judged([float(generator.random() < won) for _ in lengths], lengths, [1000] * count)


@pytest.mark.parametrize(("by", "word"), [(900, "longer"), (-900, "shorter")])
@pytest.mark.parametrize("count", [30, 100])
def test_where_all_are_longer_by_much_the_same_the_effect_of_length_is_unknown(
    by: int, word: str, count: int
) -> None:
    judged = _longer(by=by, spread=350, count=count)
    with pytest.raises(MoAError, match=f"nearly all answers are {word} than the baseline's by much the same"):
        length_controlled(judged)
    grid = [number / 50 - 2 for number in range(200)]
    anchors = Anchors([_logistic(-3 * math.tanh(delta)) for delta in grid], grid, [0.0] * 200)
    assert length_controlled(judged, anchors, resamples=2).length < 0


@pytest.mark.parametrize("preference", [0.0, 1.0])
def test_where_all_are_won_or_lost_nothing_is_told_of_length(preference: float) -> None:
    with pytest.raises(MoAError, match="judged alike"):
        length_controlled(Judged([preference] * 60, list(range(60)), [30] * 60))


@pytest.mark.parametrize(
    ("judged", "preferred"),
    [
        (_longer(by=0, spread=500, count=199, won=0.95), None),  # clear, but too few for the penalty
        (_longer(by=0, spread=500, count=200, won=0.95), "answer"),
        (_longer(by=0, spread=500, count=200, won=0.05), "baseline"),
        (_longer(by=0, spread=500, count=200, won=0.5), None),
    ],
)
def test_a_side_is_preferred_at_equal_lengths_only_with_enough_items(
    judged: Judged, preferred: str | None
) -> None:
    assert length_controlled(judged, resamples=100).preferred == preferred


def test_answers_that_are_mostly_longer_have_a_wide_interval_and_no_certainty() -> None:
    found = length_controlled(_longer(by=500, spread=600, count=100), resamples=200)
    assert 0.1 < found.rate.high - found.rate.low < 0.9
    assert 0 < found.rate.low < found.rate.high < 1


def test_anchors_are_read_as_they_are_published(tmp_path: Path) -> None:
    file = tmp_path / "anchors.csv"
    file.write_text("preference,index,std_delta_len,instruction_difficulty\n0.9,0,-1.5,0.25\n0.1,1,2,-1\n")
    assert read_anchors(file) == Anchors([0.9, 0.1], [-1.5, 2.0], [0.25, -1.0])


@pytest.mark.parametrize("content", [None, "preference,index\n0.5,1\n", "preference,std_delta_len\nx,1\n"])
def test_another_file_is_refused(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "anchors.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(MoAError, match=r"anchors\.csv: cannot be read as anchors"):
        read_anchors(file)


def _rows() -> Rows:
    generator = np.random.default_rng(5)
    features = np.column_stack([generator.normal(size=(300, 2)), np.ones(300)])
    return Rows(features, probabilities(features, np.array([1.0, 0.0, -0.5])), np.ones(300))


def test_a_fit_without_much_penalty_finds_the_truth() -> None:
    assert fit(_rows(), 1e6) == pytest.approx([1.0, 0.0, -0.5], abs=1e-4)


def test_a_fit_is_a_minimum_in_every_direction() -> None:
    rows = _rows()
    beta = fit(rows, 0.1)
    least = rows.loss(beta, 0.1)
    for place in range(3):
        for shift in (-1e-3, 1e-3):
            assert rows.loss(beta + shift * np.eye(3)[place], 0.1) > least


def test_a_strong_penalty_leaves_nothing() -> None:
    assert fit(_rows(), 1e-4).tolist() == [0.0, 0.0, 0.0]


def test_a_bad_start_ends_at_the_same_minimum() -> None:
    rows = _rows()
    assert fit(rows, 1.0, start=np.array([30.0, -30.0, 30.0])) == pytest.approx(fit(rows, 1.0), abs=1e-6)


def test_a_column_of_zeros_gets_no_weight() -> None:
    rows = _rows()
    empty = Rows(np.column_stack([rows.features, np.zeros(300)]), rows.target, rows.weight)
    assert fit(empty, 10.0)[3] == 0.0


def test_clear_data_choose_a_weak_penalty_and_noise_a_strong_one() -> None:
    rows = _rows()
    noise = Rows(rows.features, np.random.default_rng(1).integers(0, 2, 300).astype(float), rows.weight)
    assert chosen_strength(rows) > chosen_strength(noise)
    assert chosen_strength(noise) < STRENGTHS[5]


def test_steps_have_an_end_and_each_of_them_is_an_improvement(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows()
    monkeypatch.setattr(logistic, "_STEPS", 1)
    once = fit(rows, 1.0)
    twice = fit(rows, 1.0, start=once)
    assert rows.loss(np.zeros(3), 1.0) > rows.loss(once, 1.0) > rows.loss(twice, 1.0)
