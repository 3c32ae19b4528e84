from __future__ import annotations

from collections.abc import Mapping

import pytest

from moa_graph.models.ranking import RANKERS, RankerName, choose
from moa_graph.models.sentences import terms

SENTENCES = [
    "Layers run proposers in parallel.",
    "A quorum is the number of proposals a layer needs.",
    "Bananas are yellow and sweet.",
    "The quorum of a layer defaults to one.",
]


def bag(text: str) -> Mapping[str, float]:
    return dict.fromkeys(terms(text), 1.0)


BAGS = [bag(sentence) for sentence in SENTENCES]
RANKER_NAMES: list[RankerName] = ["bm25", "tfidf", "textrank"]


@pytest.mark.parametrize("ranker", RANKER_NAMES)
def test_every_ranker_prefers_what_the_question_asks_for(ranker: RankerName) -> None:
    scores = RANKERS[ranker](BAGS, bag("What is the quorum of a layer?"))
    assert scores[2] == 0
    assert scores.index(max(scores)) in {1, 3}
    assert min(scores[1], scores[3]) > scores[0] > 0


@pytest.mark.parametrize("ranker", RANKER_NAMES)
def test_no_ranker_scores_what_shares_no_term_with_the_question(ranker: RankerName) -> None:
    assert RANKERS[ranker](BAGS, bag("Who discovered penicillin?")) == [0, 0, 0, 0]


@pytest.mark.parametrize("ranker", RANKER_NAMES)
def test_every_ranker_works_on_pairs_of_characters(ranker: RankerName) -> None:
    bags = [bag("蜂王每天产卵。"), bag("法国的首都是巴黎。"), bag("蜜蜂采集花蜜。")]
    first, best, last = RANKERS[ranker](bags, bag("法国的首都是哪里\uff1f"))
    assert best > first == last == 0


def test_rare_terms_count_more_than_common_ones() -> None:
    bags = [bag("layer quorum"), bag("layer grace"), bag("layer deadline")]
    common, *_ = RANKERS["bm25"](bags, bag("layer"))
    rare, *_ = RANKERS["bm25"](bags, bag("quorum"))
    assert rare > common


def test_textrank_looks_only_at_the_nearest_sentences_of_a_long_text() -> None:
    bags = [bag(f"quorum filler{number} other{number}") for number in range(300)] + [bag("quorum")]
    scores = RANKERS["textrank"](bags, bag("quorum"))
    assert sum(score > 0 for score in scores) == 200
    assert scores[-1] > 0


def test_without_diversity_the_best_scores_are_chosen() -> None:
    bags = [bag("alpha beta"), bag("alpha beta"), bag("gamma delta")]
    assert choose(bags, [3.0, 2.9, 2.0], count=2, diversity=0) == [0, 1]


def test_diversity_prefers_something_else_to_a_repetition() -> None:
    bags = [bag("alpha beta"), bag("alpha beta"), bag("gamma delta")]
    assert choose(bags, [3.0, 2.9, 2.0], count=2, diversity=0.5) == [0, 2]


def test_even_with_full_diversity_the_first_is_the_most_relevant() -> None:
    assert choose([bag("alpha"), bag("beta")], [1.0, 2.0], count=1, diversity=1) == [1]


def test_sentences_far_below_the_best_are_not_chosen() -> None:
    assert choose([bag("a1"), bag("b1"), bag("c1")], [10.0, 1.0, 0.0], count=3, diversity=0) == [0]


def test_ties_go_to_the_earlier_sentence_and_nothing_gives_nothing() -> None:
    assert choose([bag("a1"), bag("b1")], [1.0, 1.0], count=1, diversity=0.3) == [0]
    assert choose([], [], count=3, diversity=0.3) == []
