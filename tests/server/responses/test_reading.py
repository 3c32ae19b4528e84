"""Input items become LangChain's messages and the terms of a run, or are refused in plain words."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from moa_graph.server.faults import Refused
from moa_graph.server.responses.reading import instructed, messages_of, terms_of
from moa_graph.server.responses.requests import ResponsesRequest
from tests.server.responses.desk import ADD

PIXEL = "data:image/png;base64,AAAA"


def asked(input_: Any = "Why?", **parts: Any) -> ResponsesRequest:
    return ResponsesRequest.model_validate({"model": "team", "input": input_, **parts})


def read(*items: dict[str, Any]) -> list[BaseMessage]:
    return messages_of(asked(list(items)))


def call(id_: str = "c1", arguments: str = '{"a": 1}') -> dict[str, Any]:
    return {"type": "function_call", "call_id": id_, "name": "add", "arguments": arguments}


def output(id_: str = "c1", value: Any = "3") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id_, "output": value}


def user(content: Any = "Why?") -> dict[str, Any]:
    return {"role": "user", "content": content}


def acting(**parts: Any) -> dict[str, Any]:
    request = asked(**parts)
    return dict(terms_of(request, messages_of(request))["acting"])


def test_a_text_is_what_a_user_says() -> None:
    assert messages_of(asked("Why?")) == [HumanMessage("Why?")]


def test_messages_keep_their_roles_and_their_order() -> None:
    messages = read(
        {"role": "system", "content": "Be brief."},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        user("Hello?"),
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello.", "annotations": []}]},
        user([{"type": "input_text", "text": "Why?"}]),
    )
    assert messages == [
        SystemMessage("Be brief."),
        SystemMessage("Be kind."),
        HumanMessage("Hello?"),
        AIMessage("Hello."),
        HumanMessage("Why?"),
    ]


def test_an_image_is_passed_on_as_it_is() -> None:
    [message] = read(
        user(
            [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": PIXEL, "detail": "low"},
            ]
        )
    )
    assert message.content == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://example.org/a.png"])
def test_an_image_at_an_address_is_refused(url: str) -> None:
    with pytest.raises(Refused) as refused:
        read(user([{"type": "input_image", "image_url": url}]))
    assert refused.value.param == "input[0].content[0].image_url"


def test_what_an_assistant_says_and_calls_without_a_break_is_one_message() -> None:
    messages = read(
        user(),
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"role": "assistant", "content": "Let me see."},
        call("c1"),
        call("c2", "{"),
        call("c3", "[1]"),
        output("c1"),
        output("c2", [{"type": "input_text", "text": "no JSON"}]),
        output("c3", [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": PIXEL}]),
    )
    said = messages[1]
    assert isinstance(said, AIMessage)
    assert said.content == "Let me see."
    assert [(each["id"], each["name"], each["args"]) for each in said.tool_calls] == [("c1", "add", {"a": 1})]
    assert [(each["id"], each["args"]) for each in said.invalid_tool_calls] == [("c2", "{"), ("c3", "[1]")]
    results = messages[2:]
    assert all(isinstance(each, ToolMessage) for each in results)
    assert [each.content for each in results[:2]] == ["3", "no JSON"]
    assert results[2].content[1] == {"type": "image_url", "image_url": {"url": PIXEL}}


def test_refused_words_are_part_of_what_was_said() -> None:
    messages = read(user(), {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, user())
    assert messages[1] == AIMessage("No.")


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([user(), output("c1")], "input[1].call_id"),
        ([user(), call("c1"), output("c2")], "input[2].call_id"),
        ([user(), call("c1"), output("c1"), output("c1")], "input[3].call_id"),
        ([user(), call("c1"), user()], "input"),
        ([user(), {"role": "assistant", "content": "Because."}], "input"),
        ([user(), call("c1")], "input"),
    ],
)
def test_a_conversation_that_no_provider_takes_is_refused(items: list[Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        read(*items)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_outputs_may_be_those_of_calls_before() -> None:
    request = asked([output("c1"), user()], previous_response_id="resp_1")
    assert [message.type for message in messages_of(request, {"c1"})] == ["tool", "human"]
    with pytest.raises(Refused, match="c2"):
        messages_of(request, {"c1", "c2"})


def test_instructions_come_before_what_is_asked() -> None:
    assert instructed([HumanMessage("Why?")], "Be brief.") == [
        SystemMessage("Be brief."),
        HumanMessage("Why?"),
    ]
    assert instructed([HumanMessage("Why?")], None) == [HumanMessage("Why?")]


def test_instructions_never_part_a_call_from_its_output() -> None:
    result = ToolMessage("3", tool_call_id="c1")
    assert instructed([result], "Be brief.") == [result, SystemMessage("Be brief.")]


def test_what_is_asked_of_the_aggregator_has_the_names_that_models_share() -> None:
    found = acting(
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=50,
        user="me",
        reasoning={"effort": "low"},
        text={"verbosity": "high"},
    )
    assert found == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "user": "me",
        "reasoning_effort": "low",
        "verbosity": "high",
    }


def test_nothing_asked_is_nothing_passed_on() -> None:
    assert acting(text={"format": {"type": "text"}}, tool_choice="auto", parallel_tool_calls=True) == {}


def test_functions_are_offered_as_the_chat_api_offers_them() -> None:
    found = acting(tools=[{**ADD, "strict": True}], tool_choice={"type": "function", "name": "add"})
    described = {name: value for name, value in ADD.items() if name != "type"}
    assert found["tools"] == [{"type": "function", "function": {**described, "strict": True}}]
    assert found["tool_choice"] == "add"


def test_only_the_functions_that_are_allowed_are_offered() -> None:
    chosen = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]}
    found = acting(tools=[ADD, {**ADD, "name": "other"}], tool_choice=chosen, parallel_tool_calls=False)
    assert [tool["function"]["name"] for tool in found["tools"]] == ["add"]
    assert found["tool_choice"] == "any"
    assert found["parallel_tool_calls"] is False


def test_an_allowed_function_has_to_be_there() -> None:
    chosen = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "gone"}]}
    with pytest.raises(Refused, match="gone"):
        acting(tools=[ADD], tool_choice=chosen)


def test_a_form_of_the_answer_is_asked_for_as_the_chat_api_asks() -> None:
    form = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
    assert acting(text={"format": form})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True},
    }
    assert acting(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}


def test_any_json_and_functions_do_not_go_together() -> None:
    with pytest.raises(Refused) as refused:
        acting(text={"format": {"type": "json_object"}}, tools=[ADD])
    assert refused.value.param == "text.format"


@pytest.mark.parametrize("parts", [{"tools": [ADD]}, {"input_": [user(), call(), output()]}])
def test_with_functions_all_are_asked_once_per_user_turn(parts: dict[str, Any]) -> None:
    request = asked(**parts)
    assert terms_of(request, messages_of(request))["fan_out"] == "user_turn"


def test_without_functions_the_spec_says_when_all_are_asked() -> None:
    request = asked()
    assert terms_of(request, messages_of(request)).keys() == {"acting"}


def test_limits_are_passed_on() -> None:
    request = asked(moa={"limits": {"max_cost": 0.5, "max_calls": 3}})
    assert terms_of(request, messages_of(request))["limits"] == {"max_cost": 0.5, "max_calls": 3}
