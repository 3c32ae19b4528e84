"""What clients of `POST /v1/responses` see, with in-process models behind the whole application."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai.types.responses import Response
from pydantic import SecretStr

from moa_graph.models.failures import ProviderError
from moa_graph.server.keys import KeyLimits, add_key
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel
from tests.server.asgi import Reply, ask
from tests.server.responses.desk import ADD, desk, events_of, team

WHY: Any = {"model": "team", "input": "Why?"}
ANSWER = "An answer to: Why?"


def refusing() -> ScriptedChatModel:
    return ScriptedChatModel(ProviderError("secret words", status_code=400))


def cut_short() -> ScriptedChatModel:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    return ScriptedChatModel(
        AIMessage("Hello, wor", response_metadata={"finish_reason": "length"}, usage_metadata=usage)
    )


async def test_openais_client_gets_an_answer() -> None:
    async with desk() as one:
        response = await one.client().responses.create(**WHY, instructions="Be brief.")
        assert isinstance(response, Response)
        assert response.output_text == ANSWER
        assert (response.status, response.model, response.instructions) == ("completed", "team", "Be brief.")
        assert response.usage is not None
        assert response.usage.input_tokens == 9  # the aggregator's 7, and 2 messages to the proposer
        assert [message.type for message in one.models["p"].calls[0]] == ["system", "human"]


async def test_openais_client_follows_a_stream() -> None:
    async with desk() as one:
        async with one.client().responses.stream(**WHY) as stream:
            texts = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            final = await stream.get_final_response()
        assert texts == ["An ", "answer ", "to: ", "Why?"]
        assert final.output_text == ANSWER
        assert final.usage is not None
        assert final.usage.total_tokens > 12


async def test_openais_client_calls_a_function_and_hands_in_its_output() -> None:
    async with desk() as one:
        client = one.client()
        first = await client.responses.create(
            model="team", input="What is 2 + 3?", tools=[ADD], tool_choice="auto"
        )
        [call] = first.output
        assert call.type == "function_call"
        assert json.loads(call.arguments) == {"a": 2, "b": 3}
        second = await client.responses.create(
            model="team",
            previous_response_id=first.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "5"}],
            tools=[ADD],
        )
        assert second.output_text == "Done: 5"
        assert one.calls("p") == 1  # once per user turn
        assert one.calls("z") == 2


@pytest.mark.parametrize("previous", [True, False])
async def test_langchains_client_runs_a_loop_of_tools_by_responses(previous: bool) -> None:
    async with desk(z=ActingChatModel(steps=2)) as one:
        model = ChatOpenAI(
            model="team",
            api_key=SecretStr("none"),
            base_url="http://127.0.0.1/v1",
            http_async_client=one.http,
            use_responses_api=True,
            use_previous_response_id=previous,
            max_retries=0,
        )

        @tool
        def add(a: float, b: float) -> float:
            """Add two numbers."""
            return a + b

        messages: list[Any] = [HumanMessage("What is 2 + 3?")]
        for _ in range(3):
            messages.append(await model.bind_tools([add]).ainvoke(messages))
            messages += [await add.ainvoke(call) for call in messages[-1].tool_calls]
        assert messages[-1].text == "Done: 5.0"
        assert one.calls("p") == 1
        streamed = [chunk.text async for chunk in model.astream("Why?")]
        assert "".join(streamed) == ANSWER


@pytest.mark.parametrize("kept", [True, False])
async def test_a_loop_of_tools_that_sends_the_whole_conversation_asks_proposers_once(kept: bool) -> None:
    async with desk(z=ActingChatModel(steps=3)) as one:
        items: list[Any] = [{"role": "user", "content": "What is 2 + 3?"}]
        for _ in range(4):
            response = await one.post({"input": items, "tools": [ADD], "store": kept})
            items += response["output"]
            items += [
                {"type": "function_call_output", "call_id": item["call_id"], "output": "5"}
                for item in response["output"]
                if item["type"] == "function_call"
            ]
        assert response["output"][0]["content"][0]["text"] == "Done: 5"
        assert one.calls("p") == 1


async def test_calls_are_streamed_in_pieces() -> None:
    async with desk() as one:
        events = await one.streamed({"input": "What is 2 + 3?", "tools": [ADD]})
        pieces = [each["delta"] for each in events if each["type"].endswith("arguments.delta")]
        assert len(pieces) == 2
        [call] = events[-1]["response"]["output"]
        assert "".join(pieces) == call["arguments"] == '{"a": 2.0, "b": 3.0}'


async def test_a_form_is_passed_to_the_aggregator() -> None:
    form = {
        "type": "json_schema",
        "name": "sum",
        "schema": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]},
    }
    async with desk() as one:
        response = await one.post({"input": "7", "text": {"format": form}})
        assert json.loads(response["output"][0]["content"][0]["text"]) == {"n": 7}
        assert response["text"]["format"] == form


async def test_an_unknown_model_is_not_found() -> None:
    async with desk() as one:
        with pytest.raises(openai.NotFoundError) as error:
            await one.client().responses.create(model="gone", input="Why?")
        assert (error.value.code, error.value.param) == ("model_not_found", "model")
        assert one.calls("p") == 0


async def test_a_body_that_cannot_be_used_calls_nobody() -> None:
    async with desk() as one:
        status, error = await one.refused({"tools": [{"type": "web_search"}]})
        assert (status, error["param"]) == (400, "tools[0].type")
        with pytest.raises(openai.BadRequestError):
            await one.client().responses.create(model="team", input="Why?", truncation="auto")
        assert one.calls("p") == 0


async def test_without_a_key_nothing_is_told(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret = add_key(file, "anne", KeyLimits())
    async with desk(keys=file) as one:
        response = await one.client(secret).responses.create(**WHY)
        for method, path in [
            ("POST", ""),
            ("GET", f"/{response.id}"),
            ("DELETE", f"/{response.id}"),
            ("POST", f"/{response.id}/cancel"),
        ]:
            status, data = await one.ask(method, path, WHY if method == "POST" else None)
            assert (status, data["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("stream", [False, True])
async def test_whoever_is_not_admitted_gets_a_status(stream: bool) -> None:
    async with desk(settings={"limits": KeyLimits(requests_per_minute=1)}) as one:
        await one.post(WHY)
        status, error = await one.refused({"stream": stream})
        assert status == 429
        assert error["type"] == "rate_limit_error"


async def test_a_run_that_fails_is_an_error() -> None:
    async with desk(p=refusing()) as one:
        status, error = await one.refused({})
        assert (status, error["code"]) == (502, "run_failed")
        assert "draft/p" in error["message"]
        assert "secret" not in error["message"]


async def test_a_stream_whose_run_fails_ends_with_that() -> None:
    async with desk(p=refusing()) as one:
        events = await one.streamed({"input": "Why?"})
        assert [event["type"] for event in events] == [
            "response.created",
            "response.in_progress",
            "response.failed",
        ]
        failed = events[-1]["response"]
        assert "draft/p" in failed["error"]["message"]
        kept = await one.get(failed["id"])
        assert (kept["status"], kept["error"]) == ("failed", failed["error"])
        assert one.log[0]["error"] == "run_failed"


async def test_an_answer_that_was_cut_is_incomplete_wherever_it_is_told() -> None:
    async with desk(z=cut_short()) as one:
        whole = await one.post({"input": "Why?"})
        events = await one.streamed({"input": "Why?"})
        kept = await one.get(whole["id"])
        for response in (whole, events[-1]["response"], kept):
            assert response["status"] == "incomplete"
            assert response["incomplete_details"] == {"reason": "max_output_tokens"}
            assert response["output"][0]["content"][0]["text"] == "Hello, wor"
            assert response["usage"]["output_tokens"] >= 2


async def test_progress_is_told_as_reasoning_where_it_is_wanted() -> None:
    async with desk() as one:
        events = await one.streamed({"input": "Why?"}, X_MoA_Progress="true")
        reasoning, message = events[-1]["response"]["output"]
        assert "draft: asking 1 proposer" in reasoning["summary"][0]["text"]
        assert message["content"][0]["text"] == ANSWER
        quiet = await one.streamed({"input": "Why?"})
        assert [item["type"] for item in quiet[-1]["response"]["output"]] == ["message"]


async def test_details_are_told_where_they_are_wanted() -> None:
    async with desk() as one:
        whole = await one.post({"input": "Why?", "metadata": {"moa": "true"}})
        events = await one.streamed({"input": "Why?"}, X_MoA_Detail="true")
        for response in (whole, events[-1]["response"], await one.get(whole["id"])):
            assert response["moa"]["answered_by"] == "z"
            assert [each["text"] for each in response["moa"]["proposals"]] == ["A proposal."]
        assert "moa" not in await one.post({"input": "Why?"})


async def test_the_limits_of_a_request_lower_those_of_the_spec() -> None:
    async with desk() as one:
        status, error = await one.refused({"moa": {"limits": {"max_calls": 1}}})
        assert (status, error["code"], error["param"]) == (400, "invalid_value", "moa.limits")
        assert one.calls("p") == 0
        events = await one.streamed({"input": "Why?", "moa": {"limits": {"max_output_chars": 1}}})
        assert events[-1]["type"] == "response.failed"
        assert one.calls("z") == 0


async def test_a_silent_stream_is_kept_alive() -> None:
    held = asyncio.Event()
    async with desk(settings={"silence": 0.01}, p=ScriptedChatModel("A proposal.", wait=held.wait)) as one:
        reply = Reply()
        asking = asyncio.create_task(_post(one, {**WHY, "stream": True}, reply))
        async with asyncio.timeout(5):
            while b": still working\n\n" not in reply.body:  # noqa: ASYNC110
                await asyncio.sleep(0)
        held.set()
        await asking
        assert events_of(reply.body.decode())[-1]["type"] == "response.completed"


@pytest.mark.parametrize("stream", [False, True])
async def test_when_the_client_goes_the_calls_are_cancelled(stream: bool) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await never.wait()

    async with desk(p=ScriptedChatModel("A proposal.", wait=wait)) as one:
        await _post(one, {**WHY, "stream": stream, "store": False}, Reply(), gone=begun)
        async with asyncio.timeout(1):
            while one.models["p"].cancelled != 1:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert one.log[0]["client_gone"]
        assert one.log[0]["run"] == "cancelled"


async def test_the_log_names_the_response() -> None:
    async with desk() as one:
        response = await one.post(WHY)
        await one.get(response["id"])
        asked, kept = one.log
        assert (asked["response"], asked["key"], asked["model"]) == (response["id"], "local", "team")
        assert asked["calls"] == 2
        assert kept["response"] == response["id"]


async def test_two_models_are_two() -> None:
    async with desk([team(), team("other")]) as one:
        assert (await one.post({"model": "other", "input": "Why?"}))["model"] == "other"


async def _post(one: Any, body: Any, reply: Reply, gone: asyncio.Event | None = None) -> None:
    """Send a request to the application; its client goes once `gone` is set."""
    content = [json.dumps(body).encode()]
    headers = {"host": "127.0.0.1", "content-type": "application/json"}
    if gone is None:
        await ask(one.app, "POST", "/v1/responses", headers=headers, body=content, reply=reply)
        return

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def after() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect":
                await gone.wait()
            return {**message, "more_body": False} if message["type"] == "http.request" else message

        await one.app(scope, after, send)

    await ask(app, "POST", "/v1/responses", headers=headers, body=content, gone=True, reply=reply)
