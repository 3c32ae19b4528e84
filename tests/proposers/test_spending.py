"""What one call takes: booked before, settled after, and told to the runs around it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from moa_graph.budget import Budget, BudgetSpent
from moa_graph.proposers.spending import Spending
from moa_graph.spec.schema import LimitsSpec, PriceSpec

PROMPT = [HumanMessage("Why is it?")]  # 3 tokens, by estimate
PRICE = PriceSpec(input=1_000_000, output=1_000_000)  # a dollar a token


def of(price: PriceSpec | None = PRICE, **limits: Any) -> tuple[Spending, Budget]:
    budget = Budget(LimitsSpec(**limits))
    return Spending(budget, price, 10), budget


def reply(text: str = "Blue.", input_tokens: int = 4, output_tokens: int = 2, **options: Any) -> AIMessage:
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    return AIMessage(text, usage_metadata={**usage, "total_tokens": sum(usage.values())}, **options)


def test_a_reservation_becomes_what_the_request_cost() -> None:
    spending, budget = of()
    spending.begin(PROMPT)
    assert (budget.committed, budget.calls) == (13.0, 1)
    spending.finish(reply())
    assert (budget.committed, spending.cost, spending.attempts) == (6.0, 6.0, 1)


def test_requests_are_told_apart_by_their_keys() -> None:
    spending, budget = of()
    for key in "abc":
        spending.begin(PROMPT, key)
    spending.finish(reply(), "b")
    spending.refund("a", "unknown")
    spending.cut_short("Blue", "c", "unknown")
    assert budget.committed == 6.0 + 13.0  # whoever was cut off may be billed for all of it
    assert spending.usage == {"input_tokens": 7, "output_tokens": 3, "source": "estimated"}
    assert spending.cut


def test_nothing_under_way_is_nothing_cut() -> None:
    spending, _ = of()
    spending.cut_short("text")
    assert (spending.cut, spending.usage, spending.cost) == (False, None, None)


def test_a_booking_is_taken_by_the_first_request_that_follows() -> None:
    spending, budget = of(max_calls=2)
    spending.book()
    spending.begin(PROMPT, "a")
    assert (spending.attempts, budget.calls, budget.committed) == (1, 1, 13.0)
    spending.begin(PROMPT, "b")
    assert (spending.attempts, budget.calls) == (2, 2)
    with pytest.raises(BudgetSpent):
        spending.begin(PROMPT, "c")


def test_every_attempt_is_booked_anew() -> None:
    spending, budget = of(max_calls=2)
    spending.book()
    spending.book()
    assert (spending.attempts, budget.calls) == (2, 2)
    with pytest.raises(BudgetSpent):
        spending.book()
    assert spending.attempts == 2


def test_the_limit_of_cost_holds_for_a_booked_request() -> None:
    spending, _ = of(max_calls=1, max_cost=5)
    spending.book()
    with pytest.raises(BudgetSpent, match="max_cost"):
        spending.begin(PROMPT)


def test_a_report_without_usage_says_nothing() -> None:
    spending, budget = of()
    spending.book()
    spending.report(AIMessage("Blue."))
    assert (spending.usage, budget.committed) == (None, 0.0)
    spending.report(reply())
    assert (spending.usage, budget.committed) == (
        {"input_tokens": 4, "output_tokens": 2, "source": "provider"},
        6.0,
    )


def test_impossible_token_counts_are_estimated() -> None:
    spending, _ = of()
    spending.begin(PROMPT)
    spending.finish(reply("Blue light.", input_tokens=-1))
    assert spending.usage == {"input_tokens": 3, "output_tokens": 3, "source": "estimated"}


def test_a_nested_run_pays_through_every_level() -> None:
    outer, budget = of(None)
    middle = Spending(Budget(LimitsSpec(), account=outer), None, None)
    innermost = Spending(Budget(LimitsSpec(), account=middle), PRICE, 10)
    innermost.begin(PROMPT)
    assert (budget.calls, budget.committed) == (1, 13.0)
    innermost.finish(reply())
    assert (budget.calls, budget.committed, middle.attempts, outer.attempts) == (1, 6.0, 1, 1)
    assert outer.cost == middle.cost == innermost.cost == 6.0


def test_an_inner_request_that_the_outer_run_refuses_counts_nowhere() -> None:
    outer, budget = of(max_calls=0 + 1)
    outer.begin(PROMPT, "other")
    inner = Spending(Budget(LimitsSpec(), account=outer), PRICE, 10)
    with pytest.raises(BudgetSpent, match="max_calls = 1"):
        inner.begin(PROMPT)
    assert (inner.attempts, outer.attempts, budget.calls) == (0, 1, 1)


async def test_a_nested_request_holds_a_place_in_every_run_around_it() -> None:
    budget = Budget(LimitsSpec(max_concurrency=1))
    outer = Spending(budget, None, None, holds_place=False)
    inner = Budget(LimitsSpec(max_concurrency=3), account=outer)
    async with outer.hold(), inner.place():
        assert budget.concurrency.locked()
    assert not budget.concurrency.locked()


async def test_a_request_inside_an_attempt_that_holds_a_place_waits_for_no_other() -> None:
    outer, budget = of(max_concurrency=1)
    inner = Budget(LimitsSpec(max_concurrency=3), account=outer)
    async with outer.hold():
        assert budget.concurrency.locked()
        async with asyncio.timeout(5), inner.place():
            pass


def test_a_model_that_is_a_mixture_is_paid_for_by_what_it_sends() -> None:
    outer, budget = of(max_calls=2)
    outer.begin(PROMPT, "a")
    outer.adopt("a")
    assert (budget.committed, budget.calls, outer.attempts) == (0.0, 1, 1)
    inner = Spending(Budget(LimitsSpec(), account=outer), PRICE, 10)
    inner.begin(PROMPT, 1)
    inner.begin(PROMPT, 2)
    assert (budget.committed, budget.calls, outer.attempts) == (26.0, 2, 2)
    with pytest.raises(BudgetSpent, match="max_calls = 2"):
        inner.begin(PROMPT, 3)
    inner.finish(reply(), 1)
    inner.finish(reply(), 2)
    outer.finish(reply(input_tokens=8, output_tokens=4), "a")  # it sums up what is paid for
    outer.refund("a")
    outer.cut_short("text", "a")
    assert (outer.cost, budget.committed, outer.cut) == (12.0, 12.0, False)


def test_adopting_what_is_not_under_way_changes_nothing() -> None:
    spending, budget = of()
    spending.adopt("unknown")
    spending.begin(PROMPT)
    assert (spending.attempts, budget.calls) == (1, 1)


def test_a_run_inside_that_knows_no_price_costs_what_the_member_says() -> None:
    outer, budget = of()
    inner = Spending(Budget(LimitsSpec(), account=outer), None, None)
    inner.begin(PROMPT)
    inner.finish(reply())
    assert (outer.cost, budget.committed) == (6.0, 6.0)


def test_what_is_under_way_inside_is_cut_short_first_and_marks_the_outer_call() -> None:
    outer, _ = of()
    inner = Spending(Budget(LimitsSpec(), account=outer), PRICE, 10)
    inner.begin(PROMPT)
    with outer.counting(lambda: inner.cut_short("Blue")):
        outer.cut_short("")
    inner.finish(reply())  # too late
    assert (outer.cut, outer.usage) == (
        True,
        {"input_tokens": 3, "output_tokens": 1, "source": "estimated"},
    )


def test_a_call_that_has_ended_pays_for_nothing_more() -> None:
    spending, budget = of()
    spending.close()
    with pytest.raises(BudgetSpent, match="has ended"):
        Spending(Budget(LimitsSpec(), account=spending), PRICE, 10).begin(PROMPT)
    assert (budget.calls, spending.attempts) == (0, 0)


def test_an_answer_from_a_cache_costs_nothing() -> None:
    spending, budget = of()
    spending.begin(PROMPT)
    message = reply()
    message.usage_metadata["total_cost"] = 0  # LangChain's mark
    spending.finish(message)
    assert (spending.cost, budget.committed) == (0.0, 0.0)


def test_pictures_and_texts_in_a_prompt_are_reserved_for() -> None:
    spending, budget = of()
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    spending.begin([HumanMessage(["Why?", {"type": "text", "text": "Why?"}, picture])])
    assert budget.committed == 1 + 1 + 1000 + 10
