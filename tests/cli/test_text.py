from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa_graph.cli.text import PlainStream, dollars, one_line, plain, reason, seconds, tokens

HARMFUL = [
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b]0;a title\x07text", "text"),
    ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x1bPdevice\x1b\\text", "text"),
    ("\x9b31mred", "red"),
    ("\x9d0;title\x9ctext", "text"),
    ("\x1b(Btext\x1bc", "text"),
    ("bell\a, back\b, delete\x7f, next line\x85", "bell, back, delete, next line"),
    ("over\rwritten\r\nline", "overwritten\nline"),
    ("tab\tand\nnewline", "tab\tand\nnewline"),
    ("\x1b]0;no end", "0;no end"),
    ("\x1b[31", "31"),
    ("end\x1b", "end"),
    ("a\u202egpj.exe\u202c \u2066b\u2069", "agpj.exe b"),
]


@pytest.mark.parametrize(("text", "shown"), HARMFUL)
def test_terminal_escapes_are_stripped(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text(alphabet=st.one_of(st.sampled_from("\x1b[]0;m\x07\x9b\x9d\\PX \r\nab"), st.characters())))
def test_no_control_character_is_left(text: str) -> None:
    controls = [sign for sign in plain(text) if unicodedata.category(sign) == "Cc"]
    assert set(controls) <= {"\n", "\t"}


@pytest.mark.parametrize(("text", "shown"), HARMFUL)
def test_an_escape_that_is_cut_in_two_is_stripped_all_the_same(text: str, shown: str) -> None:
    for cut in range(len(text) + 1):
        stream = PlainStream()
        assert stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.flush() == shown


def test_an_escape_without_end_does_not_hold_the_answer_back_for_ever() -> None:
    stream = PlainStream()
    assert stream.feed("\x1b]0;" + "a" * 100) == ""
    assert "a" * 5000 in stream.feed("a" * 5000)


def test_hostile_text_is_stripped_in_linear_time() -> None:
    assert plain("\x1b]" * 200_000 + "\x9d" * 200_000) == ""


def test_one_line_folds_and_clips() -> None:
    assert one_line("a\n  b\x1b[1m c") == "a b c"
    assert one_line("a" * 30, 10) == "a" * 9 + "…"


def test_reason_names_kind_and_message() -> None:
    assert reason({"kind": "timeout", "message": "", "retryable": True, "status_code": None}) == "timeout"
    assert (
        reason({"kind": "error", "message": "a\nb", "retryable": False, "status_code": 500}) == "error: a b"
    )
    assert reason(None) == "unknown"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0042, "4 ms"), (0.3, "0.3 s"), (59.94, "59.9 s"), (59.97, "1 min 00 s"), (125.4, "2 min 05 s")],
)
def test_seconds(value: float, shown: str) -> None:
    assert seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "unknown"), (0.0, "$0"), (0.00001, "<$0.0001"), (0.01234, "$0.0123"), (1234.5, "$1,234.50")],
)
def test_dollars(value: float | None, shown: str) -> None:
    assert dollars(value) == shown


def test_tokens() -> None:
    assert tokens({"input_tokens": 1200, "output_tokens": 3, "source": "provider"}) == "1,200 → 3"
    assert tokens({"input_tokens": 1, "output_tokens": 2, "source": "estimated"}) == "~1 → 2"
    assert tokens(None) == "–"
