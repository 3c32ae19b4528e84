"""How the replies of those who are asked about proposals are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa_graph.selecting.asking import (
    read_choice,
    read_comparison,
    read_enough,
    read_ranking,
    read_residual,
)

REPLIES = st.text(max_size=200) | st.lists(
    st.sampled_from(
        [
            "1",
            "2",
            "3",
            "10",
            " > ",
            ">",
            "≻",
            "=",
            "[",
            "]",
            "\n",
            "STOP",
            "CONTINUE",
            "Response ",
            "9" * 5000,
            "٣",
            "²",
        ]
    ),
    max_size=20,
).map("".join)


@pytest.mark.parametrize(
    ("reply", "order"),
    [
        ("2 > 1 > 3", [1, 0, 2]),
        ("2>3>1", [1, 2, 0]),
        ("[2] > [1] > [3]", [1, 0, 2]),
        ("**2 ≻ 1 ≻ 3**", [1, 0, 2]),
        ("Response 2 > Response 1 > Response 3", [1, 0, 2]),
        ("Of the 3 responses, I rank: 2 > 1 > 3 (number 1 errs)", [1, 0, 2]),
        ("2 = 1 > 3", [1, 0, 2]),
        ("1 > 2 > 3\nNo:\n3 > 2 > 1\n\nThat is all.", [2, 1, 0]),
        ("3", [2, 0, 1]),
        ("3 > 1", [2, 0, 1]),
        ("My answer: 3.", [2, 0, 1]),
        ("2 > 1 > 3\nThis took me 1 minute.", [1, 0, 2]),
        ("2 > 1 > 3\n> 1 minute", [1, 0, 2]),
    ],
)
def test_a_ranking_is_read_from_the_last_line_with_a_number(reply: str, order: list[int]) -> None:
    assert read_ranking(reply, 3) == order


@pytest.mark.parametrize(
    "reply",
    ["", "None of them.", "4 > 1 > 2", "0 > 1", "1 > 1", "2, 1, 3", "2 of 3", "1 > 2 3 > 1", "9" * 5000],
)
def test_what_is_no_clear_ranking_is_none(reply: str) -> None:
    assert read_ranking(reply, 3) is None


def test_a_number_of_two_digits_is_not_better_because_it_is_longer() -> None:
    assert read_ranking("Response 2 > Response 10", 10)[:2] == [1, 9]


def test_a_ranking_of_fewer_than_are_wanted_is_none() -> None:
    assert read_ranking("2 > 1", 3, least=3) is None
    assert read_ranking("2 > 1", 2, least=3) == [1, 0]


@given(REPLIES, st.integers(0, 12), st.integers(1, 12))
def test_any_reply_gives_a_permutation_or_none(reply: str, count: int, least: int) -> None:
    order = read_ranking(reply, count, least)
    assert order is None or sorted(order) == list(range(count))


@given(st.permutations(range(8)), st.integers(1, 8))
def test_a_ranking_that_is_written_as_asked_is_read_as_it_is(order: list[int], least: int) -> None:
    reply = "Reasons: 1 is long.\n" + " > ".join(str(index + 1) for index in order)
    assert read_ranking(reply, 8, least) == order


@pytest.mark.parametrize(
    ("reply", "index"),
    [("2", 1), ("Response 2.", 1), ("1 errs.\n**3**\n", 2), ("It is 2, yes, 2.", 1)],
)
def test_a_choice_is_the_number_of_the_last_line_that_has_one(reply: str, index: int) -> None:
    assert read_choice(reply, 3) == index


@pytest.mark.parametrize("reply", ["", "the second", "4", "0", "2 or 3", "-", "9" * 5000])
def test_what_is_no_clear_choice_is_none(reply: str) -> None:
    assert read_choice(reply, 3) is None


@given(REPLIES, st.integers(0, 12))
def test_a_choice_is_never_out_of_range(reply: str, count: int) -> None:
    assert read_choice(reply, count) in {None, *range(count)}


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("1", 1), ("So:\n2", 2), ("0", 0), ("1 or 2", None), ("3", None), ("", None), ("[1]", 1)],
)
def test_a_comparison_says_one_two_or_neither(reply: str, verdict: int | None) -> None:
    assert read_comparison(reply) == verdict


@given(REPLIES)
def test_a_comparison_never_says_anything_else(reply: str) -> None:
    assert read_comparison(reply) in {None, 0, 1, 2}


@pytest.mark.parametrize(
    ("reply", "enough"),
    [
        ("STOP", True),
        ("CONTINUE", False),
        ("Do not STOP yet.\nCONTINUE", False),
        ("**STOP**.\nThank you.", True),
        ("STOP or CONTINUE", None),
        ("stop", True),
        ("**Continue**", False),
        ("Verdict: STOP", True),
        ("My final verdict is: **stop**.", True),
        ("I would not STOP yet.", None),
        ("It would be wrong to say:\nSTOP now", None),
        ("UNSTOPPABLE", None),
        ("", None),
    ],
)
def test_a_judge_says_stop_or_continue(reply: str, enough: bool | None) -> None:
    assert read_enough(reply) is enough


@given(REPLIES)
def test_any_reply_of_a_judge_is_read_without_an_error(reply: str) -> None:
    assert read_enough(reply) in {True, False, None}


@pytest.mark.parametrize(
    "reply",
    [
        "NONE",
        " none.\n",
        "**None**",
        "",
        "  ",
        "NONE - nothing of weight changed.",
        "**NONE**\n\nAll say 12.",
    ],
)
def test_nothing_of_weight_is_nothing(reply: str) -> None:
    assert read_residual(reply) == ""


def test_what_changed_is_what_was_written_down() -> None:
    assert read_residual(" None of them kept the date.\n") == "None of them kept the date."
    assert read_residual("NONE of them kept the date.") == "NONE of them kept the date."
