"""Responses through OpenAI's own Python client, from a server that really runs."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from tests.server.clients.house import FUNCTION, USAGE, House, until

DONE = "Done: After 3 comes 4."
OUTPUT = "After 3 comes 4."


class Report(BaseModel):
    number: int


def tokens_of(response: Response) -> tuple[int, int, int]:
    usage = response.usage
    assert usage is not None
    return usage.input_tokens, usage.output_tokens, usage.total_tokens


def ended(client: OpenAI, response: Response) -> Response:
    """Return a background response once it has ended."""

    def look() -> Response | None:
        found = client.responses.retrieve(response.id)
        return None if found.status in {"queued", "in_progress"} else found

    return until(look, 30)


# -- answers --------------------------------------------------------------------------------------------


def test_a_response_has_the_answer_and_the_usage_of_all(house: House, client: OpenAI) -> None:
    response = client.responses.create(model="team", input="Why?", instructions="Be kind.")
    assert (response.status, response.output_text) == ("completed", "An answer to: Why?")
    assert tokens_of(response) == tuple(USAGE.values())
    assert response.instructions == "Be kind."
    assert house.count() == 3
    assert "Be kind." in json.dumps(house.upstream.of("acts-1@z")[0].messages)


def test_a_stream_tells_what_becomes_of_a_response(client: OpenAI) -> None:
    events = list(client.responses.create(model="team", input="Why?", stream=True))
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1
    last: Any = events[-1]
    assert "".join(deltas) == last.response.output_text == "An answer to: Why?"
    assert tokens_of(last.response) == tuple(USAGE.values())


def test_the_clients_own_accumulator_puts_a_stream_together(client: OpenAI) -> None:
    with client.responses.stream(model="team", input="Why?") as stream:
        response = stream.until_done().get_final_response()
    assert response.output_text == "An answer to: Why?"


def test_an_answer_comes_in_the_form_that_was_asked_for(client: OpenAI) -> None:
    response = client.responses.parse(model="team", input="Report 7.", text_format=Report)
    assert response.output_parsed == Report(number=7)


def test_what_happened_inside_is_told_to_whom_asks_for_it(client: OpenAI) -> None:
    response = client.responses.create(model="team", input="Why?", extra_headers={"X-MoA-Detail": "true"})
    assert (response.model_extra or {})["moa"]["calls"] == 3
    assert "moa" not in (client.responses.create(model="team", input="Why?").model_extra or {})


def test_progress_is_shown_as_a_summary_of_reasoning(client: OpenAI) -> None:
    events = list(
        client.responses.create(
            model="team", input="Why?", stream=True, extra_headers={"X-MoA-Progress": "true"}
        )
    )
    told = "".join(event.delta for event in events if event.type == "response.reasoning_summary_text.delta")
    assert told.splitlines()[0] == "layer-1: asking 2 proposers"


# -- tools ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_is_called_and_its_output_answered_in_the_next_response(
    house: House, client: OpenAI, stream: bool
) -> None:
    def ask(**parts: Any) -> Response:
        if not stream:
            return client.responses.create(model="team", tools=[FUNCTION], **parts)
        with client.responses.stream(model="team", tools=[FUNCTION], **parts) as told:
            return told.until_done().get_final_response()

    first = ask(input="Count on from 3.")
    (call,) = first.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.status) == ("count", {"start": 3}, "completed")

    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": OUTPUT}
    second = ask(input=[output], previous_response_id=first.id)
    assert second.output_text == DONE
    assert [house.count(name) for name in ("usage-10-3@a", "usage-10-3@b", "acts-1@z")] == [1, 1, 2]


def test_a_client_that_keeps_the_conversation_itself_sends_the_call_back(
    house: House, client: OpenAI
) -> None:
    items: list[Any] = [{"role": "user", "content": "Count on from 3."}]
    first = client.responses.create(model="team", input=items, tools=[FUNCTION], store=False)
    items += [item.model_dump(exclude_none=True) for item in first.output]
    call: Any = first.output[0]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": OUTPUT})
    second = client.responses.create(model="team", input=items, tools=[FUNCTION], store=False)
    assert second.output_text == DONE
    assert house.count("usage-10-3@a", "usage-10-3@b") == 2


# -- what is kept ---------------------------------------------------------------------------------------


def test_a_response_goes_on_from_another_one(house: House, client: OpenAI) -> None:
    first = client.responses.create(model="team", input="I like tea.")
    second = client.responses.create(model="team", input="And you?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    asked = house.upstream.of("usage-10-3@a")[1].messages
    told = [message["content"] for message in asked if message["role"] != "system"]
    assert told == ["I like tea.", "An answer to: I like tea.", "And you?"]

    other = client.responses.create(model="team", input="Or not?", previous_response_id=first.id)
    asked = house.upstream.of("usage-10-3@a")[2].messages
    assert [message["content"] for message in asked if message["role"] != "system"][1:] == [
        "An answer to: I like tea.",
        "Or not?",
    ]
    assert client.responses.retrieve(second.id).output_text == "An answer to: And you?"
    assert client.responses.retrieve(other.id).output_text == "An answer to: Or not?"


def test_a_response_is_kept_until_it_is_deleted(client: OpenAI) -> None:
    made = client.responses.create(model="team", input="Why?", metadata={"topic": "sky"})
    found = client.responses.retrieve(made.id)
    assert (found.output, found.usage, found.metadata) == (made.output, made.usage, {"topic": "sky"})
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_what_is_not_to_be_stored_is_not_there(client: OpenAI) -> None:
    made = client.responses.create(model="team", input="Why?", store=False)
    assert made.store is False  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_responses_are_seen_by_their_own_key_alone(house: House, client: OpenAI) -> None:
    made = client.responses.create(model="team", input="Why?")
    with house.client(house.key()) as stranger:
        for ask in (stranger.responses.retrieve, stranger.responses.delete, stranger.responses.cancel):
            with pytest.raises(openai.NotFoundError) as caught:
                ask(made.id)
            assert caught.value.code == "response_not_found"
        with pytest.raises(openai.NotFoundError):
            stranger.responses.create(model="team", input="And?", previous_response_id=made.id)
    assert client.responses.retrieve(made.id).output_text


def test_a_request_with_a_key_of_its_own_is_paid_for_once(house: House, client: OpenAI) -> None:
    once = {"Idempotency-Key": "question-2"}
    first = client.responses.create(model="team", input="Once?", extra_headers=once)
    second = client.responses.create(model="team", input="Once?", extra_headers=once)
    assert (first.id, first.output) == (second.id, second.output)
    assert house.count() == 3
    with pytest.raises(openai.UnprocessableEntityError):
        client.responses.create(model="team", input="Twice?", extra_headers=once)


# -- in the background ----------------------------------------------------------------------------------


def test_a_background_response_is_there_when_it_is_done(house: House, client: OpenAI) -> None:
    made = client.responses.create(model="team", input="Why?", background=True)
    assert made.status in {"queued", "in_progress"}
    assert made.background is True
    done = ended(client, made)
    assert (done.id, done.status, done.output_text) == (made.id, "completed", "An answer to: Why?")
    assert tokens_of(done) == tuple(USAGE.values())
    assert house.count() == 3


def test_a_background_response_is_cancelled_and_its_calls_end(house: House, client: OpenAI) -> None:
    made = client.responses.create(model="slow", input="Why?", background=True)
    assert house.upstream.wait_for(lambda: house.count("hang@p") == 1, 30)
    assert client.responses.retrieve(made.id).status == "in_progress"
    assert client.responses.cancel(made.id).status == "cancelled"
    assert house.upstream.wait_for(lambda: house.upstream.of("hang@p")[0].outcome == "disconnected", 5)
    assert client.responses.retrieve(made.id).status == "cancelled"


def test_nothing_goes_on_from_a_response_without_an_answer(house: House, client: OpenAI) -> None:
    made = client.responses.create(model="slow", input="Why?", background=True)
    with pytest.raises(openai.ConflictError) as caught:
        client.responses.create(model="slow", input="And?", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_answered"
    client.responses.cancel(made.id)


# -- errors ---------------------------------------------------------------------------------------------


def test_what_cannot_be_had_is_a_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="team", input="Why?", tools=[{"type": "web_search"}])
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools[0].type")


def test_a_wrong_key_is_an_authentication_error(house: House) -> None:
    with house.client("moa-wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.responses.create(model="team", input="Why?")


def test_a_used_up_key_is_a_rate_limit_error(house: House) -> None:
    with house.client(house.key(requests_per_minute=1)) as guest:
        guest.responses.create(model="team", input="Why?")
        with pytest.raises(openai.RateLimitError):
            guest.responses.create(model="team", input="Why?")


def test_a_stream_that_fails_ends_with_a_failed_response(client: OpenAI) -> None:
    events = list(client.responses.create(model="broken", input="Why?", stream=True))
    last: Any = events[-1]
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert "layer-1/500-g" in last.response.error.message
