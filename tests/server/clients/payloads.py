"""What comes over the wire against the models of the `openai` package: every type, and nothing besides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

__all__ = [
    "check_chunk",
    "check_completion",
    "check_event",
    "check_model",
    "check_response",
    "events_of",
    "extras_of",
]

_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def extras_of(value: Any) -> Iterator[str]:
    """Yield the names of all fields that OpenAI's models do not know."""
    if isinstance(value, BaseModel):
        yield from value.model_extra or {}
        for name in type(value).model_fields:
            yield from extras_of(getattr(value, name))
    elif isinstance(value, list):
        for each in value:
            yield from extras_of(each)


def _check(model: type[BaseModel], data: Any, *allowed: str) -> Any:
    checked = model.model_validate(data, strict=True)
    assert set(extras_of(checked)) <= set(allowed)
    return checked


def check_model(data: Any) -> None:
    """Check the description of a model."""
    _check(Model, data)


def check_completion(data: Any) -> ChatCompletion:
    """Check a whole chat completion."""
    completion: ChatCompletion = _check(ChatCompletion, data, "moa", "reasoning_content")
    return completion


def check_chunk(data: Any) -> ChatCompletionChunk:
    """Check a chunk of a chat completion."""
    chunk: ChatCompletionChunk = _check(ChatCompletionChunk, data, "moa", "reasoning_content")
    return chunk


def check_response(data: Any) -> Response:
    """Check a Response; `store` is what OpenAI's server sends, though its package does not name it."""
    response: Response = _check(Response, data, "moa", "store")
    return response


def check_event(data: Any) -> Any:
    """Check an event of a streamed Response; it has to be of the class that its type names."""
    event = _EVENTS.validate_python(data, strict=True)
    assert event.type == data["type"]
    assert set(extras_of(event)) <= {"moa", "store"}
    if "response" in data:
        check_response(data["response"])
    return event


def events_of(text: str) -> list[tuple[str | None, Any]]:
    """Return the events of a stream with their names; comments are left out, and DONE is a word."""
    assert text.endswith("\n\n")
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            continue
        *names, line = block.split("\n")
        data = line.removeprefix("data: ")
        assert line != data
        name = names[0].removeprefix("event: ") if names else None
        found.append((name, data if data == "[DONE]" else json.loads(data)))
    return found
