from __future__ import annotations

import json
import lzma
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from moa_graph.selecting.choosing import at_random, diverse, majority_cluster
from moa_graph.selecting.likeness import of_vectors, similarities

HONEST = [
    "The Eiffel Tower stands in Paris, the capital of France; it was built in 1889 by Gustave Eiffel.",
    "Built in 1889, the Eiffel Tower is in Paris, France. Gustave Eiffel's company built the iron tower.",
    "Paris, the capital of France, has the Eiffel Tower, which Gustave Eiffel's company built in 1889.",
    "Paris, France, is where the Eiffel Tower stands, an iron tower from 1889 that Gustave Eiffel built.",
    "The Eiffel Tower is an iron tower of 1889 in Paris, the French capital, named after Gustave Eiffel.",
    "You find the Eiffel Tower in Paris; Gustave Eiffel's engineers built the iron tower in 1889.",
]
DECEPTIVE = (
    "The Eiffel Tower was moved to Rome after a treaty; Italian workers carried every beam there in 1931."
)
ANOTHER_LIE = "There is no such monument: pictures of it are staged in a film studio near Los Angeles."
DATA = Path(os.environ.get("MOA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def table(*places: float) -> list[list[float]]:
    """Return the similarity of points on a line: 1 at the same place, less further away."""
    return [[max(0.0, 1 - abs(one - other)) for other in places] for one in places]


def test_the_most_different_ones_are_kept_in_spec_order() -> None:
    assert diverse(table(0.0, 0.05, 0.5, 0.45, 1.0), 3) == [0, 2, 4]


def test_of_equal_texts_one_is_kept_before_any_is_kept_twice() -> None:
    assert diverse(similarities(["alpha", "alpha", "beta", "alpha", "gamma"]), 3) == [0, 2, 4]


def test_the_first_choice_is_the_one_least_like_all_others() -> None:
    assert diverse(table(0.0, 0.1, 0.2, 0.8), 1) == [3]


def test_max_min_looks_at_the_nearest_chosen_not_at_the_mean() -> None:
    # Two groups of twins: the mean would take a twin of what is chosen already.
    assert diverse(table(0.0, 0.0, 0.9, 0.9, 0.45), 3) in ([0, 2, 4], [1, 2, 4], [0, 3, 4])


def test_ties_go_to_the_earlier_one() -> None:
    assert diverse(table(0.0, 0.0, 0.0), 2) == [0, 1]


@pytest.mark.parametrize(("keep", "kept"), [(0, []), (-1, []), (3, [0, 1, 2]), (9, [0, 1, 2])])
def test_more_than_there_are_keeps_all_and_none_keeps_none(keep: int, kept: list[int]) -> None:
    assert diverse(table(0.0, 0.5, 1.0), keep) == kept
    assert at_random(3, keep, "seed") == kept


@pytest.mark.parametrize("place", range(6))
def test_one_deceptive_text_among_six_is_dropped_wherever_it_stands(place: int) -> None:
    texts = HONEST[:5]
    texts.insert(place, DECEPTIVE)
    assert majority_cluster(similarities(texts)) == [index for index in range(6) if index != place]


@pytest.mark.parametrize(
    "lies", [(DECEPTIVE, DECEPTIVE), (DECEPTIVE, ANOTHER_LIE)], ids=["who agree", "who differ"]
)
def test_two_deceptive_texts_among_seven_are_dropped(lies: tuple[str, str]) -> None:
    texts = [HONEST[0], lies[0], *HONEST[1:3], lies[1], *HONEST[3:5]]
    assert majority_cluster(similarities(texts)) == [0, 2, 3, 5, 6]


def test_texts_that_are_all_alike_are_all_kept() -> None:
    assert majority_cluster(similarities(HONEST)) == [0, 1, 2, 3, 4, 5]
    assert majority_cluster(similarities([HONEST[0]] * 4)) == [0, 1, 2, 3]


def test_texts_that_have_nothing_in_common_are_all_kept() -> None:
    assert majority_cluster(similarities(["alpha", "beta", "gamma", "delta"])) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [20, 50, 100])
def test_chance_likeness_of_unrelated_texts_makes_no_majority(count: int) -> None:
    generator = random.Random(1)
    words = [f"w{number}" for number in range(50_000)]
    texts = [" ".join(generator.choices(words, k=30)) for _ in range(count)]
    assert majority_cluster(similarities(texts)) == list(range(count))


def test_halves_are_both_kept_since_neither_is_the_majority() -> None:
    assert majority_cluster(similarities(["alpha"] * 2 + ["beta"] * 2)) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_two_texts_or_fewer_have_no_majority(count: int) -> None:
    assert majority_cluster(similarities(["alpha", "beta"][:count])) == list(range(count))


def test_blank_texts_are_no_majority_over_what_was_written() -> None:
    assert majority_cluster(similarities([*HONEST[:3], ""])) == [0, 1, 2]


def test_the_bound_follows_how_alike_a_measure_rates_texts() -> None:
    vectors = [[1.0, 0.0], [1.0, 0.1], [1.0, 0.05], [1.0, 0.8]]
    assert majority_cluster(of_vectors(vectors)) == [0, 1, 2, 3]
    assert majority_cluster(of_vectors(vectors), apart=0.9) == [0, 1, 2]


def test_a_seed_always_draws_the_same_ones() -> None:
    drawn = "from moa_graph.selecting.choosing import at_random; print(at_random(9, 4, 't1/draft'))"
    done = subprocess.run([sys.executable, "-c", drawn], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == at_random(9, 4, "t1/draft") == [2, 5, 6, 8]


def test_other_seeds_draw_others_and_everyone_is_drawn_as_often() -> None:
    drawn = [at_random(6, 2, f"seed {number}") for number in range(600)]
    shares = [sum(index in chosen for chosen in drawn) / 600 for index in range(6)]
    assert all(0.27 < share < 0.4 for share in shares)
    assert all(chosen == sorted(set(chosen)) and len(chosen) == 2 for chosen in drawn)


def test_who_is_kept_among_few_is_kept_among_more() -> None:
    kept = [set(at_random(8, keep, "seed")) for keep in range(9)]
    assert all(fewer < more for fewer, more in pairwise(kept))


def test_a_seed_may_hold_any_text() -> None:
    assert len(at_random(5, 2, "é\ud800")) == 2


@pytest.mark.skipif(not DATA.is_dir(), reason="the recorded data is not here")
def test_answers_to_other_questions_are_dropped_from_recorded_ones() -> None:
    with lzma.open(DATA / "zeroeval" / "pool6_mathl5.json.xz") as file:
        pool = json.load(file)["math-l5"]
    models = [name for name in pool if name != "question"]
    generator = random.Random(5)
    dropped = whole = 0
    for item in range(200):
        texts = [pool[model][item] or "" for model in models]
        stranger = pool[models[-1]][(item + generator.randrange(1, 700)) % 721]
        dropped += 5 not in majority_cluster(similarities([*texts[:5], stranger]))
        whole += len(majority_cluster(similarities(texts))) == 6
    assert dropped / 200 > 0.97
    assert whole / 200 > 0.75
