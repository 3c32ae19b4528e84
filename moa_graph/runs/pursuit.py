"""Run a thread's turn from where it stands, and note down how it ends, whatever happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from contextlib import aclosing, suppress
from typing import Any, get_args

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig

from moa_graph.errors import MoAError, StoreError
from moa_graph.events import CallFinished, Emit, Event, Role
from moa_graph.execution import totals
from moa_graph.proposers.relay import Relay
from moa_graph.runs.guard import GuardedSaver
from moa_graph.runs.records import RunStatus, ThreadRecord, key_of, now
from moa_graph.runs.run import Run, describe
from moa_graph.runs.stores import Store
from moa_graph.runs.thread import AGGREGATOR, Thread
from moa_graph.state import Proposal
from moa_graph.terms import TERMS, Terms

__all__ = ["pursue"]

_ASKS_FOR_A_PERSON = "a proposer asks for a person (interrupt), and nobody can answer it here"
_ASK_YOURSELF = "Use the graph itself, compiled with a checkpointer of yours, and resume it with the answer."
_LAST_WORDS = 2.0
"""Seconds that noting down how a cancelled run ended may take."""


class _Notes:
    """Take down what a run reports: what it made, and what it paid for in vain."""

    def __init__(self, store: Store, record: ThreadRecord, saver: GuardedSaver, emit: Emit) -> None:
        self.store = store
        self.record = record
        self.saver = saver
        self.emit = emit
        self.made: dict[str, Proposal] = {}
        self.answer: Proposal | None = None
        self.message: AIMessage | None = None
        self.finished: dict[str, Any] = {}
        self.trouble: StoreError | None = None
        """Why a call's end could not be committed; the run goes on to the end of its step."""

    async def take(self, event: Event) -> None:
        """Note an event, and pass it on; a call's end is committed before it is told."""
        match event["type"]:
            case "call.finished":
                await self._take_made(event)
                return
            case "call.failed":
                self.record.turn.failures.append(event["proposal"])
                with suppress(StoreError):  # it is saved with how the run ends; the others may still succeed
                    await self.record.save(self.store)
            case "run.finished":
                self.finished = dict(event)
            case _:
                pass
        self.emit(event)

    async def _take_made(self, event: CallFinished) -> None:
        self._keep(event, event["proposal"])
        try:
            await self.saver.committed(key_of(self.record.thread))
        except StoreError as error:
            warnings = [*event["proposal"]["warnings"], f"not saved: {error.message}"]
            event = {**event, "proposal": {**event["proposal"], "warnings": warnings}}
            self._keep(event, event["proposal"])
            self.trouble = error
        self.emit(event)

    def _keep(self, event: CallFinished, proposal: Proposal) -> None:
        if event["role"] == AGGREGATOR:
            self.answer = proposal
        else:
            self.made[event["id"]] = proposal


async def pursue(
    thread: Thread,
    payload: Any,
    breakpoints: Collection[str],
    emit: Emit,
    *,
    tokens: bool,
    relay: Relay | None = None,
) -> Run:
    """Run a thread until it is answered, or stands before one of the steps in `breakpoints`.

    The caller holds the thread's lease. `payload` is the graph's input, None to go on. The turn's own terms
    hold; `relay` gets the pieces of an answer that is written now. Raises what the run
    raises; how it ended is in the thread's record. When the store fails after the answer was computed, the
    answer is returned with `saved=False`; before, StoreError is raised with what was made so far.
    """
    store, record = thread.store, thread.record
    turn = record.turn
    turn.status, turn.reason = "running", ""
    await record.save(store)
    graph = thread.mixture.graph(store)
    notes = _Notes(store, record, graph.checkpointer, emit)
    began, before = time.monotonic(), turn.seconds

    async def note(status: RunStatus, reason: str = "") -> None:
        turn.status, turn.reason = status, reason
        turn.seconds = round(before + time.monotonic() - began, 4)
        turn.ended = now()
        await record.save(store)

    try:
        config = _config(thread, relay)
        last = await _follow(graph, thread, (payload, config, breakpoints), notes, tokens=tokens)
        if last is not None:
            after = thread.at(last)
            turn.checkpoint, turn.messages = after.checkpoint, []
            await note("answered")
        else:
            after = await Thread.load(store, record, thread.mixture)
            await note("interrupted", f"before {after.next_step}")
        return describe(after)
    except asyncio.CancelledError:
        with suppress(Exception):
            await asyncio.shield(asyncio.wait_for(note("interrupted", "cancelled"), _LAST_WORDS))
        raise
    except StoreError as error:
        if notes.answer is not None:
            return _unsaved(thread, notes, error, before + time.monotonic() - began)
        with suppress(Exception):
            await asyncio.wait_for(note("failed", f"StoreError: {error.message}"), _LAST_WORDS)
        records = _records(thread, notes)
        raise StoreError(error.message, hint=error.hint, proposals=records, **totals(records)) from error
    except Exception as error:
        message = error.message if isinstance(error, MoAError) else str(error)
        with suppress(StoreError):  # why the run failed is the greater news
            await note("failed", f"{type(error).__name__}: {message}")
        raise
    finally:
        graph.checkpointer.forget(key_of(record.thread))


def _config(thread: Thread, relay: Relay | None) -> RunnableConfig:
    """Return the config of a run on the turn's terms, which goes on with all that is there."""
    config, kept = thread.config(), thread.turn.terms
    terms = Terms(paid=thread.failures, fan_out=thread.fan_out, acting=kept.get("acting", {}))
    # By their ids: LangGraph finds what a task gave only while the step asks for the same in the same order.
    terms |= Terms(made=thread.finished, answer=thread.given, limits=kept.get("limits", {}))
    config["configurable"][TERMS] = terms | Terms(relay=relay) if relay else terms
    return config


async def _follow(
    graph: Any,
    thread: Thread,
    run: tuple[Any, RunnableConfig, Collection[str]],
    notes: _Notes,
    *,
    tokens: bool,
) -> dict[str, Any] | None:
    """Run the graph; return the last checkpoint if its aggregator ended, None if it stopped before a step.

    `run` are the graph's input, its config, and where to stop.
    """
    payload, config, breakpoints = run
    modes = ["custom", "updates", "checkpoints"] + ["messages"] * tokens
    answered, last = False, None
    stream = graph.astream(
        payload, config, stream_mode=modes, interrupt_before=list(breakpoints), durability="sync"
    )
    async with aclosing(stream):  # when a note cannot be taken, the run ends at once
        async for mode, data in stream:
            if mode == "custom":
                await notes.take(data)
            elif mode == "updates":
                if data.get("__interrupt__"):  # a breakpoint's is empty
                    raise MoAError(_ASKS_FOR_A_PERSON, hint=_ASK_YOURSELF)
                if AGGREGATOR in data:
                    answered, notes.message = True, data[AGGREGATOR]["messages"][-1]
                if notes.trouble and not data.keys().isdisjoint(thread.steps):
                    raise notes.trouble  # what was under way beside it has ended, and is taken down
            elif mode == "checkpoints":
                last = data
            else:
                _stream(data, notes.emit)
    return last if answered else None


def _stream(data: Any, emit: Emit) -> None:
    message, metadata = data
    ours = metadata.get("moa_role") in get_args(Role)  # and not that of a mixture inside a call
    if ours and isinstance(message, AIMessageChunk) and message.text:
        emit(
            {
                "type": "call.streamed",
                "id": f"{metadata['moa_layer']}/{metadata['moa_proposer']}",
                "role": metadata["moa_role"],
                "text": str(message.text),
            }
        )


def _records(thread: Thread, notes: _Notes) -> list[Proposal]:
    """Return every call of the turn but the answer, in spec order; one that was made anew is there twice."""
    records = [*{**thread.proposals, **thread.finished, **notes.made}.values(), *thread.failures]
    places = {id_: place for place, id_ in enumerate(thread.ids)}
    return sorted(records, key=lambda record: places.get(record["id"], len(places)))


def _unsaved(thread: Thread, notes: _Notes, error: StoreError, seconds: float) -> Run:
    answer, finished = notes.answer, notes.finished
    assert answer is not None  # noqa: S101 - the caller has seen it
    records = _records(thread, notes)
    shown = {record["id"]: record for record in records if record["layer"] != AGGREGATOR}
    # A call that failed first and was made anew is shown by what it made.
    shown |= {record["id"]: record for record in records if record["status"] == "ok"}
    return Run(
        thread=thread.record.thread,
        turn=thread.turn.id,
        status="answered",
        question=thread.turn.question,
        reason=f"StoreError: {error.message}",
        answer=answer["text"],
        message=notes.message,
        notes=thread.turn.notes,
        answered_by=finished.get("answered_by"),
        proposals=[*shown.values()],
        aggregators=[dict(record) for record in [*records, answer] if record["layer"] == AGGREGATOR],
        **totals([*records, answer]),
        seconds=round(seconds, 4),
        warnings=[f"the answer is not saved: {error.message}"],
        saved=False,
    )
