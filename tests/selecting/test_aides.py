"""Who is asked about proposals: under which name, by which words, and what of a reply will do."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.selecting.aides import comparer, judge, pair_ranker, ranker, summarizer
from moa_graph.spec.primitives import ReferencesSpec, ResidualSpec, SelectSpec, StopSpec

RANK = SelectSpec(by="rank", keep=2, model="r")
PAIR = SelectSpec(by="pairwise", keep=1, model="r")
STOP = StopSpec(by="judge", model="j")
DRAFT: Any = {"layer": "draft", "proposer": "a"}


def test_each_has_a_name_that_no_proposer_can_have_and_says_what_it_does() -> None:
    aides = [
        ranker("deep", RANK),
        pair_ranker("deep", PAIR, "a", "b"),
        judge("deep", STOP),
        comparer("deep", ResidualSpec(model="d")),
        summarizer("deep", ReferencesSpec(payload="summary", summarizer="s"), DRAFT),
    ]
    assert [(aide.layer, aide.id, aide.role, aide.slot) for aide in aides] == [
        ("deep", "@ranker", "ranker", "r"),
        ("deep", "@compare:a:b", "ranker", "r"),
        ("deep", "@judge", "judge", "j"),
        ("deep", "@residual", "comparer", "d"),
        ("deep", "@summary:draft:a", "summarizer", "s"),
    ]
    assert len({aide.instruction for aide in aides}) == 5
    assert all("Do not answer the latest user query yourself" in aide.instruction for aide in aides)


def test_the_words_of_the_spec_stand_in_the_place_of_our_own() -> None:
    own = {"instruction": "Which one?"}
    aides = [
        ranker("deep", RANK.model_copy(update=own)),
        pair_ranker("deep", PAIR.model_copy(update=own), "a", "b"),
        judge("deep", STOP.model_copy(update=own)),
        comparer("deep", ResidualSpec(model="d", instruction="Which one?")),
    ]
    assert [aide.instruction for aide in aides] == ["Which one?"] * 4


@pytest.mark.parametrize(
    ("aide", "reply", "will_do"),
    [
        (ranker("deep", RANK), "2 > 1", True),
        (ranker("deep", RANK), "2", False),
        (pair_ranker("deep", PAIR, "a", "b"), "2", True),
        (pair_ranker("deep", PAIR, "a", "b"), "0", True),
        (pair_ranker("deep", PAIR, "a", "b"), "3", False),
        (pair_ranker("deep", PAIR, "a", "b"), "Hm.", False),
        (judge("deep", STOP), "STOP", True),
        (judge("deep", STOP), "Yes.", False),
    ],
)
def test_a_reply_that_cannot_be_read_will_not_do(aide: Any, reply: str, *, will_do: bool) -> None:
    assert (aide.check(reply, 3 if aide.id != "@compare:a:b" else 2) is None) is will_do


def test_any_summary_and_any_note_of_what_changed_will_do() -> None:
    assert comparer("deep", ResidualSpec(model="d")).check is None
    assert summarizer("deep", ReferencesSpec(payload="summary", summarizer="s"), DRAFT).check is None
