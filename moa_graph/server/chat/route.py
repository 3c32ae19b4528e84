"""The route: a request is read, run as its key's limits admit, and answered whole or as a stream."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from langchain_core.messages import AIMessage, ToolMessage
from starlette.responses import Response

from moa_graph.advising import last_said
from moa_graph.errors import RunError
from moa_graph.server.acting import acting_of
from moa_graph.server.asking import Served, parts_of
from moa_graph.server.bodies import checked, read_body
from moa_graph.server.chat.keeping import THREAD, keep, thread_name
from moa_graph.server.chat.reading import check_calls, messages_of
from moa_graph.server.chat.refusing import refuse_unsupported
from moa_graph.server.chat.requests import ChatRequest
from moa_graph.server.chat.writing import Chunks, completion, cut_answer
from moa_graph.server.detail import detail_of
from moa_graph.server.documented import answered, taking
from moa_graph.server.encoding import JsonReply
from moa_graph.server.faults import fault_of, log_failure
from moa_graph.server.keys import Key
from moa_graph.server.lowering import limits_of
from moa_graph.server.performing import Answer, Ask, Happened, Part, Piece, Place
from moa_graph.server.progress import progress_line
from moa_graph.server.streaming import DONE, STILL_HERE, EventStream, begun, event, until_gone
from moa_graph.server.wishes import wants_detail, wants_progress
from moa_graph.terms import Terms

__all__ = ["router"]

router = APIRouter()


@dataclass(frozen=True)
class _Chat:
    """Hold what one request needs on its way to its answer."""

    served: Served
    key: Key
    ask: Ask
    id: str
    detail: bool
    progress: bool
    usage: bool
    notes: dict[str, Any]

    def parts(self) -> AsyncGenerator[Part]:
        return parts_of(self.served, self.key, self.ask, self.notes)

    def told(self, message: AIMessage, records: Sequence[Any]) -> dict[str, Any] | None:
        """Return the extension field, None where nobody asked for it."""
        return detail_of(message, records) if self.detail else None


@router.post(
    "/v1/chat/completions",
    openapi_extra=taking(ChatRequest),
    responses=answered("The completion, or its chunks as server-sent events."),
    response_class=JsonReply,
)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, in OpenAI's schema of chat completions."""
    served: Served = request.app.state.served
    key = served.keys.find(request.headers.get("authorization"))
    chat = await _read(request, served, key)
    name = thread_name(request.headers)
    headers = {} if name is None else {THREAD: name}
    if not chat.ask.tokens:
        return JsonReply(await until_gone(request, _whole(chat)), headers=headers)
    parts = chat.parts()
    first = await begun(request, parts)
    return EventStream(parts, _events(chat, first, parts), headers)


async def _read(request: Request, served: Served, key: Key) -> _Chat:
    notes: dict[str, Any] = request.scope.setdefault("state", {}).setdefault("moa", {})
    notes["key"] = key.id
    body = read_body(await request.body())
    refuse_unsupported(body)
    asked = checked(ChatRequest, body)
    served.spec(asked.model)
    messages = messages_of(asked)
    if thread_name(request.headers) is None:
        check_calls(messages)
    terms = Terms(acting=acting_of(asked), limits=limits_of(asked.moa))
    if asked.tools or isinstance(last_said(messages), ToolMessage):
        terms["fan_out"] = "user_turn"
    place, messages = await keep(served, key, asked.model, request.headers, body, messages)
    notes["response"] = id_ = f"chatcmpl-{_unique(place)}"
    ask = Ask(asked.model, messages, terms, place, tokens=bool(asked.stream))
    options = asked.stream_options
    return _Chat(
        served,
        key,
        ask,
        id_,
        detail=wants_detail(request.headers, asked.metadata),
        progress=wants_progress(request.headers, asked.metadata),
        usage=bool(options and options.include_usage),
        notes=notes,
    )


def _unique(place: Place | None) -> str:
    """Return what is the completion's own; a turn that is asked for again has the same completion."""
    if place is None:
        return uuid4().hex
    return hashlib.sha256(f"{place.thread} {place.turn}".encode()).hexdigest()[:32]


async def _whole(chat: _Chat) -> dict[str, Any]:
    records: Sequence[Any]
    try:
        async with aclosing(chat.parts()) as parts:
            async for part in parts:
                if isinstance(part, Answer):
                    message, records = part.message, part.records
    except RunError as error:
        cut = cut_answer(error)
        if cut is None:
            raise
        message, records = cut, error.proposals
    return completion(chat.id, chat.ask.model, message, chat.told(message, records))


async def _events(chat: _Chat, first: Part, parts: AsyncGenerator[Part]) -> AsyncGenerator[str]:
    """Yield the stream; an error that comes after its beginning is its last event."""
    writing = Chunks(chat.id, chat.ask.model, usage=chat.usage)
    yield writing.beginning()
    part: Part | None = first
    try:
        while part is not None:
            for text in _written(chat, part, writing):
                yield text
            part = await anext(parts, None)
        yield DONE
    except Exception as error:  # noqa: BLE001 - the status is sent: an event has to tell of it
        for text in _failed(chat, error, writing):
            yield text


def _written(chat: _Chat, part: Part, writing: Chunks) -> Iterator[str]:
    if isinstance(part, Piece):
        yield from writing.piece(part.chunk)
    elif isinstance(part, Happened):
        if chat.progress and (line := progress_line(part.event)):
            yield writing.aside(line)
    elif isinstance(part, Answer):
        yield from writing.ending(part.message, chat.told(part.message, part.records))
    else:
        yield STILL_HERE


def _failed(chat: _Chat, error: Exception, writing: Chunks) -> Iterator[str]:
    if isinstance(error, RunError) and (cut := cut_answer(error)) is not None:
        yield from writing.ending(cut, chat.told(cut, error.proposals))
        yield DONE
        return
    fault = fault_of(error)
    chat.notes["error"] = fault.code
    log_failure(chat.id, error)
    yield event(fault.body)
