from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import openai
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from pydantic import BaseModel

from moa_graph.models.failures import ModelOutputError, ProviderError
from moa_graph.models.openai import ChatCompletionsModel
from moa_graph.models.providers import build_model
from moa_graph.spec.schema import ModelSpec
from tests.fakes.openai_server import FakeOpenAI

QUESTION = [SystemMessage("Be brief."), HumanMessage("What is MoA?")]
CANARY = "sk-canary-0123456789"


def model_of(server: FakeOpenAI, name: str, **options: Any) -> ChatCompletionsModel:
    spec = {"model": f"openai:{name}", "base_url": server.base_url, "api_key_env": "none", **options}
    model = build_model(ModelSpec(**spec))
    assert isinstance(model, ChatCompletionsModel)
    return model


async def streamed(model: ChatCompletionsModel, **options: Any) -> AIMessageChunk:
    chunks = [chunk async for chunk in model.astream(QUESTION, **options)]
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


async def ask(model: ChatCompletionsModel, *, stream: bool, **options: Any) -> AIMessage:
    return await streamed(model, **options) if stream else await model.ainvoke(QUESTION, **options)


STREAM = pytest.mark.parametrize("stream", [False, True])


@STREAM
async def test_an_answer_comes_with_its_text_usage_model_and_finish_reason(
    server: FakeOpenAI, stream: bool
) -> None:
    message = await ask(model_of(server, "ok"), stream=stream)
    assert str(message.text).startswith("Answer of ok to ")
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] > 0
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["model_name"] == "ok-2024"
    assert message.response_metadata["model_provider"] == "openai"


async def test_streaming_gives_the_text_of_invoke(server: FakeOpenAI) -> None:
    model = model_of(server, "long-2000")
    assert (await streamed(model)).text == (await model.ainvoke(QUESTION)).text


class Tokens(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)


def test_sync_calls_work_too(server: FakeOpenAI) -> None:
    model, seen = model_of(server, "ok"), Tokens()
    whole = model.invoke(QUESTION)
    pieces = [str(chunk.text) for chunk in model.stream(QUESTION, {"callbacks": [seen]})]
    assert "".join(pieces) == "".join(seen.tokens) == whole.text
    assert len(pieces) > 2


async def test_tokens_reach_callbacks_while_streaming(server: FakeOpenAI) -> None:
    seen = Tokens()
    chunks = [chunk async for chunk in model_of(server, "ok").astream(QUESTION, {"callbacks": [seen]})]
    assert "".join(seen.tokens) == "".join(str(chunk.text) for chunk in chunks)


def test_one_model_serves_event_loops_one_after_the_other_and_at_once(server: FakeOpenAI) -> None:
    model = model_of(server, "meet-2@loops")
    texts = []
    threads = [
        threading.Thread(target=lambda: texts.append(asyncio.run(model.ainvoke(QUESTION)).text))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(texts)) == 1
    ok = model_of(server, "ok")
    assert asyncio.run(ok.ainvoke(QUESTION)).text == asyncio.run(ok.ainvoke(QUESTION)).text


async def test_the_request_is_what_compatible_servers_know(server: FakeOpenAI) -> None:
    model = model_of(
        server, "ok", temperature=0.3, max_tokens=77, params={"top_p": 0.9, "top_k": 40, "stop": ["END"]}
    )
    await model.ainvoke(QUESTION)
    body = server.requests[0].body
    assert (body["temperature"], body["max_tokens"], body["top_p"], body["top_k"]) == (0.3, 77, 0.9, 40)
    assert body["stop"] == ["END"]
    assert "max_completion_tokens" not in body
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is MoA?"},
    ]
    await streamed(model)
    assert server.requests[1].body["stream_options"] == {"include_usage": True}


async def test_settings_left_to_the_provider_are_not_sent(server: FakeOpenAI) -> None:
    await model_of(server, "ok", temperature=None, max_tokens=None).ainvoke(QUESTION)
    body = server.requests[0].body
    assert not {"temperature", "max_tokens", "max_completion_tokens", "n", "user"} & body.keys()


async def test_extra_headers_query_and_body_are_sent(server: FakeOpenAI) -> None:
    params = {
        "default_headers": {"X-Title": "moa"},
        "extra_body": {"top_k": 3},
        "model_kwargs": {"extra_headers": {"X-Once": "1"}},
    }
    await model_of(server, "ok", params=params).ainvoke(QUESTION)
    request = server.requests[0]
    assert (request.headers["x-title"], request.headers["x-once"], request.body["top_k"]) == ("moa", "1", 3)
    assert "extra_body" not in request.body


@pytest.mark.parametrize("name", ["gpt-5.5-pro", "some-codex"])
async def test_no_model_name_turns_a_compatible_server_to_the_responses_api(
    server: FakeOpenAI, name: str
) -> None:
    with pytest.raises(openai.NotFoundError):
        await model_of(server, name).ainvoke(QUESTION)
    assert server.count(name) == 1
    assert server.strays == 0


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI_API_KEY",
        "OPENAI_ADMIN_KEY",
        "OPENAI_ORG_ID",
        "OPENAI_ORGANIZATION",
        "OPENAI_PROJECT_ID",
    ):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("LANGSMITH_GATEWAY_API_KEY", CANARY)
    monkeypatch.setenv("LANGSMITH_GATEWAY", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Corp: {CANARY}\nAuthorization: Bearer {CANARY}\nbroken")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")


def sent(server: FakeOpenAI) -> str:
    return json.dumps([[request.headers, request.body] for request in server.requests])


@STREAM
async def test_nothing_of_the_openai_environment_reaches_a_custom_host(
    server: FakeOpenAI, stream: bool, canaries: None
) -> None:
    await ask(model_of(server, "ok"), stream=stream)
    assert CANARY not in sent(server)
    assert "authorization" not in server.requests[0].headers


@STREAM
async def test_a_custom_host_gets_the_key_that_its_slot_names(
    server: FakeOpenAI, stream: bool, canaries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "  my-secret\n")
    await ask(model_of(server, "ok", api_key_env="MY_KEY"), stream=stream)
    assert server.requests[0].headers["authorization"] == "Bearer my-secret"
    assert CANARY not in sent(server)


async def test_without_a_base_url_the_usual_environment_holds(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "my-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    await build_model(ModelSpec(model="openai:ok")).ainvoke(QUESTION)
    assert server.requests[0].headers["authorization"] == "Bearer my-secret"


def test_without_a_base_url_requests_go_to_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "my-secret")
    monkeypatch.setenv("LANGSMITH_GATEWAY", "true")
    model = build_model(ModelSpec(model="openai:gpt-4o", max_tokens=5))
    assert isinstance(model, ChatCompletionsModel)
    assert str(model.root_async_client.base_url) == "https://api.openai.com/v1/"
    assert model._get_request_payload(QUESTION)["max_completion_tokens"] == 5


async def test_openai_s_own_reasoning_models_use_the_responses_api(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "my-secret")
    model = build_model(ModelSpec(model="openai:gpt-5.5-pro"))
    assert isinstance(model, ChatCompletionsModel)
    redirected = model.model_copy(
        update={"root_async_client": model.root_async_client.copy(base_url=server.base_url)}
    )
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError):
            await ask(redirected, stream=stream)
    assert server.strays == 2
    assert server.count() == 0


async def test_structured_output_still_works(server: FakeOpenAI) -> None:
    class Verdict(BaseModel):
        good: bool

    with pytest.raises(Exception, match=r"Invalid JSON|validation error"):  # the fake answers with plain text
        await model_of(server, "ok").with_structured_output(Verdict, method="json_schema").ainvoke(QUESTION)
    assert server.requests[0].body["response_format"]["json_schema"]["name"] == "Verdict"


_FORM = {
    "type": "json_schema",
    "json_schema": {"name": "verdict", "schema": {"type": "object", "properties": {}}},
}
_TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}  # not strict
FORM = pytest.mark.parametrize("form", [_FORM, {"type": "json_object"}], ids=["schema", "object"])


@STREAM
@FORM
@pytest.mark.parametrize(("name", "reason"), [("length", "length"), ("filter", "content_filter")])
async def test_an_answer_in_a_form_that_was_cut_is_not_lost(
    server: FakeOpenAI, name: str, reason: str, form: dict[str, Any], stream: bool
) -> None:
    message = await ask(model_of(server, name), stream=stream, response_format=form)
    assert message.text.startswith("A text that")
    assert message.response_metadata["finish_reason"] == reason
    assert message.usage_metadata is not None
    assert server.requests[0].body["response_format"] == form


@STREAM
@FORM
async def test_a_form_goes_together_with_tools_that_are_not_strict(
    server: FakeOpenAI, form: dict[str, Any], stream: bool
) -> None:
    options = {"response_format": form, "tools": [_TOOL]}
    message = await ask(model_of(server, "tool-call"), stream=stream, **options)
    assert [call["args"] for call in message.tool_calls] == [{"query": "moa"}]
    assert server.requests[0].body["tools"] == [_TOOL]


@FORM
async def test_broken_arguments_in_a_form_cost_no_call_beside_them(
    server: FakeOpenAI, form: dict[str, Any]
) -> None:
    strict = {"type": "function", "function": {**_TOOL["function"], "strict": True}}  # type: ignore[dict-item]
    model = model_of(server, "tool-calls-broken-and-good")
    message = await ask(model, stream=False, response_format=form, tools=[strict])
    assert [call["id"] for call in message.tool_calls] == ["call_2"]
    assert [call["id"] for call in message.invalid_tool_calls] == ["call_1"]


async def test_a_schema_as_a_dict_is_answered_with_a_dict(server: FakeOpenAI) -> None:
    schema = {"title": "Verdict", "type": "object", "properties": {"good": {"type": "boolean"}}}
    model = model_of(server, 'says-{"good":true}')
    assert await model.with_structured_output(schema, method="json_schema").ainvoke(QUESTION) == {
        "good": True
    }


async def test_json_mode_streams(server: FakeOpenAI) -> None:
    model = model_of(server, "ok").bind(response_format={"type": "json_object"})
    text = "".join([str(chunk.text) async for chunk in model.astream(QUESTION)])
    assert text.startswith("Answer of ok to ")
    assert server.requests[0].body["response_format"] == {"type": "json_object"}


@STREAM
async def test_reasoning_text_is_kept_beside_the_answer(server: FakeOpenAI, stream: bool) -> None:
    message = await ask(model_of(server, "reasoning"), stream=stream)
    assert message.additional_kwargs["reasoning_content"] == "Private reasoning."
    assert "Private" not in message.text


@STREAM
async def test_a_refusal_is_kept(server: FakeOpenAI, stream: bool) -> None:
    message = await ask(model_of(server, "refusal"), stream=stream)
    assert message.additional_kwargs["refusal"] == "I cannot help with that."


@STREAM
@pytest.mark.parametrize("name", ["bad-usage", "no-usage"])
async def test_a_wrong_usage_never_costs_the_answer(server: FakeOpenAI, name: str, stream: bool) -> None:
    message = await ask(model_of(server, name), stream=stream)
    assert str(message.text).startswith(f"Answer of {name}")
    assert message.usage_metadata is None


@STREAM
@pytest.mark.parametrize(
    "name", ["html-200", "bad-json", "bad-chunk", "no-choices", "null-choices", "empty-choices"]
)
async def test_what_is_no_completion_is_malformed(server: FakeOpenAI, name: str, stream: bool) -> None:
    with pytest.raises(ModelOutputError) as caught:
        await ask(model_of(server, name), stream=stream)
    assert caught.value.kind == "malformed"
    assert server.count(name) == 1


async def test_a_null_message_is_malformed_and_a_null_delta_is_merely_empty(server: FakeOpenAI) -> None:
    with pytest.raises(ModelOutputError):
        await model_of(server, "null-message").ainvoke(QUESTION)
    message = await streamed(model_of(server, "null-message"))
    assert message.text == ""
    assert message.response_metadata["finish_reason"] == "stop"


@STREAM
async def test_an_error_in_a_body_with_status_200_is_the_provider_s(server: FakeOpenAI, stream: bool) -> None:
    with pytest.raises(ProviderError) as caught:
        await ask(model_of(server, "error-200-503"), stream=stream)
    assert (caught.value.status_code, caught.value.message) == (503, "Upstream failed.")
    with pytest.raises(ProviderError):
        await ask(model_of(server, "stream-error"), stream=stream)


@STREAM
async def test_a_failing_status_is_sent_once_and_keeps_its_code_and_headers(
    server: FakeOpenAI, stream: bool
) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(model_of(server, "429-retry-after-7"), stream=stream)
    assert caught.value.response.headers["retry-after"] == "7"
    assert server.count() == 1


@STREAM
async def test_redirects_are_errors(server: FakeOpenAI, stream: bool) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(model_of(server, "redirect"), stream=stream)
    assert caught.value.status_code == 307
    assert server.strays == 0


@STREAM
async def test_a_compression_bomb_is_too_long(server: FakeOpenAI, stream: bool) -> None:
    with pytest.raises(ModelOutputError) as caught:
        await ask(model_of(server, "gzip-bomb"), stream=stream)
    assert caught.value.kind == "too_long"


@STREAM
async def test_a_cancelled_call_closes_its_connection(server: FakeOpenAI, stream: bool) -> None:
    asking = asyncio.create_task(ask(model_of(server, "stall"), stream=stream))
    assert await server.started("stall")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await server.disconnected("stall")


async def test_a_stream_that_nobody_reads_on_is_closed(server: FakeOpenAI) -> None:
    chunks = model_of(server, "drip")._astream(list(QUESTION))
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]
    assert await server.disconnected("drip")


async def test_a_stream_without_an_end_mark_is_complete_where_its_finish_reason_came(
    server: FakeOpenAI,
) -> None:
    message = await streamed(model_of(server, "no-done"))
    assert message.response_metadata["finish_reason"] == "stop"
    cut = await streamed(model_of(server, "cut-clean"))
    assert not cut.response_metadata.get("finish_reason")


@STREAM
async def test_tool_calls_are_read(server: FakeOpenAI, stream: bool) -> None:
    message = await ask(model_of(server, "tool-call"), stream=stream)
    assert [call["name"] for call in message.tool_calls] == ["search"]


# --- streams of servers that go their own ways, played without HTTP -------------------------------------


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"model": "m", "choices": [choice], **more}).encode() + b"\n\n"


async def played(*pieces: bytes) -> AIMessageChunk:
    model = build_model(ModelSpec(model="openai:m", base_url="http://127.0.0.1:9/v1", api_key_env="none"))
    assert isinstance(model, ChatCompletionsModel)

    async def body() -> Any:
        for piece in pieces:
            yield piece

    chunks = [part async for part in model._read_chunks(body())]
    total = chunks[0]
    for part in chunks[1:]:
        total += part
    message = total.message.model_copy(update={"response_metadata": total.generation_info})
    assert isinstance(message, AIMessageChunk)
    return message


async def test_running_totals_and_repeated_finish_reasons_are_not_added_up() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    message = await played(
        chunk({"role": "assistant", "content": "Y"}, usage=usage),
        chunk({"content": "es"}, "stop", usage=usage | {"completion_tokens": 2}),
        chunk({}, "stop", usage=usage | {"completion_tokens": 2}),
    )
    assert message.text == "Yes"
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.usage_metadata is not None
    assert (message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]) == (3, 2)


async def test_strange_roles_do_not_matter() -> None:
    assert (
        await played(chunk({"role": "user", "content": "Y"}), chunk({"content": "es"}, "stop"))
    ).text == "Yes"


async def test_reasoning_comes_together_from_its_pieces() -> None:
    message = await played(
        chunk({"reasoning": "One "}), chunk({"reasoning": "two."}), chunk({"content": "Yes"}, "stop")
    )
    assert message.additional_kwargs["reasoning_content"] == "One two."


async def test_a_chunk_that_cannot_be_converted_is_malformed() -> None:
    with pytest.raises(ModelOutputError, match="malformed"):
        await played(chunk({"content": "x", "tool_calls": 3}))


async def test_a_whole_answer_that_cannot_be_converted_is_malformed(server: FakeOpenAI) -> None:
    model = model_of(server, "ok")
    with pytest.raises(ModelOutputError, match="malformed"):
        model._to_result({"choices": [{"message": {"role": "assistant", "content": "x", "tool_calls": 3}}]})


async def test_a_server_that_does_not_stream_is_understood(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(server, "reasoning")
    post = ChatCompletionsModel._post

    async def unstreamed(self: ChatCompletionsModel, payload: dict[str, Any], *, stream: bool = False) -> Any:
        return await post(self, {**payload, "stream": False, "stream_options": None}, stream=stream)

    monkeypatch.setattr(ChatCompletionsModel, "_post", unstreamed)
    message = await streamed(model)
    assert str(message.text).startswith("Answer of reasoning")
    assert message.additional_kwargs["reasoning_content"] == "Private reasoning."
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["model_name"] == "reasoning-2024"
    assert message.usage_metadata is not None
