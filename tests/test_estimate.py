"""What agents, runnables, nested specs and passages take; tests/cli/test_check.py has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.estimate import Estimate, estimate
from moa_graph.spec.loading import load_spec
from moa_graph.spec.schema import MoASpec

PRICE = {"input": 1.0, "output": 2.0}
SLOT = {"model": "openai:m", "max_tokens": 100, "price": PRICE}
INNER: dict[str, Any] = {
    "moa": 1,
    "name": "inner",
    "models": {"a": {**SLOT, "max_tokens": 30}, "free": {"model": "embedded:extractive"}},
    "layers": [{"proposers": ["free", {"model": "free", "id": "other"}]}],
    "aggregator": {"model": "a", "fallbacks": ["a2"]},
}
INNER["models"]["a2"] = {**SLOT, "max_tokens": 50}


def spec(*proposers: Any, slot: dict[str, Any] | None = None, **parts: Any) -> MoASpec:
    return load_spec(
        {
            "moa": 1,
            "name": "s",
            "models": {"a": slot or SLOT},
            "retrievers": {"docs": {"retriever": "host:d", "max_chars": 801}},
            "layers": [{"proposers": list(proposers)}] if proposers else [],
            "aggregator": {"model": "a"},
            **parts,
        }
    )


def bounds(of: MoASpec) -> Estimate:
    return estimate(of, lambda slot: of.models[slot].price)


def test_an_agent_makes_one_request_or_as_many_as_its_steps() -> None:
    found = bounds(spec({"model": "a", "tools": "t", "max_steps": 7}))
    assert (found.calls, found.max_calls) == (2, 7 * 3 + 3)
    assert (found.max_cost, found.unknown) == (None, "what tools give back has no bound")


def test_a_limit_bounds_what_an_agent_costs() -> None:
    limited = spec({"model": "a", "tools": "t"}, limits={"max_cost": 0.5})
    assert bounds(limited).max_cost == 0.5


def test_an_agent_of_a_free_model_costs_nothing() -> None:
    free = spec({"model": "a", "tools": "t"}, slot={**SLOT, "price": {"input": 0, "output": 0}})
    assert bounds(free).max_cost == 0


def test_a_runnable_is_one_call_of_unknown_cost() -> None:
    found = bounds(spec({"runnable": "r", "attempts": 2}))
    assert (found.calls, found.max_calls) == (2, 2 + 3)
    assert found.unknown == "runnable r has no price; a model without max_tokens has no bound"
    found = bounds(spec({"runnable": "r", "price": PRICE}))
    assert found.unknown.startswith("runnable r may write any length")


def test_a_runnable_of_no_price_says_so_where_no_length_matters() -> None:
    free = {**SLOT, "price": {"input": 0, "output": 0}}
    assert bounds(spec({"runnable": "r", "price": {"input": 0, "output": 0}}, slot=free)).max_cost == 0


def test_a_nested_spec_adds_its_own_calls_and_cost() -> None:
    found = bounds(spec({"spec": INNER, "attempts": 2}))
    assert (found.calls, found.max_calls) == (3 + 1, (2 * 3 + 3 + 3) * 2 + 3)
    inside = (1000 + 2 * 2048 + 150) * 1.0 + 30 * 2.0
    outside = (1000 + 50 + 150) * 1.0 + 100 * 2.0
    assert found.max_cost == pytest.approx((inside + outside) / 1e6)


def test_what_is_unknown_inside_is_unknown_outside() -> None:
    unpriced = {**INNER, "models": {**INNER["models"], "a": {"model": "openai:m"}}}
    assert bounds(spec({"spec": unpriced})).unknown == "inner: models.a has no price"


def test_a_nested_spec_of_any_length_after_it_has_no_bound() -> None:
    endless = {
        **INNER,
        "models": {**INNER["models"], "a2": {"model": "embedded:extractive", "max_tokens": None}},
    }
    assert bounds(spec({"spec": endless})).unknown == "a model without max_tokens has no bound"
    after = [
        {"proposers": [{"runnable": "r", "price": {"input": 0, "output": 0}}]},
        {"proposers": [{"spec": INNER}]},
    ]
    assert bounds(spec(layers=after)).unknown == "a model without max_tokens has no bound"


def test_passages_make_prompts_longer_and_cost_nothing_else() -> None:
    plain = bounds(spec("a")).max_cost
    shared = bounds(spec("a", retrieve="docs")).max_cost
    own = bounds(spec({"model": "a", "retrieve": "docs"})).max_cost
    assert plain is not None
    assert shared == pytest.approx(plain + 2 * 201 / 1e6)
    assert own == pytest.approx(plain + 201 / 1e6)
    assert bounds(spec("a", retrieve="docs")).calls == 2


# -- calls about proposals -----------------------------------------------------------------------------------

DRAFT: dict[str, Any] = {"name": "draft", "proposers": [{"model": "a", "samples": 4}]}
SUMMARIES = {"payload": "summary", "summarizer": "a"}


def chosen(keep: int, **select: Any) -> dict[str, Any]:
    return {**DRAFT, "select": {"by": "diversity", "keep": keep, **select}}


def test_nobody_chooses_among_one() -> None:
    pick = {"model": "a", "reduce": "pick"}
    assert bounds(spec("a", aggregator=pick)).calls == 1
    one = bounds(spec(layers=[chosen(1)], aggregator=pick))
    assert (one.calls, one.max_calls) == (4, 4 * 3 + 3)  # where the selection fails there are four
    assert bounds(spec(layers=[chosen(2)], aggregator=pick)).calls == 5


def test_what_a_selection_leaves_out_is_neither_summed_up_nor_folded() -> None:
    last = {"model": "a", "window": 2, "references": SUMMARIES}
    found = bounds(spec(layers=[chosen(2)], aggregator=last))
    assert (found.calls, found.max_calls) == (4 + 2 + 1, 3 * (4 + 4 + 2 + 1))


def test_a_summary_that_nobody_sees_is_none() -> None:
    own = {"name": "deep", "proposers": ["a"], "references": {"from": "own", **SUMMARIES}}
    first = {"name": "draft", "proposers": ["a", {"model": "a", "id": "other"}]}
    assert bounds(spec(layers=[first, own])).calls == 2 + 1 + 1 + 1


def test_layers_beyond_max_layers_are_not_counted() -> None:
    layers = [DRAFT, {"name": "deep", "proposers": ["a"]}, {"name": "end", "proposers": ["a"]}]
    stop = {"by": "judge", "model": "a", "max_layers": 2}
    assert bounds(spec(layers=layers, stop=stop)).calls == 4 + 1 + 1 + 1


def dearer(one: MoASpec, other: MoASpec) -> float:
    """Return by how many dollars per million input tokens one costs more than the other."""
    more, less = bounds(one).max_cost, bounds(other).max_cost
    assert more is not None
    assert less is not None
    return (more - less) * 1e6


def test_a_fallback_may_be_asked_in_every_window() -> None:
    slots, window = {"a": SLOT, "b": SLOT}, {"model": "a", "window": 2}
    alone = bounds(spec(layers=[DRAFT], models=slots, aggregator=window))
    helped = bounds(spec(layers=[DRAFT], models=slots, aggregator={**window, "fallbacks": ["b"]}))
    assert helped.calls == alone.calls == 4 + 3
    assert helped.max_calls == alone.max_calls + 3 * 3


def test_every_window_is_shown_what_the_last_layer_changed() -> None:
    deep = {**DRAFT, "name": "deep"}
    fold = {"model": "a", "window": 2}
    with_it = spec(layers=[DRAFT, {**deep, "residual": {"model": "a"}}], aggregator=fold)
    asked = 1000 + 8 * 100 + 150 + 60 + 8 * 25 + 2 * 100  # the call that writes it
    assert dearer(with_it, spec(layers=[DRAFT, deep], aggregator=fold)) == pytest.approx(asked + 3 * 100)


def test_a_long_instruction_and_the_delimiters_of_the_users_message_count() -> None:
    plain = spec(layers=[DRAFT])
    longer = spec(layers=[DRAFT], aggregator={"model": "a", "references": {"instruction": "x" * 4000}})
    assert dearer(longer, plain) == pytest.approx(1000 - 150)
    framed = spec(layers=[DRAFT], aggregator={"model": "a", "references": {"placement": "user"}})
    assert dearer(framed, plain) == pytest.approx(60 + 4 * 25)
