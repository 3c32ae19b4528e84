"""`openai:` slots: OpenAI and every server that speaks its chat completions protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from moa_graph import background
from moa_graph.models.failures import REDACTED, ModelOutputError, redact
from moa_graph.models.http import client_for
from moa_graph.models.wire import (
    check_chunk,
    check_completion,
    clean_usage,
    read_events,
    read_json,
    reasoning_of,
)
from moa_graph.spec.schema import ModelSpec

__all__ = ["OPENAI_URL", "ChatCompletionsModel", "build_chat_completions_model"]

OPENAI_URL = "https://api.openai.com/v1"
_NO_KEY = "none"
_FRAMING = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers of how a body came over the wire, no longer true of the body that was read."""
_DRAIN_SECONDS = 0.1
"""How long to wait for the end of a stream after its last event, so that the connection can be used again."""
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What LangChain's conversion raises for parts of a message that are not as they should be."""


class ChatCompletionsModel(ChatOpenAI):
    """Be ChatOpenAI for servers that are merely compatible, and for faulty ones.

    Reasoning text is kept in `additional_kwargs["reasoning_content"]`, refusals in `["refusal"]`; wrong
    usage is dropped. Raises ModelOutputError for what is no chat completion, ProviderError for an error
    in the body of a response with status 200, and the openai package's exceptions for the rest.
    """

    with_key: bool = True
    """Whether requests bear the key."""

    custom_host: bool = False
    """Whether the server is not OpenAI's own: such servers know `max_tokens`, not `max_completion_tokens`."""

    def _get_request_payload(
        self, input_: Any, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        if self.custom_host and "max_completion_tokens" in payload:
            payload["max_tokens"] = payload.pop("max_completion_tokens")
        return payload

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        with self._keyless_errors():
            if self._is_special(payload):
                return await super()._agenerate(messages, stop, run_manager, **kwargs)
            response = await self._post(payload)
            return self._to_result(check_completion(read_json(response.content)))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        with self._keyless_errors():
            if self._is_special(payload):
                async for chunk in super()._astream(messages, stop, run_manager, **kwargs):
                    yield chunk
                return
            payload |= {"stream": True, "stream_options": {"include_usage": True}}
            async with aclosing(self._chunks(payload)) as chunks:
                async for chunk in chunks:
                    yield chunk

    @contextmanager
    def _keyless_errors(self) -> Iterator[None]:
        """Take the key out of what errors say: LangChain hands them to every tracer as they are."""
        try:
            yield
        except Exception as error:
            key = self.openai_api_key
            if self.with_key and isinstance(key, SecretStr):
                _take_out(error, key.get_secret_value())
            raise

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        return background.run(self._agenerate(messages, stop, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - likewise
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from background.iterate(self._astream(messages, stop, **kwargs))

    def _is_special(self, payload: Mapping[str, Any]) -> bool:
        """Tell whether a request is for LangChain's own code: the Responses API, and a class to be filled.

        A form that is a JSON object goes to the server as it is. The openai package's parsing of answers
        would throw away those that a token limit or a filter cut, and refuse tools that are not strict.
        """
        return isinstance(payload.get("response_format"), type) or self._use_responses_api(dict(payload))

    async def _post(self, payload: dict[str, Any], *, stream: bool = False) -> httpx2.Response:
        # The bare response: the package's typed objects cost more time than the rest of a call together,
        # and hide what a faulty server sent.
        body, options = _split(payload, with_key=self.with_key)
        response: httpx2.Response = await self.root_async_client.post(
            "/chat/completions", cast_to=httpx2.Response, body=body, options=options, stream=stream
        )
        return response

    async def _chunks(self, payload: dict[str, Any]) -> AsyncGenerator[ChatGenerationChunk, None]:
        response = await self._post(payload, stream=True)
        try:
            if response.headers.get("content-type", "").startswith(("application/json", "text/html")):
                # The server does not stream, or reports an error.
                yield _whole(self._to_result(check_completion(read_json(await response.aread()))))
                return
            received = response.aiter_bytes()
            async for chunk in self._read_chunks(received):
                yield chunk
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    async for _ in received:
                        pass
        finally:
            await response.aclose()

    async def _read_chunks(self, received: AsyncIterator[bytes]) -> AsyncIterator[ChatGenerationChunk]:
        usage, finished, answered = None, False, False
        async for record in read_events(received):
            # Some servers repeat running totals or the finish reason: LangChain would add them up.
            usage = clean_usage(record.get("usage")) or usage
            chunk = check_chunk(record)
            if finished:
                chunk["choices"] = [{**choice, "finish_reason": None} for choice in chunk["choices"]]
            finished = finished or any(choice["finish_reason"] for choice in chunk["choices"])
            if chunk["choices"]:
                answered = True
                yield self._to_chunk(chunk)
        if not answered:
            raise ModelOutputError("the stream ended without any choice")
        yield self._to_chunk({"choices": [], "usage": usage})

    def _to_chunk(self, record: dict[str, Any]) -> ChatGenerationChunk:
        try:
            chunk = self._convert_chunk_to_generation_chunk(record, AIMessageChunk, None)
        except _UNREADABLE as error:
            raise ModelOutputError(f"a chunk of the stream is malformed: {error!r}") from error
        if chunk is None:  # LangChain skips a null delta, and check_chunk leaves none
            raise ModelOutputError("a chunk of the stream has no delta")
        for choice in record["choices"]:
            _keep_extras(chunk.message, choice["delta"])
        return chunk

    def _to_result(self, record: dict[str, Any]) -> ChatResult:
        try:
            result = self._create_chat_result(record)
        except _UNREADABLE as error:
            raise ModelOutputError(f"the response is malformed: {error!r}") from error
        for generation, choice in zip(result.generations, record["choices"], strict=True):
            _keep_extras(generation.message, choice["message"])
        return result


def _keep_extras(message: BaseMessage, source: Mapping[str, Any]) -> None:
    if reasoning := reasoning_of(source):
        message.additional_kwargs["reasoning_content"] = reasoning
    if isinstance(refusal := source.get("refusal"), str) and refusal:
        message.additional_kwargs["refusal"] = refusal


def _whole(result: ChatResult) -> ChatGenerationChunk:
    """Turn a whole answer into the only chunk of a stream."""
    message = result.generations[0].message
    metadata = {**(result.llm_output or {}), **(result.generations[0].generation_info or {})}
    values = message.model_dump(exclude={"type"}) | {"response_metadata": metadata}
    return ChatGenerationChunk(message=AIMessageChunk(**values))


def _take_out(error: Exception, key: str) -> None:
    redact(error, key)
    if isinstance(error, openai.APIStatusError):  # its response goes into traces whole
        old = error.response
        kept = [(name, value) for name, value in old.headers.multi_items() if name not in _FRAMING]
        error.response = httpx2.Response(
            old.status_code,
            headers=[(name, value.replace(key, REDACTED)) for name, value in kept],
            content=old.content.replace(key.encode(), REDACTED.encode()),
            request=old.request,
        )
        error.request_id = error.response.headers.get("x-request-id")


def _split(payload: dict[str, Any], *, with_key: bool) -> tuple[dict[str, Any], Any]:
    """Return the body of a request and its options, as the openai package's own methods take them."""
    body = dict(payload)
    headers, query = body.pop("extra_headers", None), body.pop("extra_query", None)
    if not with_key:
        # The package accepts that a request goes without authorization only where the request itself says so.
        headers = {"Authorization": openai.omit, **(headers or {})}
    body |= body.pop("extra_body", None) or {}
    options: dict[str, Any] = {"headers": headers, "params": query}
    return body, {name: value for name, value in options.items() if value}


def build_chat_completions_model(spec: ModelSpec, api_key: str | None) -> ChatCompletionsModel:
    """Return the chat model of a slot; without `api_key` no Authorization header is sent.

    `params` that ChatOpenAI knows become its settings, all others go into the body of each request.
    """
    environment = os.environ.get("OPENAI_API_BASE") or os.environ.get("OPENAI_BASE_URL")
    # Always explicit: an address of LangSmith's gateway in the environment must not redirect requests.
    base_url = spec.base_url or environment or OPENAI_URL
    custom_host = base_url.rstrip("/") != OPENAI_URL
    params = dict(spec.params)
    headers: Any = params.pop("default_headers", None)
    query: Any = params.pop("default_query", None)
    parts = urlsplit(base_url)
    client = openai.AsyncOpenAI(
        api_key=api_key or _NO_KEY,
        base_url=base_url,
        default_headers={**(_foreign_headers(api_key) if spec.base_url else {}), **(headers or {})},
        default_query=query,
        http_client=client_for(f"{parts.scheme}://{parts.netloc}"),
        max_retries=0,
        timeout=None,
    )
    completions = client.chat.completions
    known = {name for name, field in ChatOpenAI.model_fields.items()}
    known |= {field.alias for field in ChatOpenAI.model_fields.values() if field.alias}
    settings = {name: value for name, value in params.items() if name in known}
    others = {name: value for name, value in params.items() if name not in known}
    extra: Any = settings.get("extra_body") or {}
    sampling = {"temperature": spec.temperature, "max_tokens": spec.max_tokens}
    options: dict[str, Any] = {
        "stream_usage": True,
        "stream_chunk_timeout": None,
        "use_responses_api": False if custom_host else None,
        **{name: value for name, value in sampling.items() if value is not None},
        **settings,
        "extra_body": {**others, **extra} or None,
    }
    return ChatCompletionsModel(
        model=spec.model_name,
        base_url=base_url,
        api_key=api_key or _NO_KEY,
        max_retries=0,
        timeout=None,
        custom_host=custom_host,
        with_key=api_key is not None,
        # All requests go through the asynchronous client: giving it twice keeps LangChain from making others.
        client=completions,
        root_client=client,
        async_client=completions,
        root_async_client=client,
        **options,
    )


def _foreign_headers(api_key: str | None) -> dict[str, Any]:
    """Return the headers for a host that a spec names, against those that the environment means for OpenAI.

    The openai package would add organization, project and custom headers, even another Authorization.
    """
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    custom = [line.partition(":")[0].strip() for line in lines if ":" in line]
    headers: dict[str, Any] = dict.fromkeys(["OpenAI-Organization", "OpenAI-Project", *custom], openai.omit)
    headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    return {**headers, "Authorization": f"Bearer {api_key or _NO_KEY}"}
