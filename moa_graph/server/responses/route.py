"""The routes: a request is read and placed, run as its key's limits admit, and told whole or as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from moa_graph.errors import RunError
from moa_graph.runs.run import Run
from moa_graph.server.asking import Served, check_enough, parts_of, prepared
from moa_graph.server.bodies import checked, read_body
from moa_graph.server.cutting import cut_short
from moa_graph.server.detail import detail_of
from moa_graph.server.documented import WRONG, answered, taking
from moa_graph.server.encoding import JsonReply
from moa_graph.server.faults import Refused, fault_of, log_failure
from moa_graph.server.keys import Key
from moa_graph.server.performing import Answer, Ask, Happened, Part, Piece
from moa_graph.server.progress import progress_line
from moa_graph.server.repeating import repeated_by
from moa_graph.server.responses.keeping import Placed, find, place, remove
from moa_graph.server.responses.reading import terms_of
from moa_graph.server.responses.refusing import refuse_unsupported
from moa_graph.server.responses.requests import ResponsesRequest
from moa_graph.server.responses.streamed import Story
from moa_graph.server.responses.writing import Frame, Json
from moa_graph.server.streaming import STILL_HERE, EventStream, begun, event, until_gone
from moa_graph.server.wishes import wants_detail, wants_progress

__all__ = ["router"]


router = APIRouter()


@dataclass(frozen=True)
class _Asked:
    """Hold what one request needs on its way to its response."""

    served: Served
    key: Key
    placed: Placed
    ask: Ask
    detail: bool
    progress: bool
    notes: dict[str, Any]

    @property
    def frame(self) -> Frame:
        return self.placed.frame

    def parts(self) -> AsyncGenerator[Part]:
        return parts_of(self.served, self.key, self.ask, self.notes)


@router.post(
    "/v1/responses",
    openapi_extra=taking(ResponsesRequest),
    responses=answered("The response, or what happens to it as server-sent events."),
    response_class=JsonReply,
)
async def create_response(request: Request) -> Response:
    """Answer an input, in OpenAI's schema of responses."""
    served, key, notes = _known(request)
    body = read_body(await request.body())
    refuse_unsupported(body)
    asked = checked(ResponsesRequest, body)
    served.spec(asked.model)
    placed = await place(served, key, asked, body, repeated_by(request.headers))
    notes["response"] = str(placed.frame.id)
    terms = terms_of(asked, placed.messages)
    ask = Ask(asked.model, placed.messages, terms, placed.place, tokens=bool(asked.stream))
    detail = wants_detail(request.headers, asked.metadata)
    progress = wants_progress(request.headers, asked.metadata)
    one = _Asked(served, key, placed, ask, detail, progress, notes)
    if placed.known and placed.place is not None and placed.place.notes.get("cancelled"):
        if asked.stream:
            raise Refused(
                409,
                "the response was cancelled: GET tells how it stands, a new Idempotency-Key asks again",
                kind="conflict_error",
                code="response_cancelled",
            )
        return JsonReply(_standing(request, *await find(served, key, str(placed.frame.id))))
    if asked.background:
        return JsonReply(await _queued(one))
    if not asked.stream:
        return JsonReply(await until_gone(request, _whole(one)))
    parts = one.parts()
    first = await begun(request, parts)
    return EventStream(parts, _events(one, first, parts))


@router.get("/v1/responses/{response_id}", responses=WRONG, response_class=JsonReply)
async def retrieve_response(request: Request, response_id: str) -> Response:
    """Tell how a response that is kept stands."""
    served, key, _ = _known(request)
    if request.query_params.get("stream", "").lower() in ("true", "1"):
        raise Refused(
            400,
            "a response that is kept is not streamed: ask for it again until it is completed",
            param="stream",
            code="unsupported_parameter",
        )
    frame, run = await find(served, key, response_id)
    if _is_left(run):  # such as by somebody who took it over and went
        await served.background.submit(run.notes["model"], run.thread, run.turn, key.id)
    return JsonReply(_standing(request, frame, run))


@router.delete("/v1/responses/{response_id}", responses=WRONG, response_class=JsonReply)
async def delete_response(request: Request, response_id: str) -> Response:
    """Take away a response; with the query `thread=true` also those that it shares a thread with."""
    served, key, _ = _known(request)
    whole = request.query_params.get("thread", "").lower() in ("true", "1")
    await remove(served, key, response_id, whole=whole)
    return JsonReply({"id": response_id, "object": "response", "deleted": True})


@router.post("/v1/responses/{response_id}/cancel", responses=WRONG, response_class=JsonReply)
async def cancel_response(request: Request, response_id: str) -> Response:
    """Stop a background response for good; one that has ended is told as it is."""
    served, key, _ = _known(request)
    frame, run = await find(served, key, response_id)
    if not run.notes.get("background"):
        raise Refused(
            400,
            "only a background response can be cancelled; close the connection of any other",
            code="invalid_value",
        )
    if run.message is None and run.status != "failed":
        await served.background.cancel(run.thread, run.turn)
        frame, run = await find(served, key, response_id)
    return JsonReply(_standing(request, frame, run))


def _known(request: Request) -> tuple[Served, Key, dict[str, Any]]:
    """Return what the routes share, who asks, and what the access log says of it."""
    served: Served = request.app.state.served
    key = served.keys.find(request.headers.get("authorization"))
    notes: dict[str, Any] = request.scope.setdefault("state", {}).setdefault("moa", {})
    notes["key"] = key.id
    if "response_id" in request.path_params:
        notes["response"] = request.path_params["response_id"]
    return served, key, notes


def _standing(request: Request, frame: Frame, run: Run) -> Json:
    moa = None
    if run.message is not None and wants_detail(request.headers, frame.echo["metadata"]):
        moa = detail_of(run.message, [*run.proposals, *run.aides])
    return frame.standing(run, moa)


async def _queued(one: _Asked) -> Json:
    """Note a turn down and have it run; one that was noted before stands as it stands."""
    kept = one.ask.place
    assert kept is not None  # noqa: S101 - what is not kept is refused
    runs = one.served.performer.runs(one.ask.model)
    if one.placed.known:
        run = await runs.turn(kept.thread, kept.turn)
    else:
        ask = prepared(one.served, one.ask)
        limited = one.key.limits.cost_per_day is not None
        most = await one.served.performer.most(ask) if limited else None
        async with one.served.limiter.admitted(one.key, most) as admission:
            check_enough(ask, most, admission)
            admission.settle(0.0)  # who runs it reserves what it costs
            run = await runs.submit(
                ask.messages,
                thread=kept.thread,
                turn=kept.turn,
                terms=ask.terms,
                notes=kept.notes,
                after=kept.after,
            )
    if _is_left(run):
        await one.served.background.submit(one.ask.model, kept.thread, kept.turn, one.key.id)
    return one.frame.standing(run)


def _is_left(run: Run) -> bool:
    """Tell whether a background turn waits for somebody to run it; submitting it twice changes nothing."""
    left = run.status == "interrupted" and not run.notes.get("cancelled")
    return left and bool(run.notes.get("background"))


async def _whole(one: _Asked) -> Json:
    """Return the response with its answer, or what there is of an answer that was cut at its token limit."""
    try:
        async with aclosing(one.parts()) as parts:
            async for part in parts:
                if isinstance(part, Answer):
                    moa = detail_of(part.message, part.records) if one.detail else None
                    return one.frame.completed(part.message, moa)
    except RunError as error:
        if cut_short(error) is None:
            raise
        return one.frame.failed(error)
    raise AssertionError("parts end with an answer or an error")  # pragma: no cover


async def _events(one: _Asked, first: Part, parts: AsyncGenerator[Part]) -> AsyncGenerator[str]:
    """Yield the stream; an error that comes after its beginning is told as how the response ends."""
    story = Story(one.frame)
    yield "".join(map(_sent, story.begin()))
    try:
        async for part in _after(first, parts):
            if isinstance(part, Piece):
                told = story.piece(part.chunk)
            elif isinstance(part, Happened):
                line = progress_line(part.event) if one.progress else None
                told = story.progress(line) if line else iter(())
            elif isinstance(part, Answer):
                told = story.end(part.message, detail_of(part.message, part.records) if one.detail else None)
            else:
                yield STILL_HERE
                continue
            if text := "".join(map(_sent, told)):
                yield text
    except Exception as error:  # noqa: BLE001 - the status is sent: an event has to tell of it
        one.notes["error"] = fault_of(error).code
        log_failure(str(one.frame.id), error)
        yield "".join(map(_sent, story.fail(error)))


def _sent(told: Json) -> str:
    return event(told, told["type"])


async def _after(first: Part, parts: AsyncGenerator[Part]) -> AsyncIterator[Part]:
    yield first
    async for part in parts:
        yield part
