"""A body is understood, or refused where it stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moa_graph.server.bodies import checked, inlined, read_body
from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key, KeyLimits
from moa_graph.server.responses.ids import new_id
from moa_graph.server.responses.reading import messages_of, terms_of
from moa_graph.server.responses.refusing import refuse_unsupported
from moa_graph.server.responses.requests import ResponsesRequest
from moa_graph.server.responses.writing import Frame, echo_of
from tests.server.responses.desk import ADD
from tests.server.responses.desk import checked as valid

WHY = {"model": "team", "input": "Why?"}


def read(body: dict[str, Any]) -> dict[str, Any]:
    """Return the Response that a request would have before its answer, or raise Refused."""
    refuse_unsupported(body)
    asked = checked(ResponsesRequest, body)
    messages = messages_of(asked)
    terms_of(asked, messages)
    return Frame(new_id(Key("local", "local", KeyLimits()), None), 1, echo_of(asked)).response("in_progress")


def refused(**parts: Any) -> Refused:
    with pytest.raises(Refused) as error:
        read({**WHY, **parts})
    return error.value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("conversation", "conv_1"),
        ("conversation", {"id": "conv_1"}),
        ("prompt", {"id": "pmpt_1"}),
        ("truncation", "auto"),
        ("context_management", [{"type": "compaction"}]),
        ("include", ["message.output_text.logprobs"]),
        ("top_logprobs", 3),
        ("moderation", {"model": "omni"}),
    ],
)
def test_what_would_change_the_answer_and_cannot_be_done_is_refused_by_its_name(
    name: str, value: Any
) -> None:
    error = refused(**{name: value})
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", name)
    assert name in error.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("conversation", None),
        ("truncation", "disabled"),
        ("include", ["reasoning.encrypted_content"]),
        ("top_logprobs", 0),
        ("service_tier", "flex"),
        ("safety_identifier", "me"),
        ("prompt_cache_key", "key"),
        ("stream_options", {"include_obfuscation": False}),
        ("reasoning", {"effort": "low", "summary": "auto"}),
        ("something_new", {"deep": [1]}),
        ("store", None),
    ],
)
def test_what_changes_nothing_is_let_be(name: str, value: Any) -> None:
    valid(read({**WHY, name: value}))


@pytest.mark.parametrize("kind", ["web_search", "file_search", "mcp", "code_interpreter", "custom"])
def test_tools_that_the_server_would_have_to_run_are_refused_by_their_name(kind: str) -> None:
    error = refused(tools=[ADD, {"type": kind, "name": "x"}])
    assert (error.code, error.param) == ("unsupported_parameter", "tools[1].type")
    assert kind in error.message


def test_a_reference_to_an_item_is_refused() -> None:
    error = refused(input=[{"type": "item_reference", "id": "msg_1"}])
    assert (error.code, error.param) == ("unsupported_parameter", "input[0].type")


@pytest.mark.parametrize(("more", "param"), [({"stream": True}, "stream"), ({"store": False}, "store")])
def test_a_background_response_is_kept_and_not_streamed(more: dict[str, Any], param: str) -> None:
    assert refused(background=True, **more).param == param


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ({"model": ""}, "model"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content",
        ),
        ({"input": [{"type": "computer_call"}]}, "input[0]"),
        ({"input": [{"type": 3}]}, "input[0]"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "reasoning"}]}, "input"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "0.5"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(each): "" for each in range(17)}}, "metadata"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "function", "name": "add"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tools": [ADD, ADD]}, "tools"),
        ({"moa": {"limits": {"max_cost": -1}}}, "moa.limits.max_cost"),
    ],
)
def test_a_fault_says_where_it_is(parts: dict[str, Any], param: str) -> None:
    error = refused(**parts)
    assert error.status == 400
    assert (error.param or "").startswith(param)
    assert param in error.message


def test_a_request_without_input_is_refused() -> None:
    with pytest.raises(Refused) as error:
        read({"model": "team"})
    assert (error.value.param, error.value.code) == ("input", "missing_required_parameter")


def test_the_response_repeats_what_was_asked() -> None:
    asked = {
        **WHY,
        "instructions": "Be brief.",
        "tools": [ADD],
        "tool_choice": {"type": "function", "name": "add"},
        "parallel_tool_calls": False,
        "text": {
            "format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
        },
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 100,
        "metadata": {"a": "b"},
        "user": "me",
        "store": False,
        "reasoning": {"effort": "low"},
    }
    response = valid(read(asked))
    for name, value in asked.items():
        if name not in ("input", "tools", "reasoning"):
            assert response[name] == value
    assert response["tools"] == [{**ADD, "strict": None}]
    assert response["reasoning"]["effort"] == "low"
    assert response["background"] is False


def test_the_schema_of_the_document_names_what_can_be_sent() -> None:
    schema = inlined(ResponsesRequest)
    assert schema["required"] == ["model", "input"]
    assert "$ref" not in str(schema)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["input_text", "output_text", "refusal", "input_image", "input_file"])},
    optional={
        "text": st.text(),
        "refusal": st.text(),
        "image_url": st.sampled_from(["data:image/png;base64,AA", "file:///etc/passwd", ""]) | JSON,
        "detail": st.sampled_from(["auto", "huge"]) | JSON,
    },
)
CONTENT = st.text() | st.lists(PART, max_size=3) | JSON
ITEM = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "developer"]), "content": CONTENT}
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("function_call"),
            "call_id": st.sampled_from("ab"),
            "name": st.text(),
            "arguments": st.text(),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("function_call_output"), "call_id": st.sampled_from("ab"), "output": CONTENT}
    ),
    st.just({"type": "reasoning", "id": "rs_1", "summary": []}),
    JSON,
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just("team") | JSON,
        "input": st.text() | st.lists(ITEM, max_size=5) | JSON,
        "tools": st.lists(st.just(ADD) | JSON, max_size=2) | JSON,
        "tool_choice": st.sampled_from(
            [
                "auto",
                "none",
                "required",
                {"type": "function", "name": "add"},
                {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "add"}]},
            ]
        )
        | JSON,
        "text": st.just({"format": {"type": "json_object"}, "verbosity": "low"}) | JSON,
        "metadata": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3) | JSON,
        "temperature": st.floats(0, 2) | JSON,
        "reasoning": JSON,
        "instructions": st.text() | JSON,
        "stream": JSON,
        "background": JSON,
        "store": JSON,
        "include": JSON,
        "previous_response_id": JSON,
        "moa": JSON,
    },
)


@settings(max_examples=300, deadline=None)
@given(BODY | st.dictionaries(st.text(), JSON))
def test_any_json_is_accepted_or_refused(body: dict[str, Any]) -> None:
    try:
        response = read(read_body(json.dumps(body).encode()))
    except Refused as refusal:
        response = refusal.body
        assert (refusal.status, bool(refusal.message)) == (400, True)  # noqa: PT017 - any of both may come
    json.dumps(response, allow_nan=False, ensure_ascii=False).encode()
