"""A conversation in OpenAI's schema becomes the same in LangChain's, or is refused in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from moa_graph.server.acting import acting_of
from moa_graph.server.bodies import checked, inlined, read_body
from moa_graph.server.chat.reading import check_calls, messages_of
from moa_graph.server.chat.refusing import refuse_unsupported
from moa_graph.server.chat.requests import ChatRequest
from moa_graph.server.faults import Refused

USER = {"role": "user", "content": "Why?"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def request(*messages: Any, **parts: Any) -> ChatRequest:
    body = {"model": "team", "messages": list(messages) or [USER], **parts}
    return checked(ChatRequest, read_body(json.dumps(body).encode()))


def read(*messages: Any) -> list[BaseMessage]:
    return messages_of(request(*messages))


def refusal(call: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.status == 400
    return caught.value


def calling(arguments: str, id_: str = "call_1") -> dict[str, Any]:
    function = {"name": "look_up", "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": id_, "type": "function", "function": function}],
    }


# -- messages -------------------------------------------------------------------------------------------


def test_every_role_becomes_its_message() -> None:
    messages = read(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "Why?", "name": "ada"},
        {"role": "assistant", "content": "Because."},
        USER,
    )
    assert [type(message) for message in messages] == [
        SystemMessage,
        SystemMessage,
        HumanMessage,
        AIMessage,
        HumanMessage,
    ]
    assert [message.text for message in messages] == ["Be brief.", "Be kind.", "Why?", "Because.", "Why?"]
    assert messages[1].additional_kwargs == {"__openai_role__": "developer"}
    assert messages[2].name == "ada"


def test_calls_of_tools_and_their_results_keep_their_ids() -> None:
    _, said, result = read(
        USER, calling('{"word": "moa"}'), {"role": "tool", "tool_call_id": "call_1", "content": "A bird."}
    )
    assert isinstance(said, AIMessage)
    assert said.tool_calls == [
        {"name": "look_up", "args": {"word": "moa"}, "id": "call_1", "type": "tool_call"}
    ]
    assert said.text == ""
    assert isinstance(result, ToolMessage)
    assert (result.tool_call_id, result.text) == ("call_1", "A bird.")


@pytest.mark.parametrize("arguments", ['{"word": ', "[1]", "[" * 5000])
def test_arguments_that_are_no_object_stay_as_the_model_wrote_them(arguments: str) -> None:
    _, said, _ = read(USER, calling(arguments), {"role": "tool", "tool_call_id": "call_1", "content": "no"})
    assert isinstance(said, AIMessage)
    assert said.tool_calls == []
    assert [call["args"] for call in said.invalid_tool_calls] == [arguments]


def test_a_call_without_arguments_has_none() -> None:
    _, said, _ = read(USER, calling(""), {"role": "tool", "tool_call_id": "call_1", "content": "no"})
    assert isinstance(said, AIMessage)
    assert said.tool_calls[0]["args"] == {}


def test_what_an_assistant_refused_with_is_part_of_what_it_said() -> None:
    parts = [{"type": "text", "text": "Well."}, {"type": "refusal", "refusal": "I cannot."}]
    assert read({"role": "assistant", "content": parts}, USER)[0].text == "Well.\nI cannot."


def test_an_assistant_that_said_nothing_is_borne() -> None:
    assert read({"role": "assistant"}, USER)[0].text == ""


@pytest.mark.parametrize("url", [PIXEL, PIXEL.replace("data:image", "DATA:Image")])
def test_images_are_passed_on(url: str) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    assert read({"role": "user", "content": parts})[0].content == parts


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/moa.png",
        "https://127.0.0.1/a.png",
        "file:///etc/passwd",
        "data:text/html,hello",
        "moa.png",
    ],
)
def test_images_elsewhere_than_in_the_request_are_refused_without_naming_them(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    refused = refusal(lambda: read({"role": "user", "content": [part]}))
    assert refused.param == "messages[0].content[0].image_url.url"
    assert url not in refused.message


@pytest.mark.parametrize("kind", ["input_audio", "file", "video_url"])
def test_parts_that_no_model_here_gets_are_named(kind: str) -> None:
    parts = [{"type": "text", "text": "Hear."}, {"type": kind, kind: {"data": "AAAA"}}]
    refused = refusal(lambda: read({"role": "user", "content": parts}))
    assert refused.param == "messages[0].content[1].type"
    assert f"{kind!r} is not supported here; there are: 'text', 'image_url'" in refused.message


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "function", "name": "f", "content": "1"}, "messages[0].role"),
        ({"content": "Why?"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user", "content": 7}, "messages[0].content"),
        ({"role": "user", "content": []}, "messages[0].content"),
        ({"role": "user", "content": ["Why?"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"text": "Why?"}]}, "messages[0].content[0].type"),
        ({"role": "tool", "content": "1"}, "messages[0].tool_call_id"),
        ("Why?", "messages[0]"),
    ],
)
def test_a_fault_says_where_it_is(message: Any, param: str) -> None:
    refused = refusal(lambda: read(message))
    assert refused.param == param
    assert refused.message.startswith(f"{param}: ")


def test_a_conversation_that_ends_with_the_assistant_asks_nothing() -> None:
    refused = refusal(lambda: read(USER, {"role": "assistant", "content": "Because"}))
    assert refused.param == "messages[1].role"


def test_a_result_needs_a_call_before_it() -> None:
    result = {"role": "tool", "tool_call_id": "call_9", "content": "1"}
    messages = read(USER, calling("{}"), result)
    assert refusal(lambda: check_calls(messages)).param == "messages[2].tool_call_id"
    check_calls(read(USER, calling("{", "call_9"), result))


# -- parameters -----------------------------------------------------------------------------------------


def tool(name: str = "look_up", **parts: Any) -> dict[str, Any]:
    function = {"name": name, "parameters": {"type": "object", "properties": {}}, **parts}
    return {"type": "function", "function": function}


def test_null_is_the_same_as_nothing() -> None:
    names = [name for name in ChatRequest.model_fields if name not in {"model", "messages"}]
    assert acting_of(request(**dict.fromkeys(names))) == {}


def test_what_nobody_knows_is_let_be() -> None:
    assert acting_of(request(store=True, service_tier="auto", prompt_cache_key="x", best_of=[1])) == {}


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"seed": 2**70}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [tool("two words")]}, "tools[0].function.name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"messages": []}, "messages"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
    ],
)
def test_a_parameter_of_a_wrong_kind_is_named(parts: dict[str, Any], param: str) -> None:
    assert refusal(lambda: request(**parts)).param == param


def test_what_is_missing_is_told_apart_from_what_is_wrong() -> None:
    refused = refusal(lambda: checked(ChatRequest, {"model": "team"}))
    assert (refused.param, refused.code) == ("messages", "missing_required_parameter")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("functions", []),
        ("function_call", "auto"),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "mp3"}),
        ("prediction", {"type": "content", "content": "x"}),
        ("web_search_options", {}),
        ("moderation", {}),
    ],
)
def test_what_would_change_the_answer_and_cannot_be_done_is_refused(name: str, value: Any) -> None:
    refused = refusal(lambda: refuse_unsupported({name: value}))
    assert (refused.param, refused.code) == (name, "unsupported_parameter")
    refuse_unsupported({name: None})


def test_what_changes_nothing_is_let_be() -> None:
    refuse_unsupported({"n": 1, "logprobs": False, "top_logprobs": 0, "modalities": ["text"]})


# -- bodies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"team"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": [-Infinity]}',
        b"[" * 100_000,
        b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    assert refusal(lambda: read_body(content)).code == "invalid_json"


def test_half_a_character_and_nul_are_replaced_everywhere() -> None:
    content = rb'{"messages": [{"role": "user", "content": "\ud83d and \u0000"}], "\udc00": 1}'
    assert read_body(content) == {
        "messages": [{"role": "user", "content": "\ufffd and \ufffd"}],
        "\ufffd": 1,
    }


def test_the_schema_for_the_api_s_document_stands_alone() -> None:
    text = json.dumps(inlined(ChatRequest))
    assert "$ref" not in text
    assert "$defs" not in text
    assert inlined(ChatRequest)["required"] == ["model", "messages"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["user", "tool", "text", "image_url", "function", "auto", "https://[", "\ud800"])
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["text", "image_url", "refusal", "file"]) | JSON,
        "text": st.text(max_size=9) | JSON,
        "refusal": st.text(max_size=9),
        "image_url": st.fixed_dictionaries({"url": st.text(max_size=30)}) | JSON,
    },
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(max_size=5),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.text(max_size=5), "arguments": st.text()}),
        }
    )
    | JSON,
    max_size=3,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])},
    optional={
        "content": st.text(max_size=20) | st.lists(PARTS, max_size=3) | JSON,
        "tool_calls": CALLS | st.none(),
        "tool_call_id": st.text(max_size=5),
        "name": st.text(max_size=5) | JSON,
    },
)
BODIES = st.fixed_dictionaries(
    {"model": st.just("team") | JSON, "messages": st.lists(MESSAGES, max_size=4) | JSON},
    optional={
        name: st.none() | JSON
        for name in [*ChatRequest.model_fields, "n", "logprobs"]
        if name not in {"model", "messages"}
    },
)


@given(BODIES | JSON)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_body_is_understood_or_refused(body: Any) -> None:
    def understood() -> tuple[Any, ...]:
        read = read_body(json.dumps(body).encode())
        refuse_unsupported(read)
        asked = checked(ChatRequest, read)
        messages = messages_of(asked)
        check_calls(messages)
        return len(read["messages"]), messages, acting_of(asked)

    try:
        count, messages, acting = understood()
    except Refused:
        refused = refusal(understood)
        json.dumps(refused.body, ensure_ascii=False).encode()
    else:
        assert len(messages) == count
        json.dumps([acting, [message.model_dump() for message in messages]], ensure_ascii=False).encode()
