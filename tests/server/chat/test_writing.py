"""An answer is written as OpenAI's chat completions, whole and chunk by chunk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from moa_graph.server.chat.writing import Chunks, completion
from tests.server.chat.fakes import answered, call, read_stream, word

CALL = {"name": "look_up", "args": {"word": "ő"}, "id": "call_1", "type": "tool_call"}
BROKEN = {"name": "look_up", "args": "{", "id": "call_2", "type": "invalid_tool_call", "error": None}


def strict(model: Any, data: dict[str, Any], extra: set[str] = frozenset()) -> Any:  # type: ignore[assignment]
    """Validate as the openai package's types do, and that nothing is there which they do not know."""
    parsed = model.model_validate(data, strict=True)
    assert set(parsed.model_extra or {}) <= extra
    return parsed


def whole(message: AIMessage, moa: Any = None) -> ChatCompletion:
    data = json.loads(json.dumps(completion("chatcmpl-1", "team", message, moa)))
    parsed: ChatCompletion = strict(ChatCompletion, data, {"moa"})
    (choice,) = parsed.choices
    assert set(choice.message.model_extra or {}) <= {"reasoning_content"}
    assert not choice.model_extra
    return parsed


def test_a_text_is_a_completion() -> None:
    written = whole(answered("Hello."))
    (choice,) = written.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert choice.message.to_dict() == {"role": "assistant", "content": "Hello.", "refusal": None}
    assert written.usage is not None
    assert written.usage.to_dict() == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert (written.id, written.model, written.object) == ("chatcmpl-1", "team", "chat.completion")
    assert "moa" not in (written.model_extra or {})


def test_calls_of_tools_stand_alone_and_broken_arguments_stay_as_they_are() -> None:
    message = answered("", tool_calls=[CALL], invalid_tool_calls=[BROKEN])
    (choice,) = whole(message).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert [each.to_dict() for each in choice.message.tool_calls or []] == [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "look_up", "arguments": r'{"word": "\u0151"}'},
        },
        {"id": "call_2", "type": "function", "function": {"name": "look_up", "arguments": "{"}},
    ]


def test_a_call_without_an_id_gets_one() -> None:
    (choice,) = whole(answered("", tool_calls=[{**CALL, "id": None}])).choices
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].id.startswith("call_")


def test_reasoning_and_the_extension_stand_beside() -> None:
    message = answered(additional_kwargs={"reasoning_content": "Greet."})
    written = whole(message, {"cost": 1})
    assert (written.choices[0].message.model_extra or {})["reasoning_content"] == "Greet."
    assert (written.model_extra or {})["moa"] == {"cost": 1}


@pytest.mark.parametrize(
    ("finish", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("end_turn", "stop"),
        (None, "stop"),
    ],
)
def test_how_an_answer_ended_is_said_in_openais_words(finish: str | None, told: str) -> None:
    assert whole(answered(finish=finish)).choices[0].finish_reason == told


def test_an_answer_of_which_no_usage_is_known_took_nothing() -> None:
    usage = whole(AIMessage("Hello.")).usage
    assert usage is not None
    assert usage.total_tokens == 0


# -- chunks ---------------------------------------------------------------------------------------------


def chunks_of(*pieces: Any, message: AIMessage, usage: bool = False, moa: Any = None) -> list[dict[str, Any]]:
    """Write a stream; every chunk has to be as the openai package's types have it."""
    writing = Chunks("chatcmpl-1", "team", usage=usage)
    text = writing.beginning()
    text += "".join(each for piece in pieces for each in writing.piece(piece.chunk))
    text += "".join(writing.ending(message, moa)) + "data: [DONE]\n\n"
    chunks = read_stream(text)
    for data in chunks:
        chunk = strict(ChatCompletionChunk, data, {"moa"})
        assert (chunk.id, chunk.model, chunk.object) == ("chatcmpl-1", "team", "chat.completion.chunk")
        for choice in chunk.choices:
            assert set(choice.delta.model_extra or {}) <= {"reasoning_content"}
    return chunks


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


def calls_in(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put calls together as clients do: by index."""
    calls: dict[int, dict[str, Any]] = {}
    for delta in deltas(chunks):
        for part in delta.get("tool_calls", []):
            known = calls.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
            known["id"] += part.get("id", "")
            known["name"] += part["function"].get("name", "")
            known["arguments"] += part["function"].get("arguments", "")
    assert list(calls) == list(range(len(calls)))
    return list(calls.values())


def test_a_stream_begins_with_who_speaks_and_ends_with_how_it_ended() -> None:
    chunks = chunks_of(word("Hel"), word("lo."), word(""), message=answered("Hello."))
    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo."},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_comes_last_where_it_is_wanted() -> None:
    *chunks, last = chunks_of(word("Hello."), message=answered(), usage=True)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def test_what_was_not_streamed_is_said_whole() -> None:
    message = answered("Hello.", tool_calls=[CALL], additional_kwargs={"reasoning_content": "Greet."})
    chunks = chunks_of(message=message, moa={"cost": 1})
    assert deltas(chunks)[1:3] == [{"reasoning_content": "Greet."}, {"content": "Hello."}]
    assert calls_in(chunks) == [{"id": "call_1", "name": "look_up", "arguments": r'{"word": "\u0151"}'}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["moa"] == {"cost": 1}


def test_what_was_streamed_is_not_said_again() -> None:
    pieces = [
        word(additional_kwargs={"reasoning_content": "Greet."}),
        word("Hello."),
        call('{"word":', "look_up", "call_1"),
        call(' "ő"}'),
    ]
    message = answered("Hello.", tool_calls=[CALL], additional_kwargs={"reasoning_content": "Greet."})
    chunks = chunks_of(*pieces, message=message)
    said = deltas(chunks)
    assert [delta["reasoning_content"] for delta in said if "reasoning_content" in delta] == ["Greet."]
    assert "".join(delta.get("content", "") for delta in said) == "Hello."
    assert calls_in(chunks) == [{"id": "call_1", "name": "look_up", "arguments": '{"word": "ő"}'}]


@pytest.mark.parametrize(
    "pieces",
    [
        [call("", "a", "1", 0), call("{1", index=0), call("", "b", "2", 1), call("{2", index=1)],
        [call("", "a", "1", 0), call("", "b", "2", 1), call("{1", index=0), call("{2", index=1)],
        [call("", "a", "1", 3), call("{1", index=3), call("", "b", "2", 7), call("{2", index=7)],
        [call("{", "a", "1", 0), call("1", index=0), call("{", "b", "2", 0), call("2", index=0)],
        [call("{", "a", "1", None), call("1", index=None), call("{2", "b", "2", None)],
        [call("{", "a", "1", 0), call("1", index=None), call("{2", "b", "2", 1)],
        [call("{", "a", "1", 0), call("1", "a", "1", 0), call("{", "b", "2", 1), call("2", "b", "2", 1)],
        [call("{1", None, "1", 0), call("", "a", "1", 0), call("{2", "b", "2", 1), call("", index=1)],
    ],
    ids=["in turn", "mixed", "blocks", "all zero", "no index", "index once", "repeated ids", "late name"],
)
def test_calls_are_numbered_however_a_provider_does_it(pieces: list[Any]) -> None:
    message = answered("", tool_calls=[CALL])
    assert calls_in(chunks_of(*pieces, message=message)) == [
        {"id": "1", "name": "a", "arguments": "{1"},
        {"id": "2", "name": "b", "arguments": "{2"},
    ]


def test_a_streamed_call_without_an_id_gets_one() -> None:
    chunks = chunks_of(call("{", "a", None, 0), call("}", index=0), message=answered("", tool_calls=[CALL]))
    (made,) = calls_in(chunks)
    assert (made["name"], made["arguments"]) == ("a", "{}")
    assert made["id"].startswith("call_")


def test_blocks_of_content_are_told_apart() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Greet."},
        {"type": "text", "text": "Hello."},
        {"type": "reasoning", "reasoning": 7},
        "plain",
    ]
    chunks = chunks_of(word(blocks), message=answered("Hello."))
    assert deltas(chunks)[1:3] == [{"reasoning_content": "Greet."}, {"content": "Hello.plain"}]
