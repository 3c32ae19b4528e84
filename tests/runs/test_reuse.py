"""What of a turn stays valid under another spec, without any store."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.runs.reuse import reusable
from moa_graph.spec.loading import load_spec
from moa_graph.spec.schema import MoASpec
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


INNER: dict[str, Any] = {
    "moa": 1,
    "name": "inner",
    "models": {"x": {"model": "host:x"}},
    "aggregator": {"model": "x"},
}


def mixed(**changes: Any) -> MoASpec:
    """Return a spec of one layer with every kind of proposer; `changes` replace keys of its parts."""
    proposers: dict[str, dict[str, Any]] = {
        "agent": {"model": "x", "tools": ["t"], "max_steps": 4},
        "helper": {"runnable": "r"},
        "inner": {"spec": INNER},
        "reader": {"model": "x", "retrieve": "own"},
    }
    retrievers: dict[str, dict[str, Any]] = {"own": {"retriever": "host:o"}, "all": {"retriever": "host:a"}}
    return load_spec(
        {
            "moa": 1,
            "name": "mixed",
            "models": {"x": {"model": "host:x"}},
            "retrievers": {name: {**it, **changes.pop(name, {})} for name, it in retrievers.items()},
            "retrieve": changes.pop("retrieve", "all"),
            "layers": [
                {
                    "name": "draft",
                    "proposers": [
                        {"id": name, **it, **changes.pop(name, {})} for name, it in proposers.items()
                    ],
                }
            ],
            "aggregator": {"model": "x", **changes},
        }
    )


EVERYBODY = {"agent", "helper", "inner", "reader"}


@pytest.mark.parametrize(
    ("changes", "asked_anew"),
    [
        ({}, set()),
        ({"agent": {"tools": ["t", "u"]}}, {"agent"}),
        ({"agent": {"max_steps": 5}}, {"agent"}),
        ({"helper": {"runnable": "s"}}, {"helper"}),
        ({"helper": {"price": {"input": 1, "output": 1}}}, set()),
        ({"inner": {"spec": {**INNER, "models": {"x": {"model": "host:y"}}}}}, {"inner"}),
        ({"inner": {"spec": None, "model": "x"}}, {"inner"}),
        ({"reader": {"retrieve": ["own", "all"]}}, {"reader"}),
        ({"own": {"k": 9}}, {"reader"}),
        ({"own": {"timeout": 9, "on_error": "continue"}}, set()),
        ({"all": {"retriever": "host:b"}}, EVERYBODY),
        ({"retrieve": []}, EVERYBODY),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_whoever_is_asked_something_else_is_asked_anew(changes: dict[str, Any], asked_anew: set[str]) -> None:
    there = records(*(f"draft/{name}" for name in EVERYBODY))
    found = reusable(mixed(), mixed(**changes), there, {}, 2)
    if asked_anew:
        assert (found.ended, found.answered) == (0, False)
        assert set(found.kept) == {f"draft/{name}" for name in EVERYBODY - asked_anew}
    else:
        assert (found.ended, found.answered) == (1, True)


@pytest.mark.parametrize(
    "changes", [{"retrieve": ["all"]}, {"citations": "checked"}, {"system": "Be brief."}]
)
def test_an_aggregator_that_is_asked_something_else_answers_anew(changes: dict[str, Any]) -> None:
    changed = mixed().model_dump(mode="json", by_alias=True, exclude_defaults=True)
    changed["aggregator"] |= changes
    found = reusable(mixed(), load_spec(changed), records(*(f"draft/{n}" for n in EVERYBODY)), {}, 2)
    assert (found.ended, found.answered) == (1, False)
