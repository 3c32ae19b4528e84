"""Chat completions through OpenAI's own Python client, from a server that really runs."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.server.clients.house import COUNT, USAGE, House, said

DONE = "Done: After 3 comes 4."


class Report(BaseModel):
    number: int


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def result_of(call: Any) -> list[Any]:
    """Return what a client sends back after a call: the call, and what came of it."""
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    start = json.loads(call["function"]["arguments"])["start"]
    content = f"After {start} comes {start + 1}."
    return [message, {"role": "tool", "tool_call_id": call["id"], "content": content}]


# -- answers --------------------------------------------------------------------------------------------


def test_each_spec_is_a_model(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:2] == ["team", "agent"]
    assert client.models.retrieve("agent").owned_by == "moa_graph"


def test_a_mixture_answers_as_one_model_with_the_usage_of_all(house: House, client: OpenAI) -> None:
    completion = client.chat.completions.create(model="team", messages=said("Why is the sky blue?"))
    assert completion.choices[0].message.content == "An answer to: Why is the sky blue?"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.model_dump(exclude_none=True) == USAGE
    assert [house.count(name) for name in ("usage-10-3@a", "usage-10-3@b", "acts-1@z")] == [1, 1, 1]


def test_a_stream_says_the_answer_piece_by_piece_and_its_usage_at_the_end(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="team", messages=said("Why?"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert text_of(chunks) == "An answer to: Why?"
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 1
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.model_dump(exclude_none=True) == USAGE
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_without_usage_ends_with_why_it_ended(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="team", messages=said(), stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_the_clients_own_accumulator_puts_a_stream_together(client: OpenAI) -> None:
    with client.chat.completions.stream(model="team", messages=said("Why?")) as stream:
        completion = stream.get_final_completion()
    assert completion.choices[0].message.content == "An answer to: Why?"


def test_an_answer_comes_in_the_form_that_was_asked_for(house: House, client: OpenAI) -> None:
    completion = client.chat.completions.parse(
        model="team", messages=said("Report 7."), response_format=Report
    )
    assert completion.choices[0].message.parsed == Report(number=7)
    asked = house.upstream.of("acts-1@z")[0].body["response_format"]
    assert asked["json_schema"]["schema"]["required"] == ["number"]
    assert "response_format" not in house.upstream.of("usage-10-3@a")[0].body


def test_how_to_sample_is_for_whoever_writes_the_answer(house: House, client: OpenAI) -> None:
    client.chat.completions.create(
        model="team",
        messages=said(),
        temperature=0.25,
        max_completion_tokens=50,
        seed=7,
        stop=["END"],
        user="u1",
    )
    body = house.upstream.of("acts-1@z")[0].body
    assert (body["temperature"], body["seed"], body["stop"], body["user"]) == (0.25, 7, ["END"], "u1")
    assert body.get("max_tokens", body.get("max_completion_tokens")) == 50
    assert "seed" not in house.upstream.of("usage-10-3@a")[0].body


def test_images_are_passed_on_as_they_are(house: House, client: OpenAI) -> None:
    url = "data:image/png;base64,iVBORw0KGgo="
    parts: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
    ]
    client.chat.completions.create(model="team", messages=[{"role": "user", "content": parts}])
    for model in ("usage-10-3@a", "acts-1@z"):
        shown = json.dumps(house.upstream.of(model)[0].messages)
        assert url in shown
        assert '"detail": "low"' in shown


# -- tools ----------------------------------------------------------------------------------------------


def test_a_tool_is_called_and_its_result_answered_without_asking_the_proposers_again(
    house: House, client: OpenAI
) -> None:
    messages = said("Count on from 3.")
    first = client.chat.completions.create(model="team", messages=messages, tools=[COUNT])
    assert first.choices[0].finish_reason == "tool_calls"
    assert first.choices[0].message.content is None
    (call,) = first.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("count", {"start": 3})

    messages += result_of(call.model_dump())
    second = client.chat.completions.create(model="team", messages=messages, tools=[COUNT])
    assert second.choices[0].message.content == DONE
    assert [house.count(name) for name in ("usage-10-3@a", "usage-10-3@b", "acts-1@z")] == [1, 1, 2]
    assert "Answer of usage-10-3@a" in json.dumps(house.upstream.of("acts-1@z")[1].messages)


def test_calls_of_tools_are_streamed_in_pieces(house: House, client: OpenAI) -> None:
    messages = said("Count on from 3.")
    with client.chat.completions.stream(model="team", messages=messages, tools=[COUNT]) as stream:
        events = list(stream)
        completion = stream.get_final_completion()
    kind = "tool_calls.function.arguments.delta"
    pieces = [event.arguments_delta for event in events if event.type == kind]
    assert [piece for piece in pieces if piece] == ['{"star', 't": 3}']
    assert completion.choices[0].finish_reason == "tool_calls"
    (call,) = completion.choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("count", {"start": 3})

    made = {
        **call.model_dump(include={"id", "type"}),
        "function": {"name": "count", "arguments": '{"start":3}'},
    }
    messages += result_of(made)
    chunks = list(client.chat.completions.create(model="team", messages=messages, tools=[COUNT], stream=True))
    assert text_of(chunks) == DONE
    assert house.count("usage-10-3@a", "usage-10-3@b") == 2


def test_a_tool_that_has_to_be_called_is_called(house: House, client: OpenAI) -> None:
    choice: Any = {"type": "function", "function": {"name": "count"}}
    completion = client.chat.completions.create(
        model="team",
        messages=said("Count on from 3."),
        tools=[COUNT],
        tool_choice=choice,
        parallel_tool_calls=False,
    )
    assert completion.choices[0].message.tool_calls
    body = house.upstream.of("acts-1@z")[0].body
    assert body["tool_choice"] == choice
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize("told", [0, 1], ids=["no-result", "one-of-two"])
def test_calls_without_their_results_are_refused_before_anybody_is_paid(
    house: House, client: OpenAI, told: int
) -> None:
    function = {"name": "count", "arguments": "{}"}
    calls = [{"id": f"call_{number}", "type": "function", "function": function} for number in range(2)]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "4"} for call in calls[:told]]
    messages: Any = [
        *said("Count."),
        {"role": "assistant", "content": None, "tool_calls": calls},
        *results,
        *said("Never mind."),
    ]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="team", messages=messages, tools=[COUNT])
    assert house.count() == 0


# -- what is ours ---------------------------------------------------------------------------------------


def test_what_happened_inside_is_told_to_whom_asks_for_it(client: OpenAI) -> None:
    plain = client.chat.completions.create(model="team", messages=said())
    assert not plain.model_extra
    completion = client.chat.completions.create(
        model="team", messages=said(), extra_headers={"X-MoA-Detail": "true"}
    )
    moa: Any = (completion.model_extra or {})["moa"]
    assert (moa["answered_by"], moa["calls"]) == ("acts-1-z", 3)
    assert {proposal["id"] for proposal in moa["proposals"]} == {
        "layer-1/usage-10-3-a",
        "layer-1/usage-10-3-b",
    }
    again = client.chat.completions.create(model="team", messages=said(), metadata={"moa": "true"})
    assert (again.model_extra or {})["moa"]["counts"]["ok"] == 2


def test_a_stream_tells_it_with_the_end(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="team", messages=said(), stream=True, extra_headers={"X-MoA-Detail": "true"}
        )
    )
    assert [bool(chunk.model_extra) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert (chunks[-1].model_extra or {})["moa"]["calls"] == 3


def test_limits_of_a_run_are_lowered_by_whoever_asks(house: House, client: OpenAI) -> None:
    def refused(**limits: float) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(
                model="team", messages=said(), extra_body={"moa": {"limits": limits}}
            )
        return caught.value

    error = refused(max_calls=2)  # both go to the proposers
    assert (error.status_code, error.code) == (402, "budget_exceeded")
    assert house.count() == 2
    for limits, why in (({"max_calls": 1}, "1 calls cannot give an answer"), ({"max_cost": 1.0}, "price")):
        error = refused(**limits)
        assert (error.status_code, error.param) == (400, "moa.limits")
        assert why in error.message
    assert house.count() == 2


def test_progress_is_shown_as_reasoning_to_whom_asks_for_it(client: OpenAI) -> None:
    def reasoning(**headers: str) -> str:
        stream = client.chat.completions.create(
            model="team", messages=said(), stream=True, extra_headers=headers
        )
        deltas = [chunk.choices[0].delta.model_extra or {} for chunk in stream if chunk.choices]
        return "".join(delta.get("reasoning_content", "") for delta in deltas)

    assert reasoning() == ""
    told = reasoning(**{"X-MoA-Progress": "true"}).splitlines()
    assert told[0] == "layer-1: asking 2 proposers"
    assert told[-1] == "writing the answer"


def test_every_answer_bears_the_id_of_its_request(client: OpenAI) -> None:
    ours = client.chat.completions.with_raw_response.create(model="team", messages=said())
    assert ours.headers["x-request-id"].startswith("req_")
    assert ours.parse()._request_id == ours.headers["x-request-id"]
    theirs = client.chat.completions.with_raw_response.create(
        model="team", messages=said(), extra_headers={"X-Request-ID": "mine-1"}
    )
    assert theirs.headers["x-request-id"] == "mine-1"


def test_a_request_with_a_key_of_its_own_is_paid_for_once(house: House, client: OpenAI) -> None:
    once = {"Idempotency-Key": "question-1"}
    first = client.chat.completions.create(model="team", messages=said("Once?"), extra_headers=once)
    second = client.chat.completions.create(model="team", messages=said("Once?"), extra_headers=once)
    assert (first.id, first.choices, first.usage) == (second.id, second.choices, second.usage)
    assert house.count() == 3

    streamed = list(
        client.chat.completions.create(model="team", messages=said("Once?"), extra_headers=once, stream=True)
    )
    assert text_of(streamed) == first.choices[0].message.content
    assert house.count() == 3
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="team", messages=said("Twice?"), extra_headers=once)


def test_a_thread_that_its_client_names_holds_the_conversation(house: House, client: OpenAI) -> None:
    there = {"X-MoA-Thread": "holiday"}
    first = client.chat.completions.with_raw_response.create(
        model="team", messages=said("I like tea."), extra_headers=there
    )
    assert first.headers["x-moa-thread"] == "holiday"
    client.chat.completions.create(model="team", messages=said("And you?"), extra_headers=there)
    asked = house.upstream.of("usage-10-3@a")[1].messages
    told = [message["content"] for message in asked if message["role"] != "system"]
    assert told == ["I like tea.", "An answer to: I like tea.", "And you?"]

    with house.client(house.key()) as other:
        other.chat.completions.create(model="team", messages=said("What?"), extra_headers=there)
    asked = house.upstream.of("usage-10-3@a")[2].messages
    assert [message["content"] for message in asked if message["role"] != "system"] == ["What?"]


# -- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["none", "moa-0000000000000000000000000000000000000000000"])
def test_a_wrong_key_is_an_authentication_error(house: House, secret: str) -> None:
    with house.client(secret) as stranger, pytest.raises(openai.AuthenticationError) as caught:
        stranger.chat.completions.create(model="team", messages=said())
    assert caught.value.code == "invalid_api_key"
    assert secret not in str(caught.value)
    assert house.count() == 0


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=said())
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_had_is_a_bad_request(house: House, client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="team", messages=said(), n=2, stream=stream)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "n")
    assert house.count() == 0


def test_what_nobody_knows_is_tolerated(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="team", messages=said(), extra_body={"some_day": {"perhaps": True}}
    )
    assert completion.choices[0].message.content


def test_a_used_up_key_is_a_rate_limit_error_that_says_when_to_ask_again(house: House) -> None:
    with house.client(house.key(requests_per_minute=1)) as guest:
        guest.chat.completions.create(model="team", messages=said())
        with pytest.raises(openai.RateLimitError) as caught:
            guest.chat.completions.create(model="team", messages=said(), stream=True)
    assert caught.value.code == "rate_limit_exceeded"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert house.count() == 3


def test_a_mixture_that_fails_is_a_server_error_that_tells_no_secrets(house: House, client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="broken", messages=said())
    assert (caught.value.status_code, caught.value.code) == (502, "run_failed")
    assert "layer-1/500-g" in caught.value.message
    assert house.upstream.base_url not in caught.value.message
    assert "API key" not in caught.value.message


def test_an_error_in_a_stream_is_raised_by_the_client(client: OpenAI) -> None:
    stream = client.chat.completions.create(model="broken", messages=said(), stream=True)
    with pytest.raises(openai.APIError, match="layer-1"):
        list(stream)
