"""Rows that texts share are the longest ones, and the first of these."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moa_graph.evaluation.longest import TokenRows

texts = st.lists(st.sampled_from("abc"), max_size=12)


def tried_one_by_one(text: list[str], other: list[str]) -> tuple[int, int]:
    begin = longest = 0
    for start in range(len(other)):
        for end in range(start + longest + 1, len(other) + 1):
            if any(text[place:][: end - start] == other[start:end] for place in range(len(text))):
                begin, longest = start, end - start
    return begin, longest


@given(texts, texts)
def test_the_longest_row_is_found_in_every_text(text: list[str], other: list[str]) -> None:
    assert TokenRows(text).longest(other) == tried_one_by_one(text, other)


def test_the_first_of_equally_long_rows_counts() -> None:
    assert TokenRows(["x", "one", "two", "y", "three", "four"]).longest(["three", "four", "one", "two"]) == (
        0,
        2,
    )


def test_texts_without_a_token_in_common_share_nothing() -> None:
    assert TokenRows([]).longest(["a"]) == TokenRows(["a"]).longest([]) == (0, 0)
