"""Who sees which earlier proposals, in which order, how long, and under which name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa_graph.selecting.visibility import (
    Offer,
    Reader,
    as_reference,
    changes_in,
    layers_seen,
    references_for,
    shown_name,
)
from moa_graph.spec.primitives import ReferencesSpec


def record(id_: str, **given: Any) -> Any:
    layer, _, proposer = id_.partition("/")
    text = f"{layer} of {proposer}"
    return {"id": id_, "layer": layer, "proposer": proposer, "status": "ok", "text": text, **given}


TWO = Offer(
    ["draft", "deep"],
    [record(f"{layer}/{name}") for layer in ("draft", "deep") for name in ("a", "b", "c")],
)


def seen(references: dict[str, Any], reader: str | None = "a", offer: Offer = TWO) -> list[str]:
    spec = ReferencesSpec.model_validate(references)
    return [each["id"] for each in references_for(spec, offer, Reader(reader, "last", "Why?"))]


def ids(layer: str, *names: str) -> list[str]:
    return [f"{layer}/{name}" for name in names]


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ({}, ids("deep", "a", "b", "c")),
        ({"from": "previous", "self": False}, ids("deep", "b", "c")),
        ({"from": "all"}, ids("draft", "a", "b", "c") + ids("deep", "a", "b", "c")),
        ({"from": "own"}, ids("deep", "a")),
        ({"from": "own", "self": False}, ids("deep", "a")),
        ({"from": "none"}, []),
        ({"from": ["draft"]}, ids("draft", "a", "b", "c")),
        ({"from": ["deep", "draft"], "see": "own"}, ids("deep", "a") + ids("draft", "a")),
        ({"see": [["a", "b"], ["c"]]}, ids("deep", "a", "b")),
        ({"see": [["a", "b"], ["a", "c"]], "self": False}, ids("deep", "b", "c")),
        ({"see": [["b", "c"]]}, ids("deep", "a")),
        ({"see": {"a": ["c"]}}, ids("deep", "c")),
        ({"see": {"b": ["c"]}}, ids("deep", "a", "b", "c")),
        (
            {"from": [{"layer": "draft", "see": "own"}, {"layer": "deep", "self": False}]},
            ids("draft", "a") + ids("deep", "b", "c"),
        ),
        (
            {"from": [{"layer": "draft", "self": True}, "deep"], "self": False},
            ids("draft", "a", "b", "c") + ids("deep", "b", "c"),
        ),
    ],
)
def test_a_proposer_sees_what_the_spec_says(references: dict[str, Any], expected: list[str]) -> None:
    assert seen(references) == expected


def test_the_aggregator_sees_all_whatever_groups_there_are() -> None:
    for see in ([["a"]], {"a": ["b"]}, "all"):
        assert seen({"see": see}, None) == ids("deep", "a", "b", "c")


def test_nothing_is_there_before_the_first_layer() -> None:
    empty = Offer([], TWO.records)
    for source in ("previous", "all", "own", "none", ["draft"]):
        assert seen({"from": source}, offer=empty) == []
        assert layers_seen(ReferencesSpec.model_validate({"from": source}), []) == []


def test_where_none_of_the_named_layers_ran_it_is_the_last_one_that_did() -> None:
    stopped = Offer(["draft"], TWO.records)
    assert seen({"from": ["deep"]}, offer=stopped) == ids("draft", "a", "b", "c")
    assert layers_seen(ReferencesSpec.model_validate({"from": ["deep"]}), ["draft"]) == ["draft"]
    assert seen({"from": ["draft", "deep"]}, offer=stopped) == ids("draft", "a", "b", "c")


def test_an_order_that_is_shuffled_is_the_same_again_and_another_one_for_another_reader() -> None:
    many = Offer(["draft"], [record(f"draft/p{number}") for number in range(8)])
    orders = {name: tuple(seen({"order": "shuffled"}, name, many)) for name in ("a", "b", "c", None)}
    assert orders == {name: tuple(seen({"order": "shuffled"}, name, many)) for name in orders}
    assert len(set(orders.values())) == 4
    assert seen({"order": "shuffled", "seed": 1}, "a", many) != list(orders["a"])


def test_a_question_that_is_no_proper_text_can_be_shuffled_for() -> None:
    spec = ReferencesSpec(order="shuffled")
    assert len(references_for(spec, TWO, Reader("a", "last", "\ud800"))) == 3


def test_an_order_that_is_shuffled_is_the_same_in_every_process() -> None:
    many = Offer(["draft"], [record(f"draft/p{number}") for number in range(5)])
    order = [id_[-1] for id_ in seen({"order": "shuffled"}, "a", many)]
    assert "".join(order) == "32410"


def test_a_text_that_is_too_long_is_cut_and_says_so() -> None:
    spec = ReferencesSpec(max_chars=7)
    assert as_reference(spec, record("draft/a", text="seven77"))["text"] == "seven77"
    assert as_reference(spec, record("draft/a", text="eight 88"))["text"] == "eight…"
    assert as_reference(ReferencesSpec(max_chars=1), record("draft/a"))["text"] == "…"


def test_a_summary_stands_for_its_proposal_under_the_proposals_name() -> None:
    summary = record("deep/@summary:draft:a", text="Short.")
    offer = Offer(["draft"], [record("draft/a")], {"draft/a": summary})
    (reference,) = references_for(ReferencesSpec(anonymous=False), offer, Reader("a", "deep", "?"))
    assert reference == {"id": "deep/@summary:draft:a", "text": "Short.", "name": "a"}


def test_names_say_which_layer_it_is_only_where_there_are_several() -> None:
    spec = ReferencesSpec.model_validate({"from": "all", "anonymous": False})
    reader = Reader(None, "aggregator", "?")
    assert [each["name"] for each in references_for(spec, TWO, reader)][:2] == ["draft/a", "draft/b"]
    one = Offer(["draft"], TWO.records)
    assert [each["name"] for each in references_for(spec, one, reader)] == ["a", "b", "c"]


@given(st.text())
def test_no_name_can_close_an_element_or_begin_a_line(name: str) -> None:
    shown = shown_name(name)
    assert len(shown) == len(name)
    assert not set(shown) & set('"<>\n\r\x85\u2028')


def test_changes_are_those_that_somebody_wrote_down_and_that_are_some() -> None:
    records = {
        "deep/@residual": record("deep/@residual", text="Lost."),
        "one/@residual": record("one/@residual", text="NONE"),
        "two/@residual": record("two/@residual", status="failed"),
    }
    assert changes_in(records, "deep") == "Lost."
    assert [changes_in(records, layer) for layer in ("one", "two", "three", None)] == [None] * 4


NAMES = ["a", "b", "c", "d"]
RECORDS = st.lists(
    st.builds(
        lambda layer, name, status, left, role: record(
            f"{layer}/{name}", status=status, left_out=left, **({"role": "ranker"} if role else {})
        ),
        st.sampled_from(["one", "two"]),
        st.sampled_from(NAMES),
        st.sampled_from(["ok", "ok", "failed", "cut", "dropped"]),
        st.sampled_from(["", "", "ranked 3 of 3"]),
        st.booleans(),
    ),
    unique_by=lambda each: each["id"],
)
SEE = (
    st.sampled_from(["all", "own"])
    | st.lists(st.lists(st.sampled_from(NAMES), unique=True), max_size=3)
    | st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), unique=True))
)
REFERENCES = st.fixed_dictionaries(
    {
        "from": st.sampled_from(["previous", "all", "own", "none", ["one"], ["two", "one"]]),
        "see": SEE,
        "self": st.booleans(),
        "order": st.sampled_from(["listed", "shuffled"]),
        "seed": st.integers(),
    }
)


@given(RECORDS, REFERENCES, st.sampled_from([*NAMES, None]), st.text())
def test_nobody_sees_what_is_not_to_be_seen(
    records: list[Any], references: dict[str, Any], reader: str | None, question: str
) -> None:
    spec = ReferencesSpec.model_validate(references)
    offer = Offer(["one", "two"], records)
    by_id = {each["id"]: each for each in records}
    found = [each["id"] for each in references_for(spec, offer, Reader(reader, "last", question))]
    assert len(set(found)) == len(found)
    for id_ in found:
        each = by_id[id_]
        assert (each["status"], each["left_out"], "role" in each) == ("ok", "", False)
        assert each["layer"] in layers_seen(spec, ["one", "two"])
        if references["from"] == "own" or references["see"] == "own":
            assert each["proposer"] == reader
        elif not references["self"]:
            assert each["proposer"] != reader
    listed = ReferencesSpec.model_validate({**references, "order": "listed", "seed": 0})
    in_order = [each["id"] for each in references_for(listed, offer, Reader(reader, "last", question))]
    assert sorted(found) == sorted(in_order)
    if references["order"] == "listed":
        assert found == in_order
