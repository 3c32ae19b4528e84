"""How an answer is read is said in a spec, and what does not fit together is refused with its place."""

import re
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from moa_graph.spec.document import Document, from_data
from moa_graph.spec.extracting import Extract, ExtractSpec, check_extract, path_steps
from moa_graph.spec.parts import Part
from moa_graph.spec.patterns import pattern_problem


def faults_of(value):
    document: Document = from_data({"extract": value}, "s.yaml")
    check_extract(Part(document, (), document.data), ("extract",), value)
    return [(fault.path, fault.message) for fault in document.sorted_faults()]


def test_the_short_form_is_the_way_of_reading():
    adapter = TypeAdapter(Extract)
    assert adapter.validate_python("number") == ExtractSpec(by="number")
    assert adapter.validate_python({"by": "choice"}) == ExtractSpec(by="choice")
    with pytest.raises(ValidationError, match="by"):
        adapter.validate_python("numbers")


def test_the_equality_is_that_of_the_way_of_reading_unless_it_is_said():
    assert ExtractSpec(by="number").compares == "number"
    assert ExtractSpec(by="choice").compares == "exact"
    assert ExtractSpec(by="last-line").compares == "folded"
    assert ExtractSpec(by="json-path", path="a", equality="math").compares == "math"


@pytest.mark.parametrize(
    "value",
    [
        "number",
        "choice",
        "last-line",
        {"by": "regex", "pattern": "a"},
        {"by": "json-path", "path": "a", "equality": "math"},
        {"by": "choice", "choices": ["a", "b"]},
        {"by": "nothing"},
        {"by": 1},
        {},
        7,
    ],
)
def test_what_fits_together_or_is_a_fault_of_structure_is_not_spoken_of(value):
    assert faults_of(value) == []


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ("regex", "extract", "`regex` needs `pattern`"),
        ({"by": "regex"}, "extract.pattern", "`regex` needs `pattern`"),
        ({"by": "json-path"}, "extract.path", "`json-path` needs `path`"),
        ({"by": "number", "pattern": "a"}, "extract.pattern", "`pattern` goes with `regex` alone"),
        ({"by": "number", "path": "a"}, "extract.path", "`path` goes with `json-path` alone"),
        ({"by": "number", "choices": ["a", "b"]}, "extract.choices", "`choices` goes with `choice` alone"),
        (
            {"by": "choice", "equality": "math"},
            "extract.equality",
            "`equality` goes with `regex` and `json-path` and `last-line` alone",
        ),
    ],
)
def test_what_does_not_fit_together_is_a_fault_with_its_place(value, path, message):
    assert faults_of(value) == [(path, message)]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pattern", "(", "not a regular expression: missing )"),
        ("pattern", "(a+)+", "can take for ever"),
        ("path", "a..b", "not a path such as answer"),
        ("choices", ["a", "A"], "there twice"),
        ("choices", ["a", " "], "blank"),
        ("choices", ["a"], "1 of them: there are 2 to 100"),
        ("choices", [str(number) for number in range(101)], "101 of them"),
        ("pattern", "", "at least 1"),
        ("equality", "fuzzy", "'number', 'folded', 'exact' or 'math'"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(key, value, message):
    with pytest.raises(ValidationError, match=re.escape(message)) as caught:
        ExtractSpec.model_validate({"by": "number", key: value})
    assert caught.value.errors()[0]["loc"] == (key,)


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("answer", ("answer",)),
        ("$.answer", ("answer",)),
        ("$[0]", (0,)),
        ("$.result[0].value", ("result", 0, "value")),
        ("a.b-c[-1]", ("a", "b-c", -1)),
        ("$[\"final answer\"]['b']", ("final answer", "b")),
        ("réponse", ("réponse",)),
    ],
)
def test_a_path_is_a_series_of_names_and_indices(path, steps):
    assert path_steps(path) == steps


@pytest.mark.parametrize(
    "path", ["", "$", ".a", "$a", "a.", "a..b", "a b", "a[", "a[x]", "a[0]b", "a[*]", "$..a", "a" * 201]
)
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="not a path"):
        path_steps(path)


SOUND = [
    r"answer is\s*:?\s*\(?([A-D])\)?",
    r"\d{1,3}(?:,\d{3})*(?:\.\d+)?",
    r"(?i)final answer: (.*)",
    r"(?P<answer>yes|no)",
    r"(?:ab)+?c++",
    r"(?:a+)?b{1}",
    r"(?:a+){1}",
    r"[(*+]*x",
    r"[]+*)]+\)",
    r"(?<=a)b+(?!c+)",
    r"(?s:a.b)(?>c)",
    r"(a)(?(1)b|c)",
    r"{}+",
    r"[[a]",
]


@pytest.mark.parametrize("pattern", SOUND)
def test_a_pattern_that_is_searched_swiftly_is_taken(pattern):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        re.compile(pattern)
    assert pattern_problem(pattern) == ""


EXPLOSIVE = [
    r"(a+)+",
    r"(a*)*",
    r"(a|aa)+",
    r"(a?){3,}",
    r"(?:(?:a+))+",
    r"((a+)b)*",
    r"(a+){10}",
    r"(a*)(?:\1)*",
    r"(?P<x>a*)(?:(?P=x))*",
    r"(?i)(?:a{1,3})*",
    r"(?=(a+))(?:(?:b+)c)+",
    r"(?:a{,3})+",
]


@pytest.mark.parametrize("pattern", EXPLOSIVE)
def test_a_pattern_that_can_explode_is_refused(pattern):
    assert "for ever" in pattern_problem(pattern)


def test_a_pattern_that_is_long_or_has_many_repetitions_or_comments_is_refused():
    assert "longer than 300" in pattern_problem("a" * 301)
    assert "more than 8 repetitions" in pattern_problem("a*b*" * 5)
    assert pattern_problem("a*b?" * 5) == ""
    assert "more than 4,000 ways" in pattern_problem("(a|a)" * 26 + "b")
    assert "more than 4,000 ways" in pattern_problem("a?" * 28 + "a" * 28)
    assert "more than 4,000 ways" in pattern_problem("a{0,9}" * 4)
    assert "verbose" in pattern_problem("(?x)( a+ ) +")
    assert "verbose" in pattern_problem("(?#()")
    assert "not a regular expression" in pattern_problem("a{99999999999}")


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


@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join))
def test_no_pattern_that_is_taken_explodes(pattern):
    if pattern_problem(pattern) == "":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = re.compile(pattern)
        begun = time.process_time()
        compiled.search("a" * 28 + "c")
        assert time.process_time() - begun < 1
