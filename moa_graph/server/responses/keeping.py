"""Where responses are kept: each is a turn of a thread, and the next one goes on there or in a fork."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from moa_graph.errors import ThreadError
from moa_graph.runs.pinning import check_pin
from moa_graph.runs.records import ThreadRecord, Turn, read_record
from moa_graph.runs.run import Run
from moa_graph.runs.threads import Runs
from moa_graph.server.asking import Served
from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key
from moa_graph.server.performing import Place
from moa_graph.server.repeating import check_same, digest_of
from moa_graph.server.responses.ids import ResponseId, new_id, not_found, read_id
from moa_graph.server.responses.reading import instructed, messages_of
from moa_graph.server.responses.requests import ResponsesRequest
from moa_graph.server.responses.writing import Frame, echo_of

__all__ = ["Placed", "find", "place", "remove"]

_PREVIOUS = "previous_response_id"
_CLAIMED = 24 * 3600.0
"""Seconds that it is remembered who goes on in a thread; by then the thread itself tells."""


@dataclass(frozen=True)
class Placed:
    """Say what a request asks, and where its response is kept, None for nowhere.

    `known` tells that the same was asked before.
    """

    frame: Frame
    messages: list[BaseMessage]
    place: Place | None
    known: bool = False


@dataclass(frozen=True)
class _Previous:
    """Hold the response that a request goes on from."""

    id: ResponseId
    thread: str
    record: ThreadRecord
    run: Run

    @property
    def called(self) -> set[str]:
        """Return the ids of the calls that it ends with."""
        message = self.run.message
        calls = [*message.tool_calls, *message.invalid_tool_calls] if message else []
        return {call["id"] for call in calls if call["id"]}


async def place(
    served: Served, key: Key, asked: ResponsesRequest, body: Mapping[str, Any], repeated: str | None
) -> Placed:
    """Return what is asked in which thread; `repeated` is the request's Idempotency-Key.

    A response that goes on from the last one of a thread is the next turn there; any other one is a turn of a
    fork, so that every response stays as it is. Instructions that are in force already are not said twice.
    Raises Refused for a response that is not there, is another model's or has no answer.
    """
    previous = await _previous(served, key, asked)
    messages = messages_of(asked, previous.called if previous else ())
    before = previous.run.notes.get("instructions") if previous else None
    instructions = asked.instructions or before
    if instructions != before:
        messages = instructed(messages, instructions)
    id_ = new_id(key, repeated)
    notes = _notes(asked, body, instructions)
    if not asked.kept and repeated is None:
        return Placed(Frame.of(id_, notes), messages, None)
    places = [(id_, id_.thread_of(key) if asked.kept else id_.once(key))]
    if previous is not None:
        places.insert(0, (ResponseId(previous.id.thread, id_.turn), previous.thread))
    if repeated is not None:
        for known, thread in places:
            if (turn := await _turn(served, thread, known.turn)) is not None:
                check_same(turn.notes, notes["body"])
                kept = Place(thread, known.turn, turn.notes)
                return Placed(Frame.of(known, turn.notes), messages, kept, known=True)
        await _claim(served, key, repeated, notes)
    found, thread = places[0]
    if previous is not None and not await _is_first_after(served, previous, id_):
        found, thread = places[1]
        await _fork(served, asked.model, previous, thread)
    after = previous.id.turn if previous is not None else None
    return Placed(Frame.of(found, notes), messages, Place(thread, found.turn, notes, after=after))


async def _claim(served: Served, key: Key, repeated: str, notes: Mapping[str, Any]) -> None:
    """Have an Idempotency-Key stand for this request; raise Refused (422) where it stands for another one.

    The turns tell it, too, but only those of the thread that the request would go to.
    """
    name = f"repeated/{key.id}/{hashlib.sha256(repeated.encode()).hexdigest()}"
    claimed = await served.shelf.get(name)
    if isinstance(claimed, str):
        check_same({"body": claimed}, notes["body"])
    else:
        await served.shelf.put(name, notes["body"], _CLAIMED)


def _notes(asked: ResponsesRequest, body: Mapping[str, Any], instructions: str | None) -> dict[str, Any]:
    """Return what is noted with a turn, so that its response can be told again."""
    return {
        "model": asked.model,
        "created": int(time.time()),
        "request": echo_of(asked),
        "background": bool(asked.background),
        "instructions": instructions,
        "body": digest_of(body),
    }


async def find(served: Served, key: Key, text: str) -> tuple[Frame, Run]:
    """Return a response that is kept, and how its turn stands; raise Refused (404) for any other."""
    id_ = read_id(text)
    run = await _run(served, id_.thread_of(key), id_.turn)
    if run is None or "request" not in run.notes:
        raise not_found(text)
    return Frame.of(id_, run.notes), run


async def remove(served: Served, key: Key, text: str, *, whole: bool) -> None:
    """Take a response away; with `whole` all responses of its thread.

    Raises Refused for one that shares its thread with others: what they were asked after would be missing.
    """
    id_ = read_id(text)
    thread = id_.thread_of(key)
    record = await read_record(served.performer.store, thread)
    if record is None or all(turn.id != id_.turn for turn in record.turns):
        raise not_found(text)
    # The first turn of a fork is a copy of the response that it goes on from.
    own = record.turns[1:] if record.origin else record.turns
    if len(own) > 1 and not whole:
        raise Refused(
            409,
            f"{len(own)} responses go on from each other; DELETE with ?thread=true takes all of them away",
            kind="conflict_error",
            code="response_in_use",
        )
    await _any_runs(served).delete(thread)


async def _previous(served: Served, key: Key, asked: ResponsesRequest) -> _Previous | None:
    text = asked.previous_response_id
    if text is None:
        return None
    if not asked.kept:
        raise Refused(
            400,
            f"a response that goes on from another one is kept with it: leave out {_PREVIOUS}, and send the "
            "conversation as input, or leave out store",
            param="store",
            code="unsupported_parameter",
        )
    id_ = read_id(text, _PREVIOUS)
    thread = id_.thread_of(key)
    record = await read_record(served.performer.store, thread)
    run = await _run(served, thread, id_.turn) if record is not None else None
    if record is None or run is None:
        raise not_found(text, _PREVIOUS)
    if run.notes.get("model") != asked.model:
        raise Refused(
            400,
            "a response goes on from one of the same model; send the conversation as input to another one",
            param=_PREVIOUS,
            code="invalid_value",
        )
    check_pin(record, served.spec(asked.model))
    if run.message is None:
        status = Frame.of(id_, run.notes).standing(run)["status"]
        raise Refused(
            409,
            f"{text!r} has no answer to go on from: its status is {status}",
            kind="conflict_error",
            param=_PREVIOUS,
            code="previous_response_not_answered",
        )
    return _Previous(id_, thread, record, run)


async def _is_first_after(served: Served, previous: _Previous, id_: ResponseId) -> bool:
    """Tell whether nobody else has gone on from a response, and see to it that nobody else does there."""
    if previous.record.turn.id != previous.id.turn:
        return False
    # The thread itself tells only once a turn has begun, and until then it may wait for long.
    name = f"after/{previous.thread}/{previous.id.turn}"
    if await served.shelf.add(name, 1, _CLAIMED) == 1:
        await served.shelf.put(f"{name}/who", id_.turn, _CLAIMED)
        return True
    return await served.shelf.get(f"{name}/who") == id_.turn


async def _fork(served: Served, model: str, previous: _Previous, thread: str) -> None:
    """Make a thread that goes on from a response, unless an earlier attempt of the request has made it."""
    runs = served.performer.runs(model)
    if await _is_complete(runs, thread):
        return
    try:
        await runs.fork(previous.thread, to=thread, checkpoint=previous.run.checkpoint)
    except ThreadError:
        if not await _is_complete(runs, thread):  # else the same request, sent twice, was quicker
            raise


async def _is_complete(runs: Runs, thread: str) -> bool:
    with suppress(ThreadError):  # there is none
        return not await runs.incomplete(thread)
    return False


async def _run(served: Served, thread: str, turn: str) -> Run | None:
    if await _turn(served, thread, turn) is None:
        return None
    return await _any_runs(served).turn(thread, turn)


async def _turn(served: Served, thread: str, id_: str) -> Turn | None:
    record = await read_record(served.performer.store, thread)
    return next((turn for turn in record.turns if turn.id == id_), None) if record else None


def _any_runs(served: Served) -> Runs:
    """Return threads by which any thread can be read: each is read under its own spec."""
    return served.performer.runs(next(iter(served.performer.models)))
