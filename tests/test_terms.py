"""What a run's caller says beside the conversation: limits are lowered, never raised."""

from __future__ import annotations

import math
from typing import Any

import pytest

from moa_graph.errors import BudgetExceeded, DeadlineExceeded, MoAError, QuorumNotMet
from moa_graph.spec.schema import LimitsSpec
from moa_graph.terms import TERMS, Terms, lowered
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model

OWN = LimitsSpec(deadline=60, max_cost=2.0, max_calls=10, max_concurrency=4, max_output_chars=1000)


def test_lower_limits_take_the_place_of_the_specs() -> None:
    lower = {"deadline": 1.5, "max_cost": 0.5, "max_calls": 3, "max_concurrency": 2.0, "max_output_chars": 9}
    found = lowered(OWN, lower)
    assert found == LimitsSpec(deadline=1.5, max_cost=0.5, max_calls=3, max_concurrency=2, max_output_chars=9)
    assert type(found.max_concurrency) is int


def test_higher_limits_change_nothing() -> None:
    higher = dict.fromkeys(LimitsSpec.model_fields, math.inf) | {"max_calls": 11, "deadline": 60.0}
    assert lowered(OWN, higher) == OWN
    assert lowered(OWN, {}) == lowered(OWN, None) == OWN


def test_a_limit_that_the_spec_does_not_have_can_be_set() -> None:
    found = lowered(LimitsSpec(), {"max_cost": 0.5, "max_calls": 3})
    assert (found.max_cost, found.max_calls) == (0.5, 3)
    assert lowered(LimitsSpec(), {"max_cost": math.inf}).max_cost is None


@pytest.mark.parametrize("name", LimitsSpec.model_fields)
@pytest.mark.parametrize("value", [0, -1, math.nan, -math.inf, True, "5", None])
def test_a_limit_is_a_number_above_zero(name: str, value: Any) -> None:
    with pytest.raises(MoAError, match=f"the limit {name} cannot be"):
        lowered(OWN, {name: value})


@pytest.mark.parametrize("name", ["max_calls", "max_concurrency", "max_output_chars"])
def test_what_is_counted_is_a_whole_number(name: str) -> None:
    with pytest.raises(MoAError, match=r"cannot be 2\.5") as refused:
        lowered(OWN, {name: 2.5})
    assert "whole number" in refused.value.hint


def test_a_limit_of_another_name_is_refused() -> None:
    with pytest.raises(MoAError, match="there is no limit 'max_tokens'") as refused:
        lowered(OWN, {"max_tokens": 1})
    assert "max_output_chars" in refused.value.hint


def ask(limits: dict[str, Any], **models: Model) -> dict[str, Any]:
    """Run two proposers and an aggregator within limits."""
    a, b, z = (models.get(name) or Model(f"{name} says so.") for name in "abz")
    graph = mixture({"draft": {"a": a, "b": b}}, {"z": z}, defaults={"attempts": 1}).compile()
    question: Any = {"messages": [("user", "Why?")]}
    found: dict[str, Any] = graph.invoke(question, {"configurable": {TERMS: Terms(limits=limits)}})
    return found


def test_a_run_sends_no_more_requests_than_its_terms_allow() -> None:
    last = Model("Never.")
    with pytest.raises(BudgetExceeded, match="max_calls = 2 requests are used up"):
        ask({"max_calls": 2}, z=last)
    assert last.calls == []


def test_a_run_ends_at_the_deadline_of_its_terms() -> None:
    with pytest.raises(DeadlineExceeded, match=r"the run's deadline of 1e-09 s passed"):
        ask({"deadline": 1e-9})


def test_an_output_is_cut_off_at_the_length_of_the_terms() -> None:
    with pytest.raises(QuorumNotMet, match=r"cut off at limits\.max_output_chars = 5"):
        ask({"max_output_chars": 5})


def test_limits_that_are_none_are_refused_before_anything_is_called() -> None:
    model = Model("Never.")
    with pytest.raises(MoAError, match="the limit max_cost cannot be 0"):
        ask({"max_cost": 0}, a=model)
    assert model.calls == []
