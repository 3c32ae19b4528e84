"""What is written loads back, and equal specs have equal hashes."""

from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moa_graph.errors import SpecError
from moa_graph.spec import MoASpec, dump_spec, load_spec, parse_spec, spec_hash
from moa_graph.spec.loading import is_hash_of
from tests.spec.samples import VALID, valid_data

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(valid_data())
def test_a_dumped_spec_loads_back_equal(data):
    spec = load_spec(data)
    text = dump_spec(spec)
    again = parse_spec(text)
    assert again == spec
    assert spec_hash(again) == spec_hash(spec)
    assert dump_spec(again) == text


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_survives_the_round_trip(text):
    spec = load_spec(
        {
            "moa": 1,
            "name": "n",
            "description": text,
            "models": {"a": {"model": "x:y"}},
            "aggregator": {"model": "a"},
        }
    )
    assert parse_spec(dump_spec(spec)).description == text


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01",
        "12",
        "0o17",
        "0x1f",
        "1e3",
        "true",
        "null",
        "~",
        "",
        "yes",
        "1_000",
        "1:30",
        ".5",
        "- a",
        "a: b",
        "# no",
        "!tag",
        "&a",
        "*a",
        "<<",
        "=",
        "line\nline\n",
        "\n lead",
        "trail \n",
        "\u2028",
        "\x85",
        "'",
        '"',
        "{",
        "9" * 50,
    ],
)
def test_texts_that_look_like_something_else_stay_texts(text):
    spec = parse_spec(VALID).model_copy(update={"description": text})
    assert parse_spec(dump_spec(spec)) == spec


def test_defaults_are_left_out_and_short_forms_used():
    spec = parse_spec(VALID)
    assert dump_spec(spec) == (
        "moa: 1\nname: test\nmodels:\n  a:\n    model: openai:gpt-4o\n  b:\n    model: embedded:extractive\n"
        "layers:\n- proposers:\n  - a\n  - b\naggregator:\n  model: a\n"
    )


def test_the_hash_does_not_depend_on_how_a_spec_is_written():
    other = VALID.replace("proposers: [a, b]", "{name: layer-1, quorum: 1, proposers: [{model: a}, 'b']}")
    assert "layer-1" in other
    other = other.replace("  - {", "  - {")
    assert spec_hash(parse_spec(other)) == spec_hash(parse_spec(VALID))
    assert spec_hash(parse_spec(VALID)).startswith("sha256:")


def test_the_hash_changes_with_the_spec():
    changed = parse_spec(VALID.replace("gpt-4o", "gpt-4"))
    assert spec_hash(changed) != spec_hash(parse_spec(VALID))


def test_a_key_that_stands_there_with_its_default_leaves_the_hash_alone():
    spoken = VALID.replace("[a, b]", "[{model: a, tools: [], retrieve: []}, b]").replace(
        "{model: a}\n", "{model: a, citations: none}\n"
    )
    spec = parse_spec(spoken + "fan_out: user_turn\nretrievers: {}\nretrieve: []\n")
    assert spec == parse_spec(VALID)
    assert spec_hash(spec) == spec_hash(parse_spec(VALID))


FIRST_HASH = "sha256:884ef2bbbe7a36025cbcadeb0837ce3b1a71d0617b3463c0f3594a2a7668074c"
"""What the first release of the format computed for VALID: of all its keys, defaults as well."""


def test_a_hash_of_the_first_release_is_known_again():
    spec = parse_spec(VALID)
    assert is_hash_of(spec_hash(spec), spec)
    assert is_hash_of(FIRST_HASH, spec)
    other = [
        VALID.replace("gpt-4o", "gpt-4"),
        VALID + "fan_out: every_call\n",
        VALID.replace("[a, b]", "[a, {model: b, tools: t}]"),
        VALID.replace("[a, b]", "[a, {runnable: r}]"),
    ]
    assert not any(is_hash_of(FIRST_HASH, parse_spec(text)) for text in other)


def test_a_dict_is_not_changed_by_loading():
    data = {
        "moa": 1,
        "name": "n",
        "models": {"a": {"model": "x:y"}},
        "layers": [{"proposers": ["a"]}],
        "aggregator": {"model": "a"},
    }
    assert load_spec(data).layers[0].name == "layer-1"
    assert data["layers"] == [{"proposers": ["a"]}]


def test_tuples_of_a_host_program_are_lists():
    spec = load_spec(
        {
            "moa": 1,
            "name": "n",
            "models": {"a": {"model": "x:y"}},
            "layers": ({"proposers": ("a",)},),
            "aggregator": {"model": "a"},
        }
    )
    assert isinstance(spec, MoASpec)


def _with_params(value):
    return {
        "moa": 1,
        "name": "n",
        "models": {"a": {"model": "x:y", "params": {"p": value}}},
        "aggregator": {"model": "a"},
    }


_LOOP: dict = {}
_LOOP["again"] = _LOOP
_WIDE: dict = {str(number): number for number in range(20_000)}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (date(2024, 1, 1), "a date, which a spec cannot hold"),
        (float("nan"), "a number that is not finite"),
        (float("inf"), "a number that is not finite"),
        (2**63, "a whole number that is too large"),
        ("\ud800", "NUL or a lone surrogate in a text"),
        ("a\0b", "NUL or a lone surrogate in a text"),
        ({1: 2}, "a key that is not text"),
        (_LOOP, "nested deeper than 32 levels"),
        (_WIDE, "more than 10000 entries"),
    ],
)
def test_what_a_spec_cannot_hold_is_refused_in_a_dict(value, message):
    with pytest.raises(SpecError) as caught:
        load_spec(_with_params(value))
    assert message in [fault.message for fault in caught.value.faults]
    assert all(fault.line == 0 for fault in caught.value.faults)


def test_faults_of_a_dict_are_in_its_order():
    with pytest.raises(SpecError) as caught:
        load_spec({"aggregator": {"model": "b"}, "moa": 2, "models": {"a": {"model": "x"}}, "name": "n"})
    assert [fault.path for fault in caught.value.faults] == ["aggregator.model", "moa", "models.a.model"]
    assert str(caught.value.faults[0]).startswith("<spec>: aggregator.model: there is no slot")
