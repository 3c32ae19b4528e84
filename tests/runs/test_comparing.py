from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa_graph.runs import comparing
from moa_graph.runs.comparing import Piece, compare, word_diff
from moa_graph.runs.records import ThreadRecord
from moa_graph.runs.run import Run
from tests.fakes.specs import moa_spec

TEXTS = st.text(alphabet="ab .,\n\t漢。é_", max_size=60)
SPEC = moa_spec("http://localhost/v1", [["ok@a"]], "ok@z")


def first(pieces: list[Piece]) -> str:
    return "".join(text for kind, text in pieces if kind != "+")


def second(pieces: list[Piece]) -> str:
    return "".join(text for kind, text in pieces if kind != "-")


def proposal(id_: str, text: str = "text", status: str = "ok", model: str = "openai:a") -> Any:
    return {"id": id_, "status": status, "text": text, "requested_model": model}


def run(*proposals: Any, answer: str | None = "yes") -> Run:
    return Run("t", "turn", "answered", "Why?", answer=answer, proposals=list(proposals))


def compared(old: Run, new: Run) -> comparing.Comparison:
    record = ThreadRecord.new("t", SPEC)
    return compare((record, record), (old, new))


@given(TEXTS, TEXTS, st.sampled_from([0, 3, 300_000]))
def test_the_pieces_make_up_both_texts_whatever_they_are_cut_by(old: str, new: str, work: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "_MOST_WORK", work)
        pieces = word_diff(old, new)
    assert (first(pieces), second(pieces)) == (old, new)
    assert all(before[0] != after[0] for before, after in pairwise(pieces))


@given(TEXTS)
def test_equal_texts_are_one_piece(text: str) -> None:
    assert word_diff(text, text) == ([("=", text)] if text else [])


def test_words_that_changed_are_marked_and_the_comma_after_them_is_not() -> None:
    assert word_diff("A big, red dog.", "A small, red dog!") == [
        ("=", "A"),
        ("-", " big"),
        ("+", " small"),
        ("=", ", red dog"),
        ("-", "."),
        ("+", "!"),
    ]


def test_a_script_without_spaces_is_compared_sign_by_sign() -> None:
    assert word_diff("我是人", "我非人") == [("=", "我"), ("-", "是"), ("+", "非"), ("=", "人")]


def test_long_texts_are_compared_by_sentence_and_by_word_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "_MOST_WORK", 12)
    old = "a a a a x. One two three. a a a a a y.\n"
    new = "b a a a a. One two three. a a a a a a.\n"
    pieces = word_diff(old, new)
    assert ("=", "One two three. ") in pieces or any(
        "One two three." in text for k, text in pieces if k == "="
    )
    assert (first(pieces), second(pieces)) == (old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a " * 50_000, "b " + "a " * 49_000 + "c"),
        ("a b " * 25_000, "b a c " * 17_000),
        ("x\n" * 50_000, "\n y" * 30_000),
        ("." * 100_000, ". " * 50_000),
        (" " * 100_000, "\n" * 100_000),
        ("x" * 100_000, "y" * 100_000),
    ],
)
def test_texts_of_100_kb_take_a_moment(old: str, new: str) -> None:
    began = time.process_time()
    pieces = word_diff(old, new)
    assert time.process_time() - began < 5
    assert (first(pieces), second(pieces)) == (old, new)


def test_equal_threads_are_equal() -> None:
    found = compared(run(proposal("l/a")), run(proposal("l/a")))
    assert found.equal
    assert (found.same, found.changes) == (1, [])


def test_added_missing_and_changed_proposals_are_told_apart() -> None:
    old = run(proposal("l/a"), proposal("l/b"), proposal("l/c"), proposal("l/same"), proposal("l/m"))
    new = run(
        proposal("l/a", "other"),
        proposal("l/c", status="dropped"),
        proposal("l/new"),
        proposal("l/same"),
        proposal("l/m", model="openai:b"),
    )
    found = compared(old, new)
    assert not found.equal
    assert found.same == 1
    kinds = {change.id: (change.before is not None, change.after is not None) for change in found.changes}
    assert kinds == {
        "l/a": (True, True),
        "l/b": (True, False),
        "l/c": (True, True),
        "l/m": (True, True),
        "l/new": (False, True),
    }


def test_what_failed_calls_wrote_makes_no_difference() -> None:
    old, new = proposal("l/a", "half", "failed"), proposal("l/a", "hal", "failed")
    assert compared(run(old), run(new)).equal


def test_another_answer_question_or_spec_is_a_difference() -> None:
    assert not compared(run(), run(answer="no")).equal
    assert not compared(run(), replace(run(), question="How?")).equal
    other = moa_spec("http://localhost/v1", [["ok@b"]], "ok@z")
    records = ThreadRecord.new("one", SPEC), ThreadRecord.new("two", other)
    found = compare(records, (run(), run()))
    assert not found.equal
    assert found.spec.startswith("--- thread one\n+++ thread two\n")
    assert "openai:ok@b" in found.spec
