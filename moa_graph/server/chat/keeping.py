"""Where a chat is kept: in a thread that its client names, or under the key of one request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage

from moa_graph.runs.records import ThreadRecord, read_record
from moa_graph.runs.threads import Runs
from moa_graph.server.asking import Served
from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key
from moa_graph.server.performing import Place
from moa_graph.server.repeating import check_same, digest_of, repeated_by

__all__ = ["THREAD", "keep", "thread_name"]

THREAD = "x-moa-thread"
_NAME = re.compile(r"[!-~](?:[ -~]{0,98}[!-~])?")


def thread_name(headers: Mapping[str, str]) -> str | None:
    """Return the client's name of a thread, None where there is none; raise Refused for an unfit one."""
    name = headers.get(THREAD)
    if name is not None and not _NAME.fullmatch(name):
        raise Refused(
            400,
            "X-MoA-Thread has to be 1 to 100 printable ASCII characters",
            param=THREAD,
            code="invalid_value",
        )
    return name


async def keep(
    served: Served,
    key: Key,
    model: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any],
    messages: list[BaseMessage],
) -> tuple[Place | None, list[BaseMessage]]:
    """Return where a request's run is kept, and which of its messages are asked there.

    A thread holds its conversation itself. Its first turn asks all messages. A later one asks those after the
    last message of the assistant, without the system's: a client may send the whole conversation or only what
    is new. A request with an Idempotency-Key is one turn: repeated, it goes on or has its answer, and pays
    nothing twice. Raises Refused for a key that another request had.
    """
    name, once = thread_name(headers), repeated_by(headers)
    if name is None and once is None:
        return None, messages
    digest = uuid4().hex if once is None else hashlib.sha256(once.encode()).hexdigest()[:32]
    thread, turn = (f"{key.id}/once/{digest}", "1") if name is None else (f"{key.id}/chat/{name}", digest)
    record = await read_record(served.performer.store, thread)
    turns = record.turns if record else []
    known = next((each for each in turns if each.id == turn), None)
    runs = served.performer.runs(model)
    whole = record is None or not await _is_answered(runs, record)
    notes = {"body": digest_of(body), "whole": whole}
    if known is not None:
        check_same(known.notes, digest_of(body))
        notes = dict(known.notes)
    return Place(thread, turn, notes), messages if notes["whole"] else _new(messages)


async def _is_answered(runs: Runs, record: ThreadRecord) -> bool:
    """Tell whether a thread holds an answer; questions without one are taken out of it with the next.

    The checkpoint tells of an answer after which a process died before it could note it.
    """
    return record.answered is not None or (await runs.status(record.thread)).status == "answered"


def _new(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    said = [index for index, message in enumerate(messages) if isinstance(message, AIMessage)]
    after = messages[said[-1] + 1 :] if said else messages
    new = [message for message in after if not isinstance(message, SystemMessage)]
    if not new:
        raise Refused(400, "there is no new message for this thread", param="messages", code="invalid_value")
    return new
