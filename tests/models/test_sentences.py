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


def test_underlined_headings_quotes_and_rules_are_understood() -> None:
    document = "Title\n=====\nText of it.\n\n***\n\n> quoted words\n> go on.\n\n---"
    assert split_sentences(document) == [
        Sentence("Text of it.", "Title"),
        Sentence("quoted words go on.", "Title"),
    ]


@pytest.mark.parametrize(
    "table",
    [
        "| a | b |\n|---|:-:|\n| 1 | 2. Two |",
        "| a |\n| - |\n| 1 |",
        "> | a | b |\n> |---|---|\n> | 1 | 2 |",
        "a | b\n--- | ---\n1 | 2\n3 | 4",
        "a | b\n:-|-:",
    ],
)
def test_tables_are_left_out(table: str) -> None:
    assert texts(f"Before it\n{table}\nAfter it") == ["Before it", "After it"]


def test_a_pipe_does_not_make_a_table() -> None:
    assert texts("Run a | b to see.\n\n|x| is never negative.") == [
        "Run a | b to see.",
        "|x| is never negative.",
    ]


def test_a_sentence_without_an_end_is_cut_after_a_line_then_a_clause_then_a_word() -> None:
    lines = "\n".join(["some words, and more of them"] * 100)
    clauses = "one clause here, " * 200
    words = "word " * 500
    for text, end in [
        (lines, "of them"),
        (clauses, "here,"),
        (words, "word"),
        ("x" * 2500, "x"),
        ("蜂、" * 900, "、"),
    ]:
        pieces = texts(text)
        assert len(pieces) > 1
        assert all(500 < len(piece) <= 1000 for piece in pieces[:-1])
        assert all(piece.endswith(end) for piece in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split()), "nothing is lost"


def test_every_piece_of_a_question_asks() -> None:
    question = "Words " + "go on " * 400 + "and on?"
    found = split_sentences(f"A statement. {question} 天は青い\uff1f")
    assert [sentence.asks for sentence in found] == [False, True, True, True, True]


@given(st.text("ab ,\n|-.、蜂", max_size=60), st.integers(1, 120))
def test_pieces_of_any_text_are_short_and_verbatim(text: str, times: int) -> None:
    flat = " ".join((text * times).split())
    for sentence in split_sentences(text * times):
        assert 0 < len(sentence.text) <= 1000
        assert sentence.text == sentence.text.strip()
        assert sentence.text in flat


def test_a_rule_parts_sentences() -> None:
    assert texts("one\n***\ntwo\n- - -\n- three") == ["one", "two", "three"]


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


def test_terms_of_scripts_without_spaces_are_pairs_of_characters() -> None:
    assert terms("蜂王产卵") == ["蜂王", "王产", "产卵"]
    assert terms("猫 and GPT模型2024") == ["猫", "gpt", "模型", "2024"]
    assert terms("수도는 ネコ") == ["수도", "도는", "ネコ"]
    assert terms("ผึ้ง") == ["ผึ", "ึ้", "้ง"]


def test_pairs_that_only_ask_or_inflect_have_no_meaning() -> None:
    assert terms("什么\uff1f です。 니까") == []
