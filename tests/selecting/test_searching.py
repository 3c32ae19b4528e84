"""A search with a pattern ends soon, whatever the text, and looks at as much of its end as that allows."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa_graph.selecting.answers import extract
from moa_graph.selecting.searching import last_match
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.spec.patterns import pattern_problem, shape_of

LONG = "I think about it for a while. " * 600
FOUND = {
    (r"(?i)answer is\s*:?\s*(.+)", LONG + "The ANSWER is: 42"): "ANSWER is: 42",
    (r"\\boxed\{([^{}]*)\}", "\\boxed{1}" + LONG[:9_000] + "\\boxed{42}" + LONG[:900]): "\\boxed{42}",
    (r"\d{1,3}(?:,\d{3})*(?:\.\d+)?", "costs 1,234.5 then " * 600): "1,234.5",
    (r"(\d+)[ ,]*(\d*)[ ,]*(\d*)\s*apples", LONG + "17 apples and more"): "17 apples",
    (r"(?s)Answer:(.*)END", LONG + "Answer: 4\n2 END"): "Answer: 4\n2 END",
    (r"(.*) and (.*) or (.*) is (.*)!", "a and b or c is d!"): "a and b or c is d!",
    (r"yes|no", "yes, or no, or yes and so on"): "yes",
    (r"\x41(\w)\1", "xAbb"): "Abb",
    (r"(?:\b)*no", "a no"): "no",
}


@pytest.mark.parametrize(("pattern", "text"), FOUND)
def test_a_usual_pattern_is_found_in_a_long_text(pattern, text):
    assert pattern_problem(pattern) == ""
    match = last_match(text, pattern)
    assert match is not None
    assert match[0] == FOUND[pattern, text]


HOSTILE = [
    (r"(\w+\s?\w+)\s*$", "deadbeef" * 1_250 + "!"),
    (r"(.*) and (.*) or (.*) is (.*)!", "a and b or c is d " * 600),
    (r"(\d+)[ ,]*(\d*)[ ,]*(\d*)\s*apples", "0123456789" * 1_000),
    (r"(?s)Answer.*?=.*?(\d+).*?END", "Answer = 1 " * 900),
    (r"answer\s*\w*\s*\w*\s*\w*\s*:", "answer" + "ab" * 5_000),
    (r"a?" * 11 + "a" * 11 + "b", "ac" * 5_000 + "a" * 190),
    (r"(.+)\1!", "ab" * 5_000),
    (r"\x61*\x61*\x61*b", "a" * 199 + "ca" * 4_000),
    (r"\s+$", "x" + (" " * 190 + "x") * 50),
    (r"(?i)answer is\s*:?\s*(.+)!", "answer is " * 1_000),
]


@pytest.mark.parametrize(("pattern", "text"), HOSTILE)
def test_a_hostile_text_holds_nobody_up(pattern, text):
    assert pattern_problem(pattern) == ""
    begun = time.process_time()
    extract(text, ExtractSpec(by="regex", pattern=pattern))
    assert time.process_time() - begun < 1


def test_where_even_the_end_takes_too_long_the_text_abstains():
    assert last_match("a and b or c is d " * 600 + "!", r"(.*)(.*)(.*)(.*)(.*)(.*)!") is None
    assert last_match("!", r"(.*)(.*)(.*)(.*)(.*)(.*)!") is not None


def test_the_beginnings_of_a_search_are_counted_by_what_every_match_begins_with():
    assert shape_of(r"answer is\s*(.+)").head == r"answer is\s"[:-2]
    assert shape_of(r"(?i)[Aa]nswer+").head == "[Aa]nswer"
    assert shape_of(r"answer|result").head == ""
    assert shape_of(r"(a|b|c)d?{1}e{0,3}").ways == 3 * 2 * 4


PIECES = [
    "a",
    "b",
    ".",
    "(",
    "(?:",
    ")",
    "|",
    "*",
    "+",
    "?",
    "{2}",
    "{1,3}",
    "{2,}",
    "[ab]",
    "\\1",
    "\\w",
    "^",
    "$",
]
PIECES += ["\\x61", "(?=", "(?i:", "\\b", "{", "\\0", "(?<=a)", "*?", "++"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(alphabet="abc \n", max_size=60))
def test_every_pattern_that_is_taken_is_searched_without_a_fault(pattern, text):
    if pattern_problem(pattern) == "":
        begun = time.process_time()
        last_match(text + "a" * 300 + "c", pattern)
        assert time.process_time() - begun < 1
