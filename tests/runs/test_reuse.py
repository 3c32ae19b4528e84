"""What of a turn stays valid under another spec, without any store."""

from __future__ import annotations

from typing import Any

from moa_graph.runs.reuse import reusable
from moa_graph.state import Proposal
from tests.runs.cast import TWO, Cast


def record(id_: str, status: Any = "ok") -> Proposal:
    layer, _, proposer = id_.partition("/")
    return {
        "id": id_,
        "layer": layer,
        "proposer": proposer,
        "status": status,
        "text": id_,
        "reasoning": "",
        "failure": None,
        "requested_model": "host:x",
        "actual_model": None,
        "attempts": 1,
        "usage": None,
        "cost": None,
        "seconds": 0.0,
        "first_token_seconds": None,
        "edited": False,
        "warnings": [],
        "references": [],
    }


def records(*ids: str, **statuses: str) -> dict[str, Proposal]:
    return {id_: record(id_, statuses.get(id_.partition("/")[2], "ok")) for id_ in ids}


ALL = ("draft/a", "draft/b", "refine/c", "refine/d")


def test_everything_is_valid_under_the_same_spec() -> None:
    spec = Cast(TWO).spec
    found = reusable(spec, spec, records(*ALL), {}, 3)
    assert (found.ended, list(found.proposals), found.kept, found.answered) == (2, list(ALL), {}, True)


def test_without_an_answer_all_layers_are_valid() -> None:
    spec = Cast(TWO).spec
    found = reusable(spec, spec, records(*ALL), {}, 2)
    assert (found.ended, found.answered) == (2, False)


def test_proposers_in_another_order_are_kept_but_their_layer_has_not_ended() -> None:
    """Whoever saw them saw them in another order: its proposals are not valid."""
    cast = Cast(TWO)
    turned = cast.changed(lambda spec: spec["layers"][0]["proposers"].reverse())
    found = reusable(cast.spec, turned, records(*ALL), {}, 3)
    assert (found.ended, set(found.kept), found.answered) == (0, {"draft/a", "draft/b"}, False)


def test_dropped_and_failed_proposals_are_not_kept_for_a_layer_that_goes_on() -> None:
    cast = Cast({"draft": "abc"})
    wider = cast.changed(lambda spec: spec["layers"][0]["proposers"].append({"model": "x"}))
    there = records("draft/a", "draft/b", "draft/c", b="dropped", c="failed")
    assert set(reusable(cast.spec, wider, there, {}, 1).kept) == {"draft/a"}


def test_a_layer_in_which_all_have_spoken_has_ended_if_they_are_enough() -> None:
    cast = Cast({"draft": "abc"})
    three = cast.changed(lambda spec: spec["layers"][0].update(quorum=3))
    spoken = records("draft/c", "draft/a", "draft/b", c="failed")
    assert reusable(three, three, {}, spoken, 0).ended == 0
    found = reusable(three, cast.spec, {}, spoken, 0)
    assert (found.ended, list(found.proposals)) == (1, ["draft/a", "draft/b", "draft/c"])
    del spoken["draft/b"]
    assert reusable(three, cast.spec, {}, spoken, 0).ended == 0


def test_no_layers_leave_the_answer_valid_unless_the_aggregator_changes() -> None:
    cast = Cast({})
    assert reusable(cast.spec, cast.spec, {}, {}, 1).answered
    assert not reusable(cast.spec, cast.spec, {}, {}, 0).answered
    other = cast.changed(lambda spec: spec["aggregator"].update(model="y"))
    assert not reusable(cast.spec, other, {}, {}, 1).answered
