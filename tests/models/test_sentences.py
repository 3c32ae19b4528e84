from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa_graph.models.sentences import Sentence, paragraphs, split_sentences, terms


def texts(text: str) -> list[str]:
    return [sentence.text for sentence in split_sentences(text)]


def test_sentences_end_at_marks_and_soft_line_breaks_are_joined() -> None:
    assert texts("One is\nhere. Two follows! Is three? Yes.") == [
        "One is here.",
        "Two follows!",
        "Is three?",
        "Yes.",
    ]


@pytest.mark.parametrize(
    "whole",
    [
        "Dr. Smith met Mrs. Jones.",
        "It costs 3.50 dollars, i.e. nearly nothing.",
        "J. R. Smith wrote it.",
        "See Fig. 3 for details.",
        "Version 1.2.22 is pinned.",
        "Use e.g. Python.",
    ],
)
def test_abbreviations_initials_and_numbers_do_not_end_a_sentence(whole: str) -> None:
    assert texts(f"{whole} Next one.") == [whole, "Next one."]


def test_closing_quotes_stay_with_their_sentence() -> None:
    assert texts('He said "Stop." She left. (Really.) Then "go!"') == [
        'He said "Stop."',
        "She left.",
        "(Really.)",
        'Then "go!"',
    ]


def test_east_asian_marks_end_sentences_without_spaces() -> None:
    assert texts("天は青い。海は広い。") == ["天は青い。", "海は広い。"]


def test_headings_and_lead_in_lines_are_context_not_sentences() -> None:
    document = (
        "# Price #\n\nFive dollars.\n\nYou need:\n\n- a key\n- a spec\n  in YAML\n\n## Time\nTen minutes."
    )
    assert split_sentences(document) == [
        Sentence("Five dollars.", "Price"),
        Sentence("a key", "Price You need:"),
        Sentence("a spec in YAML", "Price You need:"),
        Sentence("Ten minutes.", "Time"),
    ]


def test_underlined_headings_quotes_rules_and_tables_are_understood() -> None:
    document = (
        "Title\n=====\nText of it.\n\n***\n\n> quoted words\n> go on.\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    assert split_sentences(document) == [
        Sentence("Text of it.", "Title"),
        Sentence("quoted words go on.", "Title"),
        Sentence("| a | b |", "Title"),
        Sentence("| 1 | 2 |", "Title"),
    ]


def test_numbered_lists_are_cut_into_items() -> None:
    assert texts("1. First thing. And more.\n2) Second thing") == [
        "First thing.",
        "And more.",
        "Second thing",
    ]


def test_code_and_comments_are_left_out() -> None:
    document = "Before.\n```python\nprint('A. B.')\n```\nAfter.\n<!-- Hidden. -->\n~~~\nopen to the end. Yes."
    assert texts(document) == ["Before.", "After."]


@given(st.text())
def test_every_sentence_is_a_verbatim_part_of_its_text(text: str) -> None:
    flat = " ".join(text.replace(">", " ").split())
    for sentence in split_sentences(text):
        assert sentence.text
        assert " ".join(sentence.text.replace(">", " ").split()) in flat


def test_paragraphs_are_separated_by_blank_lines() -> None:
    assert paragraphs("\n one\r\n\r\n  \n two\nthree \n\n") == ["one", "two\nthree"]
    assert paragraphs(" \n ") == []


def test_terms_agree_over_inflections() -> None:
    assert len(set(terms("propose proposes proposed proposing"))) == 1
    assert terms("stopped stopping stops") == ["stop", "stop", "stop"]
    assert terms("cities city") == ["city", "city"]
    assert terms("ties classes boxes Anna's quickly") == ["tie", "class", "box", "anna", "quick"]
    assert terms("calling called calls") == ["call", "call", "call"]


def test_terms_leave_out_words_without_meaning_and_keep_short_and_foreign_ones() -> None:
    assert terms("What is the AI of an Übungen bus?") == ["ai", "übungen", "bus"]
    assert terms("What's this?") == []
    assert terms("red thing string") == ["red", "thing", "string"]
