"""Proposers are put into a spec's text, and every other character of it stays."""

from __future__ import annotations

import json

import pytest

from moa_graph.errors import MoAError, SpecError
from moa_graph.evaluation.layers import layer_text, slots_of, with_proposers
from moa_graph.spec.loading import parse_spec

SPEC = """\
# What this is for.
moa: 1
name:   spaced    # kept
models:
  x: {model: embedded:extractive}
  y: {model: "embedded:extractive"}
  z:
    model: embedded:extractive
  "1": {model: embedded:extractive}
layers:
  - name: draft
    proposers:
      - x   # the first
      # about y
      - {model: y, temperature: 1}  # warm
      - model: z
        system: |
          Doubt.
          # not a comment

          Always.
      # the end
    quorum: 1
  - proposers: [x, {model: y}]  # both

# tail
aggregator: {model: x}
"""
DRAFT = SPEC[SPEC.index("      - x   #") : SPEC.index("      # the end")]
Z = DRAFT[DRAFT.index("      - model: z") :]
Y = "      # about y\n      - {model: y, temperature: 1}  # warm\n"


@pytest.mark.parametrize(
    ("slots", "lines"),
    [
        (["z", "1"], Z + '      - "1"\n'),
        (["1", "y", "x"], '      - "1"\n' + Y + "      - x   # the first\n"),
        (["1"], '      - "1"\n'),
        (["x", "y", "z"], DRAFT),
    ],
)
def test_a_block_keeps_who_stays_with_settings_and_comments(slots: list[str], lines: str) -> None:
    change = with_proposers(SPEC, "draft", slots)
    assert change.text == SPEC.replace(DRAFT, lines)
    assert (change.layer, change.before, change.after) == ("draft", ["x", "y", "z"], slots)


def test_the_first_layer_is_meant_where_none_is_named() -> None:
    assert with_proposers(SPEC, None, ["z"]).layer == "draft"


def test_a_list_in_one_line_stays_one() -> None:
    change = with_proposers(SPEC, "layer-2", ["y", "z", "1"])
    assert change.text == SPEC.replace("[x, {model: y}]  # both", '[{model: y}, z, "1"]  # both')


def test_line_ends_and_a_byte_order_mark_stay() -> None:
    text = "\ufeff" + SPEC.replace("\n", "\r\n")
    assert with_proposers(text, "draft", ["1"]).text == "\ufeff" + SPEC.replace(
        DRAFT, '      - "1"\n'
    ).replace("\n", "\r\n")


def test_a_list_at_the_end_of_a_file_without_a_last_line_end_is_replaced() -> None:
    text = (
        "moa: 1\nname: n\nmodels: {x: {model: embedded:extractive}, y: {model: embedded:extractive}}\n"
        "aggregator: {model: x}\nlayers:\n- proposers:\n  - x"
    )
    assert with_proposers(text, None, ["y", "x"]).text == text[:-1] + "y\n  - x\n"


@pytest.mark.parametrize(
    "text",
    [
        SPEC.replace("\n", "\r"),
        # What it says would change: the lines after it are a part of the text.
        SPEC.replace("system: |\n", "system: |+\n").replace("Always.\n      # the end\n", "Always.\n\n\n"),
    ],
)
def test_a_list_that_would_not_keep_what_it_says_is_refused(text: str) -> None:
    with pytest.raises(
        MoAError, match="the proposers of draft stand there in a form that is not edited here"
    ):
        with_proposers(text, "draft", ["z", "x"])


def test_a_comment_above_the_first_proposer_may_be_about_all_and_stays() -> None:
    text = SPEC.replace("    proposers:\n", "    proposers:\n      # who proposes\n")
    assert (
        "    proposers:\n      # who proposes\n      # about y\n" in with_proposers(text, "draft", ["y"]).text
    )


def test_json_stays_json() -> None:
    slots = {name: {"model": "embedded:extractive"} for name in ("x", "y")}
    document = {
        "moa": 1,
        "name": "n",
        "models": slots,
        "layers": [{"proposers": ["x"]}],
        "aggregator": {"model": "x"},
    }
    change = with_proposers(json.dumps(document), None, ["y", "x"])
    assert json.loads(change.text)["layers"] == [{"proposers": ["y", "x"]}]


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(MoAError, match=r"there is no layer 'final'\nIt has: draft, layer-2"):
        with_proposers(SPEC, "final", ["x"])
    empty = SPEC[: SPEC.index("layers:")] + "layers: []\naggregator: {model: x}\n"
    with pytest.raises(MoAError, match="it has no layers"):
        with_proposers(empty, None, ["x"])


def test_what_would_be_no_spec_is_refused() -> None:
    with pytest.raises(SpecError, match="quorum"):
        with_proposers(SPEC.replace("quorum: 1", "quorum: 3"), "draft", ["x", "y"], file="spec.yaml")
    with pytest.raises(SpecError, match=r"spec\.yaml:\d+:\d+: layers\[0\]\.proposers\[0\]"):
        with_proposers(SPEC, "draft", ["nobody"], file="spec.yaml")


def test_a_proposer_below_its_dash_is_found() -> None:
    odd = SPEC.replace(DRAFT, "      -\n        x\n      - y\n")
    assert with_proposers(odd, "draft", ["1", "x"]).text == SPEC.replace(
        DRAFT, '      - "1"\n      -\n        x\n'
    )


@pytest.mark.parametrize("wrong", [SPEC, SPEC.replace("[x, {model: y}]", "[z]").replace("Doubt", "Trust")])
def test_an_edit_that_went_wrong_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setattr("moa_graph.evaluation.layers._in_flow", lambda *_: wrong)
    with pytest.raises(MoAError, match="in a form that is not edited here"):
        with_proposers(SPEC, "layer-2", ["z"])


def test_models_are_slots_by_mapping_by_name_or_by_what_the_slot_asks_for() -> None:
    text = SPEC.replace(
        "z:\n    model: embedded:extractive", "z:\n    model: openai:org/big-model\n    api_key_env: KEY"
    )
    spec = parse_spec(text)
    assert slots_of(spec, ["Big", "x", "y"], {"Big": "1"}) == ["1", "x", "y"]
    assert slots_of(spec, ["openai:org/big-model"], {}) == ["z"]
    assert slots_of(spec, ["org/big-model"], {}) == ["z"]


@pytest.mark.parametrize(
    ("models", "mapping", "problem"),
    [
        (["Big"], {}, r"no slot of the spec is Big\nSay which one: --slot 'Big=SLOT'"),
        (["Big"], {"Big": "w"}, r"the spec has no slot 'w'\nIt has: x, y, z, 1"),
        (["extractive"], {}, "the slots x, y, z, 1 are all extractive"),
        (["Big", "x"], {"Big": "x"}, "x and another chosen model are of one slot, x"),
    ],
)
def test_models_without_a_slot_of_their_own_are_refused(
    models: list[str], mapping: dict[str, str], problem: str
) -> None:
    with pytest.raises(MoAError, match=problem):
        slots_of(parse_spec(SPEC), models, mapping)


def test_a_layer_is_written_so_that_it_is_read_back() -> None:
    slots = ["x", "1", "no", "null", "with space", "#odd", "a:b", "end:", "Llama-3@there"]
    text = layer_text("draft", slots)
    head = SPEC[: SPEC.index("models:")]
    models = "models:\n" + "".join(
        f"  {json.dumps(slot)}: {{model: embedded:extractive}}\n" for slot in ["x", "1", "no", "null"]
    )
    spec = parse_spec(
        head + models + "aggregator: {model: x}\nlayers:\n" + layer_text("draft", ["x", "1", "no", "null"])
    )
    assert [proposer.model for proposer in spec.layers[0].proposers] == ["x", "1", "no", "null"]
    assert text.splitlines()[2:] == [
        "    - x",
        '    - "1"',
        "    - no",
        '    - "null"',
        '    - "with space"',
        '    - "#odd"',
        "    - a:b",
        '    - "end:"',
        "    - Llama-3@there",
    ]
