from __future__ import annotations

import random
import sys

import pytest

from moa_graph.errors import MoAError, ModelNotReady
from moa_graph.evaluation.overlap import MEASURES, Measure, Overlap, overlap

TOPICS = ["bees", "towers", "rivers", "quorums", "trains", "violins", "glaciers", "markets"]
ANSWERS = [f"{topic} are known for what people say of {topic}, and {topic} stay." for topic in TOPICS]
COPIES = [f"What people say of {topic}: {topic} are known, and {topic} stay here." for topic in TOPICS]
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "mu", "nu"]


def by_proposer(found: list[Overlap]) -> dict[str, Overlap]:
    return {each.proposer: each for each in found}


@pytest.mark.parametrize("measure", MEASURES)
def test_what_the_answer_follows_stands_above_chance_and_the_unrelated_does_not(measure: Measure) -> None:
    generator = random.Random(3)
    noise = [" ".join(generator.choices(WORDS, k=9)) for _ in TOPICS]
    proposals = [{"near": copy, "noise": text} for copy, text in zip(COPIES, noise, strict=True)]
    found = by_proposer(overlap(ANSWERS, proposals, measures=[measure]))
    near, far = found["near"], found["noise"]
    assert (near.measure, near.items) == (measure, 8)
    assert near.percentile.value == 1.0
    assert near.own.value > near.other.value
    assert near.excess.low > 0
    assert near.excess.value == pytest.approx(near.own.value - near.other.value)
    assert far.excess.low <= 0 <= far.excess.high
    assert 0 <= far.own.value <= 1


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_said_to_every_question_stands_where_chance_does(measure: Measure) -> None:
    [found] = overlap(ANSWERS, [{"same": "As people say."}] * 8, measures=[measure])
    assert found.percentile.value == 0.5
    assert found.excess.value == pytest.approx(0)


@pytest.mark.parametrize("measure", MEASURES)
def test_an_answer_taken_over_whole_is_of_similarity_one(measure: Measure) -> None:
    [found] = overlap(ANSWERS, [{"a": answer} for answer in ANSWERS], measures=[measure])
    assert found.own.value == pytest.approx(1.0)


def test_levenshtein_counts_edits_of_characters() -> None:
    [found] = overlap(["abcd", "wxyz"], [{"a": "abxd"}, {"a": "wxyz"}], measures=["levenshtein"])
    assert found.own.value == pytest.approx((0.75 + 1) / 2)
    assert found.other.value == 0.0


def test_all_measures_are_given_for_each_proposer_in_order() -> None:
    found = overlap(ANSWERS[:2], [{"b": "x", "a": "y"}, {"a": "z", "b": "w"}])
    assert [(each.measure, each.proposer) for each in found] == [
        (measure, proposer) for measure in MEASURES for proposer in ("b", "a")
    ]


def test_who_failed_at_a_question_is_left_out_there() -> None:
    proposals = [{"a": copy} for copy in COPIES]
    proposals[3] = {}
    [found] = overlap(ANSWERS, proposals, measures=["tfidf"])
    assert found.items == 7


def test_the_same_seed_draws_the_same_other_questions() -> None:
    proposals = [{"a": copy} for copy in COPIES]
    one = overlap(ANSWERS, proposals, measures=["levenshtein"], others=2, seed=1)
    assert one == overlap(ANSWERS, proposals, measures=["levenshtein"], others=2, seed=1)
    assert one != overlap(ANSWERS, proposals, measures=["levenshtein"], others=2, seed=2)


def test_a_proposer_of_one_question_is_refused_since_chance_is_unknown() -> None:
    with pytest.raises(MoAError, match="'a' has proposals for 1 of the questions"):
        overlap(["x"], [{"a": "x"}])


def test_answers_and_proposals_must_go_together() -> None:
    with pytest.raises(MoAError, match="2 answers, but the proposals of 1"):
        overlap(["x", "y"], [{"a": "x"}])


@pytest.mark.parametrize(
    ("package", "measure"), [("sacrebleu.metrics.bleu", "bleu"), ("rapidfuzz.distance", "levenshtein")]
)
def test_without_the_extra_it_is_said_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, package: str, measure: Measure
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelNotReady, match=r"pip install 'moa-graph\[eval\]'"):
        overlap(ANSWERS, [{"a": copy} for copy in COPIES], measures=[measure])
