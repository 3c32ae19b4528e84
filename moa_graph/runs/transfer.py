"""From a thread to the lines of its export, and from lines that were read to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from langchain_core.messages import BaseMessage, messages_from_dict, messages_to_dict
from langgraph.graph import START

from moa_graph.errors import MoAError, ThreadError
from moa_graph.runs.asking import Asked, new_turn, question_of
from moa_graph.runs.history import threads_of
from moa_graph.runs.mixtures import Mixture
from moa_graph.runs.portable import (
    Answer,
    Edit,
    Fork,
    Layer,
    Portable,
    PortableTurn,
    Question,
    Retrieve,
    Step,
)
from moa_graph.runs.records import FORMAT, Origin, ThreadRecord, Turn, key_of, read_record
from moa_graph.runs.redacting import Redactor
from moa_graph.runs.stores import Store
from moa_graph.runs.thread import AGGREGATOR, RETRIEVE, Thread, used_first
from moa_graph.spec.loading import parse_spec, spec_hash
from moa_graph.state import Proposal, Stopped

__all__ = ["export_thread", "import_thread"]

Line = dict[str, Any]

_INCOMPLETE = "its import was not completed"


async def export_thread(latest: Thread, *, texts: bool = True) -> list[Line]:
    """Return a thread as the lines that docs/export-format.md describes, free of keys and names of hosts.

    Without `texts` there are lengths in the place of questions, proposals and answers. Raises ThreadError
    for a fork that was not completed.
    """
    record = latest.record
    numbered = [
        (number, latest if thread.checkpoint == latest.checkpoint else thread)
        for number, thread in enumerate(await threads_of(latest))
    ]
    known = {message.id: message for _, thread in numbered for message in thread.values.get("messages") or []}
    lines = [_header(record, texts=texts)]
    for turn in record.turns:
        asked = turn.messages or messages_to_dict([known[id_] for id_ in turn.message_ids if id_ in known])
        if not asked:
            raise ThreadError(f"fork {record.thread!r} was not completed", hint="Delete it and fork again.")
        begun = {"type": "turn", "turn": turn.id, "began": turn.began, "messages": asked}
        lines.append({**begun, **_conditions(turn, texts=texts)})
        before: Thread | None = None
        for number, thread in numbered:
            if thread.metadata.get("moa_turn") == turn.id:
                lines += _event(number, replace(thread, turn=turn), before)
                before = thread
        lines += [{"type": "failure", "proposal": dict(failure)} for failure in turn.failures]
        lines.append(_standing(turn))
    lines.append({"type": "end", "lines": len(lines)})
    return _redacted(lines if texts else [_lengths(line) for line in lines], latest)


def _header(record: ThreadRecord, *, texts: bool) -> Line:
    return {
        "type": "thread",
        "format": FORMAT,
        "thread": record.thread,
        "spec": record.spec,
        "spec_hash": record.spec_hash,
        "origin": record.origin.model_dump() if record.origin else None,
        "created": record.created,
        "texts": texts,
    }


def _conditions(turn: Turn, *, texts: bool) -> Line:
    """Return on what terms a turn was asked, and the host's notes; without texts what can hold none."""
    if texts:
        found: Line = {"terms": turn.terms, "notes": turn.notes}
    else:
        found = {"terms": {name: value for name, value in turn.terms.items() if name != "acting"}}
    return {name: value for name, value in found.items() if value}


def _event(number: int, thread: Thread, before: Thread | None) -> Iterator[Line]:
    """Yield what a checkpoint added, and the proposals that were finished after it."""
    about = {
        "number": number,
        "when": str(thread.metadata.get("moa_when") or thread.snapshot.created_at),
    }
    nonce = thread.values.get("nonce")
    if thread.ended_steps and nonce and (before is None or not before.ended_steps):
        about["nonce"] = nonce
    if edit := thread.metadata.get("moa_edit"):
        old = before.proposals if before else {}
        changed = [dict(now) for id_, now in thread.proposals.items() if now != old.get(id_)]
        by = str(thread.metadata.get("moa_by"))
        yield {"type": "edit", **about, "what": str(edit), "by": by, "proposals": changed}
    elif before is None and thread.record.origin and thread.turn is thread.record.turns[0]:
        yield {"type": "fork", **about, **_taken_over(thread)}
    elif not thread.ended_steps:
        yield {"type": "question", **about}
    elif thread.answered:
        asked = [dict(each) for each in thread.proposals.values() if each["layer"] == AGGREGATOR]
        message = _dump(thread.values["messages"][-1])
        yield {"type": "answer", **about, "message": message, **({"proposals": asked} if asked else {})}
    elif thread.ended_steps[-1] == RETRIEVE:
        yield {"type": "retrieve", **about, **_retrieved(thread)}
    else:
        layer = thread.ended_steps[-1]
        made = [dict(proposal) for proposal in thread.proposals.values() if proposal["layer"] == layer]
        stopped = {"stopped": thread.stopped["reason"]} if thread.stopped else {}
        yield {"type": "layer", **about, "layer": layer, "proposals": made, **stopped}
    for proposal in used_first({**thread.kept, **thread.finished}).values():
        yield {"type": "finished", "proposal": dict(proposal)}


def _taken_over(thread: Thread) -> Line:
    ended = thread.ended_steps
    earlier = [message for message in thread.conversation if message.id not in thread.turn.message_ids]
    return {
        "after": ended[-1] if ended else None,
        "conversation": messages_to_dict(earlier),
        "proposals": [dict(proposal) for proposal in thread.proposals.values()],
        "answer": _dump(thread.values["messages"][-1]) if thread.answered else None,
        **(_retrieved(thread) if RETRIEVE in ended else {}),
        **({"stopped": _stopped(thread.stopped)} if thread.stopped else {}),
    }


def _stopped(stopped: Stopped) -> Line:
    return {"layer": stopped["layer"], "reason": stopped["reason"]}


def _retrieved(thread: Thread) -> Line:
    passages = [dict(passage) for passage in thread.passages]
    return {"passages": passages, "warnings": list(thread.values.get("moa_warnings") or [])}


def _standing(turn: Turn) -> Line:
    status, reason = turn.status, turn.reason
    if status == "running":
        status, reason = "interrupted", "it was running when it was exported"
    return {
        "type": "status",
        "status": status,
        "reason": reason,
        "ended": turn.ended,
        "seconds": turn.seconds,
    }


def _dump(message: BaseMessage) -> Line:
    [data] = messages_to_dict([message])
    return data


_WRITTEN = frozenset({"text", "reasoning", "changes", "answer", "left_out", "stopped", "reason"})
"""Fields with texts of people and models, or with reasons that quote what was read from such a text."""


def _lengths(value: Any) -> Any:
    """Put lengths in the place of texts that people and models wrote."""
    if isinstance(value, list):
        return [_lengths(item) for item in value]
    if not isinstance(value, dict):
        return value
    data = value.get("data")
    if isinstance(data, dict):
        content = data["content"]
        parts = [content] if isinstance(content, str) else [_text(block) for block in content]
        rest = {key: data.get(key) for key in ("id", "usage_metadata", "response_metadata")}
        return {"type": value["type"], "data": {"content": sum(map(len, parts)), **_lengths(rest)}}
    return {
        key: len(item) if key in _WRITTEN and isinstance(item, str) else _lengths(item)
        for key, item in value.items()
    }


def _text(block: Any) -> str:
    return block if isinstance(block, str) else str(block.get("text", ""))


def _redacted(lines: list[Line], thread: Thread) -> list[Line]:
    safe: list[Line] = Redactor(thread.spec, thread.store.url)(lines)
    if safe[0]["spec"] != lines[0]["spec"]:
        with suppress(MoAError):  # a name in the spec was a key: such a file can be read, not imported
            new = safe[0]["spec_hash"] = spec_hash(parse_spec(safe[0]["spec"]))
            safe = _renamed(safe, spec_hash(thread.spec), new)
    return safe


def _renamed(value: Any, old: str, new: str) -> Any:
    """Give the marks by which a mixture finds what it goes on with the hash that its spec has now."""
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    if isinstance(value, dict):
        return {new if key == old else key: _renamed(item, old, new) for key, item in value.items()}
    return value


async def import_thread(store: Store, story: Portable, name: str, mixture: Mixture) -> Thread:
    """Make a thread of what was exported; nothing is called. The caller holds its lease.

    What is written first is a thread by itself, as the lines before any line are: a process that ends here
    leaves no lie. Raises ThreadError when the name is taken, and takes back what it wrote when it fails.
    """
    if await read_record(store, name) is not None:
        raise ThreadError(f"there is a thread {name!r} already", hint="Import it under another id (`--as`).")
    header = story.header
    origin = Origin(**header.origin.model_dump()) if header.origin else None
    record = ThreadRecord.new(name, story.spec, origin)
    record.created = header.created
    ours = False
    try:
        for part in story.turns:
            turn = new_turn(part.asked.turn, Asked(part.asked.messages, part.asked.terms))
            turn.began, turn.status, turn.reason = part.asked.began, "interrupted", _INCOMPLETE
            record.turns.append(turn)
            thread = await Thread.load(store, record, mixture)
            if not ours:
                thread.check_unused()
            ours = True
            await record.save(store)
            await _replay(thread, part)
            await record.save(store)
    except BaseException:
        if ours:  # what was there before is not taken away
            with suppress(Exception):
                await asyncio.shield(store.remove(key_of(name)))
        raise
    return await Thread.load(store, record, mixture)


async def _replay(thread: Thread, part: PortableTurn) -> None:
    """Write a turn's checkpoints one after the other, then how the turn stands."""
    turn, graph = thread.turn, thread.mixture.graph(thread.store)
    answer: str | None = None
    for step in part.steps:
        node, values = _update(thread, step)
        config = thread.config()
        config["metadata"] |= _marks(step, node)
        written = await graph.aupdate_state(config, values, as_node=node)
        if values["status"] == "answered":
            answer = written["configurable"]["checkpoint_id"]
        thread = await Thread.load(thread.store, thread.record, thread.mixture)
    standing = part.standing
    assert standing is not None  # noqa: S101 - a file without it is refused
    turn.status, turn.reason, turn.ended = standing.status, standing.reason, standing.ended
    turn.seconds, turn.failures = standing.seconds, part.failures
    if turn.status == "answered":
        turn.checkpoint, turn.messages = answer, []


def _marks(step: Step, node: str) -> dict[str, Any]:
    event = step.event
    if isinstance(event, Edit):
        return {"moa_when": event.when, "moa_edit": event.what, "moa_by": event.by}
    return {"moa_when": event.when, "moa_event": event.type if isinstance(event, Question | Fork) else node}


def _update(thread: Thread, step: Step) -> tuple[str, dict[str, Any]]:
    """Return the node that made a checkpoint, and what it wrote."""
    event, turn = step.event, thread.turn
    kept = {"message": turn.message_ids[-1], "proposals": _by_id(step.finished)} if step.finished else None
    state: dict[str, Any] = {"status": "running", "moa_kept": kept}
    if not isinstance(event, Question | Edit) and event.nonce is not None:
        state["nonce"] = event.nonce
    match event:
        case Question():
            return START, state | {"messages": question_of(thread)}
        case Fork():
            return event.after or START, state | _forked(turn, event)
        case Retrieve():
            return RETRIEVE, state | _emptied(thread) | _found(event) | {"passages": event.passages}
        case Layer():
            before = _emptied(thread) if event.layer == thread.steps[0] else {}
            records: Any = {**before.get("proposals", {}), **_by_id(event.proposals)}
            if event.stopped is not None:
                state |= _ending(turn, event.layer, event.stopped)
            return event.layer, state | {"proposals": records}
        case Edit():
            return thread.ended_steps[-1], state | {"proposals": _by_id(event.proposals)}
        case Answer():
            if event.proposals:
                state["proposals"] = _by_id(event.proposals)
            return AGGREGATOR, state | {"messages": [event.message], "status": "answered"}


def _ending(turn: Turn, layer: str, reason: str) -> dict[str, Stopped]:
    return {"moa_stopped": {"message": turn.message_ids[-1], "layer": layer, "reason": reason}}


def _forked(turn: Turn, event: Fork) -> dict[str, Any]:
    state: dict[str, Any] = {"messages": [*event.conversation, *messages_from_dict(turn.messages)]}
    if event.proposals:
        state["proposals"] = _by_id(event.proposals)
    if event.stopped is not None:
        state |= _ending(turn, event.stopped.layer, event.stopped.reason)
    if event.answer is not None:
        state |= {"messages": [*state["messages"], event.answer], "status": "answered"}
    return state | _found(event)


def _found(event: Fork | Retrieve) -> dict[str, Any]:
    found = {"passages": event.passages, "moa_warnings": event.warnings}
    return {key: value for key, value in found.items() if value}


def _emptied(thread: Thread) -> dict[str, Any]:
    """Return what takes away what the turn before left."""
    update: dict[str, Any] = {}
    if before := thread.values.get("proposals"):
        update["proposals"] = dict.fromkeys(before)
    if thread.values.get("moa_warnings"):
        update["moa_warnings"] = []
    return update


def _by_id(proposals: Sequence[Proposal]) -> dict[str, Proposal]:
    return {proposal["id"]: proposal for proposal in proposals}
