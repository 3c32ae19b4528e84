"""A response told event by event, in the order that clients expect."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

from moa_graph.errors import AggregatorFailed, QuorumNotMet
from moa_graph.server.responses.ids import ResponseId
from moa_graph.server.responses.requests import ResponsesRequest
from moa_graph.server.responses.streamed import Story
from moa_graph.server.responses.writing import Frame, echo_of
from tests.server.responses.desk import check_event

FRAME = Frame(ResponseId("a" * 32, "b" * 16), 1_700_000_000, {})
USAGE = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
MOA: Any = {"failed_aggregators": [], "warnings": []}


def story() -> Story:
    echo = echo_of(ResponsesRequest.model_validate({"model": "team", "input": "Why?"}))
    return Story(Frame(FRAME.id, FRAME.created, echo))


def told(*parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    events = [event for part in parts for event in part]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        check_event(event)
    return events


def word(text: str = "", **parts: Any) -> AIMessageChunk:
    return AIMessageChunk(content=text, **parts)


def call(args: str, name: str | None = None, id_: str | None = None, index: int | None = 0) -> AIMessageChunk:
    return word(tool_call_chunks=[tool_call_chunk(name=name, args=args, id=id_, index=index)])


def thought(text: str) -> AIMessageChunk:
    return word(additional_kwargs={"reasoning_content": text})


def thought_in_a_block(text: str) -> AIMessageChunk:
    return AIMessageChunk([{"type": "thinking", "thinking": text}])


def answer(text: str = "", *calls: tuple[str, dict[str, Any], str | None], thinking: str = "") -> AIMessage:
    return AIMessage(
        text,
        tool_calls=[{"name": name, "args": args, "id": id_} for name, args, id_ in calls],
        additional_kwargs={"reasoning_content": thinking} if thinking else {},
        usage_metadata=USAGE,
        response_metadata={"moa": MOA},
    )


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def last(events: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = events[-1]["response"]
    return found


TEXT_BEGINS = ["output_item.added", "content_part.added"]
TEXT_ENDS = ["output_text.done", "content_part.done", "output_item.done"]


def test_a_text_is_told_in_the_order_that_clients_expect() -> None:
    one = story()
    events = told(one.begin(), one.piece(word("Hel")), one.piece(word("lo.")), one.end(answer("Hello.")))
    assert types(events) == [
        "created",
        "in_progress",
        *TEXT_BEGINS,
        "output_text.delta",
        "output_text.delta",
        *TEXT_ENDS,
        "completed",
    ]
    assert "".join(event["delta"] for event in events if "delta" in event) == "Hello."
    [item] = last(events)["output"]
    assert item["content"][0]["text"] == "Hello."
    assert {event["item_id"] for event in events if "item_id" in event} == {item["id"]}
    assert last(events)["usage"]["total_tokens"] == 9
    assert [events[0]["response"]["status"], last(events)["status"]] == ["in_progress", "completed"]


def test_what_was_not_streamed_is_told_whole() -> None:
    one = story()
    events = told(one.end(answer("Hello.", ("add", {"a": 1}, "c1"), thinking="Hm.")))
    assert [item["type"] for item in last(events)["output"]] == ["reasoning", "message", "function_call"]
    assert (
        last(events)["output"]
        == FRAME.completed(answer("Hello.", ("add", {"a": 1}, "c1"), thinking="Hm."))["output"]
    )


def test_an_end_that_was_held_back_is_told() -> None:
    one = story()
    events = told(one.piece(word("Hel")), one.end(answer("Hello.")))
    assert [event["delta"] for event in events if "delta" in event] == ["Hel", "lo."]


def test_what_was_told_cannot_be_taken_back() -> None:
    one = story()
    events = told(one.piece(word("Hello. ")), one.end(answer("Hello.")))
    assert last(events)["output"][0]["content"][0]["text"] == "Hello. "


def test_an_empty_answer_is_a_message_all_the_same() -> None:
    one = story()
    events = told(one.end(answer("")))
    assert types(events) == [*TEXT_BEGINS, *TEXT_ENDS, "completed"]


def test_calls_are_told_one_after_the_other() -> None:
    one = story()
    pieces = [
        call("", "add", "c1"),
        call('{"a"', index=0),
        call(": 1}", index=0),
        call("", "sub", "c2", index=1),
        call("{}", index=1),
    ]
    final = answer("", ("add", {"a": 1}, "c1"), ("sub", {}, "c2"))
    events = told(*(one.piece(each) for each in pieces), one.end(final))
    assert types(events) == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    calls = last(events)["output"]
    assert [(each["call_id"], each["name"], each["arguments"]) for each in calls] == [
        ("c1", "add", '{"a": 1}'),
        ("c2", "sub", "{}"),
    ]
    assert [event["output_index"] for event in events[:-1]] == [0] * 5 + [1] * 4


def test_calls_that_a_provider_numbers_alike_are_told_apart_by_their_ids() -> None:
    one = story()
    final = answer("", ("add", {}, "c1"), ("add", {}, "c2"))
    events = told(one.piece(call("{}", "add", "c1")), one.piece(call("{}", "add", "c2")), one.end(final))
    assert [each["call_id"] for each in last(events)["output"]] == ["c1", "c2"]


def test_a_call_without_an_id_gets_one() -> None:
    one = story()
    events = told(one.piece(call("{}", "add", index=None)), one.end(answer("", ("add", {}, None))))
    [found] = last(events)["output"]
    assert found["call_id"] == FRAME.id.of("call", 0)


def test_calls_that_were_not_streamed_follow_those_that_were() -> None:
    one = story()
    final = answer("", ("add", {}, "c1"), ("sub", {"b": 2}, "c2"))
    events = told(one.piece(call("{}", "add", "c1")), one.end(final))
    assert [each["arguments"] for each in last(events)["output"]] == ["{}", '{"b": 2}']


@pytest.mark.parametrize("thinking", [thought, thought_in_a_block])
def test_text_thoughts_and_calls_are_items_of_their_own(thinking: Callable[[str], AIMessageChunk]) -> None:
    one = story()
    pieces = [thinking("Hm. "), thinking("Yes."), word("Let me see."), call("{}", "add", "c1")]
    final = answer("Let me see.", ("add", {}, "c1"), thinking="Hm. Yes.")
    events = told(*(one.piece(each) for each in pieces), one.end(final))
    output = last(events)["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "Hm. Yes."}]
    assert [event["output_index"] for event in events if event["type"].endswith("item.done")] == [0, 1, 2]


def test_progress_and_thoughts_are_parts_of_one_summary() -> None:
    one = story()
    events = told(
        one.progress("draft: asking 2 proposers"),
        one.progress("writing the answer"),
        one.piece(thought("Hm.")),
        one.piece(word("Hello.")),
        one.end(answer("Hello.", thinking="Hm.")),
    )
    reasoning = last(events)["output"][0]
    assert [part["text"] for part in reasoning["summary"]] == [
        "draft: asking 2 proposers\nwriting the answer\n",
        "Hm.",
    ]
    assert types(events)[:6] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    assert {event["summary_index"] for event in events if "summary_index" in event} == {0, 1}


def test_progress_is_told_only_until_the_answer_begins() -> None:
    one = story()
    events = told(one.piece(word("Hello.")), one.progress("late"), one.end(answer("Hello.")))
    assert [item["type"] for item in last(events)["output"]] == ["message"]


def test_thoughts_that_come_late_are_not_told_after_the_answer() -> None:
    one = story()
    events = told(one.piece(word("Hello.")), one.end(answer("Hello.", thinking="Hm.")))
    assert [item["type"] for item in last(events)["output"]] == ["message"]


def test_a_run_that_fails_ends_the_stream_with_what_was_told() -> None:
    one = story()
    error = QuorumNotMet("too few\n  secret words", usage=USAGE)
    events = told(one.begin(), one.piece(word("Hel")), one.fail(error))
    assert types(events)[-4:] == [*TEXT_ENDS, "failed"]
    failed = last(events)
    assert failed["error"] == {"code": "server_error", "message": "too few"}
    assert [(item["status"], item["content"][0]["text"]) for item in failed["output"]] == [
        ("incomplete", "Hel")
    ]
    assert failed["usage"]["input_tokens"] == 7


def test_an_error_that_nobody_expected_says_nothing_of_itself() -> None:
    events = told(story().fail(ValueError("secret")))
    assert last(events)["error"]["message"] == "the server failed; the error is in its log"
    assert last(events)["usage"] is None


def cut(kind: str, text: str = "Hello, wor") -> AggregatorFailed:
    failure = {"kind": kind, "message": "raise max_tokens", "retryable": False, "status_code": None}
    record = {"id": "aggregator/z", "layer": "aggregator", "text": text, "failure": failure}
    return AggregatorFailed("the aggregator failed", proposals=[record], usage=USAGE)


def test_an_answer_that_was_cut_at_its_limit_is_incomplete() -> None:
    events = told(story().fail(cut("truncated")))
    assert types(events)[-1] == "incomplete"
    response = last(events)
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert [(item["status"], item["content"][0]["text"]) for item in response["output"]] == [
        ("incomplete", "Hello, wor")
    ]
    assert response["error"] is None


def test_a_beginning_that_was_streamed_is_not_told_again() -> None:
    one = story()
    events = told(one.piece(word("Hello, wor")), one.fail(cut("truncated")))
    assert [event["delta"] for event in events if "delta" in event] == ["Hello, wor"]


def test_of_a_filtered_answer_nothing_is_told() -> None:
    events = told(story().fail(cut("filtered")))
    assert types(events) == ["incomplete"]
    assert last(events)["incomplete_details"] == {"reason": "content_filter"}
    assert last(events)["output"] == []
