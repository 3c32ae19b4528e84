"""Text from outside is cleaned, and cannot bear a mark."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moa_graph.text import break_mark, clean, mend_mark

MARK = "abcdefghijklmnoa"  # its end is its beginning: occurrences may overlap
texts = st.lists(st.one_of(st.text(), st.sampled_from([MARK, MARK[:8], MARK[8:], MARK[1:], "\\"]))).map(
    "".join
)


@given(texts)
def test_a_broken_text_bears_no_mark_and_can_be_mended(text: str) -> None:
    broken = break_mark(text, MARK)
    assert MARK not in broken
    assert mend_mark(broken, MARK) == text


def test_overlapping_marks_are_broken_both() -> None:
    assert MARK not in break_mark(MARK + MARK[1:], MARK)


def test_a_text_without_the_mark_stays_as_it_is() -> None:
    assert break_mark(f"{MARK[:8]} {MARK[8:]}", MARK) == f"{MARK[:8]} {MARK[8:]}"


@given(st.text(st.characters()))
def test_a_cleaned_text_can_be_stored(text: str) -> None:
    cleaned, dirty = clean(text)
    assert "\x00" not in cleaned
    assert cleaned.encode().decode() == cleaned
    assert dirty == (cleaned != text)
