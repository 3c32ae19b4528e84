from __future__ import annotations

import pytest

from moa_graph.spec.schema import PriceSpec
from moa_graph.usage import Usage, add_usage, cost_of, estimate_tokens, total_cost

REPORTED: Usage = {"input_tokens": 1000, "output_tokens": 500, "source": "provider"}
GUESSED: Usage = {"input_tokens": 1, "output_tokens": 2, "source": "estimated"}


def test_price_is_per_million_tokens() -> None:
    assert cost_of(REPORTED, PriceSpec(input=2.0, output=4.0)) == pytest.approx(0.004)


def test_unknown_price_or_usage_gives_an_unknown_cost_and_never_zero() -> None:
    assert cost_of(REPORTED, None) is None
    assert cost_of(None, PriceSpec(input=1, output=1)) is None


def test_a_free_model_costs_nothing() -> None:
    assert cost_of(REPORTED, PriceSpec(input=0, output=0)) == 0.0


def test_a_sum_with_an_estimated_part_is_estimated() -> None:
    assert add_usage([REPORTED, None]) == REPORTED
    assert add_usage([REPORTED, GUESSED]) == {
        "input_tokens": 1001,
        "output_tokens": 502,
        "source": "estimated",
    }


def test_total_cost_is_unknown_as_soon_as_a_paid_call_has_no_price() -> None:
    assert total_cost([{"cost": 0.5, "usage": REPORTED}, {"cost": None, "usage": None}]) == 0.5
    assert total_cost([{"cost": 0.5, "usage": REPORTED}, {"cost": None, "usage": REPORTED}]) is None


def test_estimate_is_one_token_per_four_characters_rounded_up_and_one_per_other_character() -> None:
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]
    assert estimate_tokens("天空为什么是蓝的?") == 9
