"""What is asked of whoever writes the answer is said in LangChain's words, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.server.acting import Acting, acting_of
from moa_graph.server.bodies import checked
from moa_graph.server.faults import Refused


def asked(**parts: Any) -> Acting:
    return checked(Acting, parts)


def tool(name: str = "look_up", **parts: Any) -> dict[str, Any]:
    function = {"name": name, "parameters": {"type": "object", "properties": {}}, **parts}
    return {"type": "function", "function": function}


def test_sampling_goes_to_the_aggregator() -> None:
    given = {
        "temperature": 0.5,
        "top_p": 1,
        "frequency_penalty": -1,
        "presence_penalty": 1.5,
        "logit_bias": {"50256": -100},
        "seed": 7,
        "user": "ada",
        "reasoning_effort": "low",
        "verbosity": "low",
        "max_tokens": 10,
        "stop": "END",
    }
    assert acting_of(asked(**given)) == {**given, "stop": ["END"]}


def test_the_new_name_of_the_longest_output_goes_before_the_old_one() -> None:
    assert acting_of(asked(max_tokens=5, max_completion_tokens=9)) == {"max_tokens": 9}


def test_no_tools_and_no_stops_are_nothing() -> None:
    assert acting_of(asked(tools=[], stop=[], tool_choice="auto", parallel_tool_calls=False)) == {}


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("none", "none"),
        ("auto", "auto"),
        ("required", "any"),
        ({"type": "function", "function": {"name": "look_up"}}, "look_up"),
    ],
)
def test_which_tool_to_call_is_said_in_langchains_words(choice: Any, meant: str) -> None:
    acting = acting_of(asked(tools=[tool(strict=True)], tool_choice=choice, parallel_tool_calls=False))
    assert acting == {"tools": [tool(strict=True)], "tool_choice": meant, "parallel_tool_calls": False}


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ({"tools": [tool(), tool()]}, "tools"),
        ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": [tool()], "response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_tools_that_cannot_be_meant_are_refused(parts: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        acting_of(asked(**parts))
    assert (refused.value.status, refused.value.param) == (400, param)


def form(**parts: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", **parts}}


def test_a_form_is_passed_on() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "null", "default": None}}}
    given = form(schema=schema, strict=True)
    assert acting_of(asked(response_format=given)) == {"response_format": given}
    assert acting_of(asked(response_format={"type": "json_object"})) == {
        "response_format": {"type": "json_object"}
    }
    assert acting_of(asked(response_format={"type": "text"})) == {}


def test_a_form_beside_tools_bears_its_name_where_it_is_looked_for() -> None:
    acting = acting_of(asked(tools=[tool()], response_format=form(schema={"type": "object"})))
    assert acting["response_format"]["json_schema"]["schema"] == {"title": "answer", "type": "object"}
