from __future__ import annotations

from typing import Any, cast

import pytest

from moa_graph.errors import MoAError
from moa_graph.evaluation.datasets import Item
from moa_graph.evaluation.reports import check_ready, summarize
from moa_graph.evaluation.scoring import Record, check_gold, error_of, is_correct, score
from moa_graph.evaluation.statistics import share_interval
from moa_graph.runs.run import Run
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.state import Proposal

NUMBER = ExtractSpec(by="number")
ASKED = ({"role": "user", "content": "1+1"},)


def proposal(id_: str, text: str, status: str = "ok") -> Proposal:
    return cast(
        "Proposal", {"id": id_, "requested_model": "host:m", "status": status, "text": text, "cost": None}
    )


def run(answer: str | None, *proposals: Proposal, **fields: Any) -> Run:
    status = "answered" if answer is not None else "failed"
    return Run(
        "t",
        "turn-1",
        cast("Any", status),
        answer=answer,
        answered_by="z",
        proposals=list(proposals),
        **fields,
    )


def record(correct: bool | None = True, gold: str = "2", **fields: Any) -> Record:
    made = score(Item("q", (ASKED,), (gold,)), [run("2", calls=2, cost=0.5)], NUMBER)
    return cast("Record", {**made, "correct": correct, **fields})


@pytest.mark.parametrize(
    ("extracted", "gold", "expected"),
    [
        ("1000", ["1,000"], True),
        ("2", ["3", "2.0"], True),
        ("2", ["3"], False),
        (None, ["3"], False),
        ("72", ["She has 48 + 24 = 72 clips.\n#### 72"], True),
        ("48", ["She has 48 + 24 = 72 clips.\n#### 72"], False),
        ("2", [], None),
    ],
)
def test_an_answer_is_right_if_it_equals_one_of_the_gold_answers(
    extracted: str | None, gold: list[str], expected: bool | None
) -> None:
    assert is_correct(extracted, gold, NUMBER) is expected


def test_without_an_extractor_nothing_is_judged() -> None:
    made = score(Item("q", (ASKED,), ("2",)), [run("2", proposal("d/a", "2"))], None)
    assert (made["extracted"], made["correct"], made["gold"]) == (None, None, ["2"])
    assert (made["proposals"][0]["extracted"], made["proposals"][0]["correct"]) == (None, None)


def test_a_failed_proposal_is_wrong_and_one_that_was_cut_is_not_judged() -> None:
    proposals = [
        proposal("d/a", "2"),
        proposal("d/b", "The answer is 2, bec", "failed"),
        proposal("d/c", "2", "cut"),
    ]
    made = score(Item("q", (ASKED,), ("2",)), [run("2", *proposals)], NUMBER)
    assert [(each["extracted"], each["correct"]) for each in made["proposals"]] == [
        ("2", True),
        (None, False),
        (None, None),
    ]


def test_the_turns_of_an_item_are_added_up() -> None:
    item = Item("q", (ASKED, ASKED))
    made = score(
        item, [run("a", calls=2, cost=0.5, seconds=1), run("b", calls=3, cost=0.25, seconds=2)], None
    )
    assert (made["turns"], made["answer"]) == (["a", "b"], "b")
    assert (made["calls"], made["cost"], made["seconds"]) == (5, 0.75, 3)
    assert score(item, [run("a", cost=0.5), run("b", cost=None)], None)["cost"] is None


def test_why_an_earlier_process_failed_is_read_from_its_thread() -> None:
    assert error_of(run(None, reason="QuorumNotMet: 1 of 2: no")) == {
        "type": "QuorumNotMet",
        "message": "1 of 2: no",
    }
    assert error_of(run(None, reason="gone")) == {"type": "RunError", "message": "gone"}


def test_gold_answers_that_nobody_can_give_are_refused_before_anything_is_asked() -> None:
    items = [Item("q1", (ASKED,), ("2",)), Item("q2", (ASKED,), ("two",))]
    with pytest.raises(MoAError, match="item 'q2': 'two' is no answer as `number` reads it"):
        check_gold(items, NUMBER)
    check_gold(items, None)
    check_gold(items[:1], NUMBER)
    placed = [Item(n, (ASKED,), ("two", "3", "x"), place=f"d.jsonl:{n}") for n in (1, 2)]
    with pytest.raises(MoAError) as caught:
        check_gold(placed, NUMBER)
    told = [line.partition(" is no")[0] for line in caught.value.message.splitlines()]
    assert told == [f"d.jsonl:{n}: item {n}: {gold!r}" for n in (1, 2) for gold in ("two", "x")]
    assert "--gold" in caught.value.hint


def test_a_way_of_reading_that_cannot_work_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(MoAError, match="pattern"):
        check_gold([], ExtractSpec(by="regex"))


def test_accuracy_counts_failures_as_wrong_and_is_also_given_without_them() -> None:
    failed = record(
        False, status="failed", answer=None, extracted=None, error={"type": "QuorumNotMet", "message": "no"}
    )
    records = [record(), record(), record(False, extracted=None), failed]
    found = summarize(records, items=6, cost=2.0, extracting=True)
    assert found["accuracy"] is not None
    assert found["accuracy"].value == 0.5
    assert found["accuracy"] == share_interval(2, 4)
    assert found["accuracy_of_answered"] is not None
    assert found["accuracy_of_answered"].value == pytest.approx(2 / 3)
    assert (found["judged"], found["judged_of_answered"], found["correct"], found["left"]) == (4, 3, 2, 2)
    assert found["unread"] == 1, "of the answers; what failed is no answer"
    assert found["failures"] == {"QuorumNotMet": 1}
    assert found["calls"] is not None
    assert found["calls"].value == 2
    assert found["item_cost"] is not None
    assert found["item_cost"].value == 0.5


def test_no_accuracy_is_certain_where_all_answers_are_alike() -> None:
    for correct in (True, False):
        found = summarize([record(correct)] * 10, items=10, cost=0.0, extracting=True)
        assert found["accuracy"] is not None
        assert found["accuracy"].high - found["accuracy"].low > 0.2


def test_each_proposer_is_judged_over_the_items_in_which_it_was_asked() -> None:
    def with_proposals(*proposals: Proposal) -> Record:
        return score(Item("q", (ASKED,), ("2",)), [run("2", *proposals)], NUMBER)

    records = [
        with_proposals(proposal("d/a", "2"), proposal("d/b", "none")),
        with_proposals(proposal("d/a", "", "failed"), proposal("d/b", "2", "cut")),
        with_proposals(proposal("d/a", "2")),
    ]
    first, second = summarize(records, items=3, cost=None, extracting=True)["proposers"]
    assert (first["id"], first["judged"], first["failed"], first["proposals"]) == ("d/a", 3, 1, 2)
    assert first["accuracy"] is not None
    assert first["accuracy"].value == pytest.approx(2 / 3)
    assert (second["judged"], second["unread"], second["proposals"]) == (1, 1, 1)
    assert second["accuracy"] is not None
    assert second["accuracy"].value == 0


def test_what_is_not_known_is_not_made_up() -> None:
    nothing = summarize([], items=3, cost=0.0, extracting=True)
    assert (nothing["accuracy"], nothing["calls"], nothing["item_cost"], nothing["left"]) == (
        None,
        None,
        None,
        3,
    )
    unknown = summarize([record(None), record(None, cost=None)], items=2, cost=None, extracting=False)
    assert (unknown["accuracy"], unknown["item_cost"], unknown["cost"]) == (None, None, None)
    assert unknown["unread"] == 0


def test_without_numpy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    with pytest.raises(MoAError, match=r"pip install 'moa-graph\[eval\]'"):
        check_ready()
