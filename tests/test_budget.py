from __future__ import annotations

import pytest

from moa_graph.budget import Budget, BudgetSpent
from moa_graph.spec.schema import LimitsSpec


def test_calls_beyond_max_calls_are_refused_before_they_are_made() -> None:
    budget = Budget(LimitsSpec(max_calls=2))
    budget.reserve(0.0)
    budget.reserve(0.0)
    with pytest.raises(BudgetSpent, match="max_calls = 2"):
        budget.reserve(0.0)
    assert budget.calls == 2


def test_reservations_of_parallel_requests_count_against_the_cost_limit() -> None:
    budget = Budget(LimitsSpec(max_cost=1.0))
    budget.reserve(0.6)
    with pytest.raises(BudgetSpent, match=r"max_cost = \$1"):
        budget.reserve(0.6)
    budget.settle(0.6, 0.1)
    budget.reserve(0.6)
    assert budget.committed == pytest.approx(0.7)


def test_what_an_earlier_process_paid_counts() -> None:
    paid = [{"attempts": 2, "cost": 0.25}, {"attempts": 1, "cost": None}]
    budget = Budget(LimitsSpec(max_calls=3), paid)
    assert budget.committed == 0.25
    with pytest.raises(BudgetSpent):
        budget.reserve(0.0)


def test_a_restored_call_can_be_booked_later() -> None:
    budget = Budget(LimitsSpec(max_calls=2))
    budget.book({"attempts": 2, "cost": 0.5})
    with pytest.raises(BudgetSpent):
        budget.reserve(0.0)


def test_deadline_is_counted_from_the_start() -> None:
    budget = Budget(LimitsSpec(deadline=100))
    assert not budget.expired
    assert budget.deadline - budget.started == 100
    assert 0 <= budget.seconds < 100
