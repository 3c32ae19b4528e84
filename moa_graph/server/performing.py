"""Run what a request asks for, on the plain graph or in a thread, and tell what comes of it part by part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage

from moa_graph.errors import ModelNotReady, RunError, ThreadError
from moa_graph.estimate import estimate
from moa_graph.events import Emit, Event
from moa_graph.graph import build_graph
from moa_graph.proposers.relay import Relay
from moa_graph.resources import Registered, Resources
from moa_graph.runs.asking import cleaned_messages, plain_terms
from moa_graph.runs.stores import Store
from moa_graph.runs.threads import Runs
from moa_graph.spec.schema import MoASpec
from moa_graph.state import MoAInput, Proposal
from moa_graph.terms import TERMS, Terms, tokens_of

__all__ = ["Answer", "Ask", "Happened", "Part", "Performer", "Piece", "Place", "Silence"]


@dataclass(frozen=True)
class Place:
    """Say where a run is kept: its `thread` with the owner's prefix, and the `turn` in it.

    `notes` are kept with the turn. `after` is the turn that a new one goes on from: ThreadError where that is
    not the thread's last answered one any more. With `resume` nothing is asked: the thread goes on with its
    last turn, and ThreadError says so afterwards where that was another one than `turn`.
    """

    thread: str
    turn: str
    notes: Mapping[str, Any]
    resume: bool = False
    after: str | None = None


@dataclass(frozen=True)
class Ask:
    """Hold what a request asks for: of which `model` (the name of a served spec), on what terms.

    `messages` are the conversation, in a thread those that are new in it. Without a `place` nothing is kept.
    `tokens` asks for the answer's pieces.
    """

    model: str
    messages: Sequence[BaseMessage]
    terms: Terms
    place: Place | None = None
    tokens: bool = False


@dataclass(frozen=True)
class Piece:
    """Hold a piece of the answer as it is written."""

    chunk: AIMessageChunk


@dataclass(frozen=True)
class Happened:
    """Hold an event of the run."""

    event: Event


@dataclass(frozen=True)
class Silence:
    """Say that nothing came for a while."""


@dataclass(frozen=True)
class Answer:
    """Hold the whole answer, with the whole run's usage; `streamed` tells that pieces of it came before.

    `records` are those of the run's calls, in the order of the spec.
    """

    message: AIMessage
    streamed: bool
    records: Sequence[Proposal] = ()


Part = Piece | Happened | Silence | Answer
_Made = tuple[AIMessage, Sequence[Proposal]]


class Performer:
    """Run the served specs; what is to be kept goes to one store that all share."""

    def __init__(
        self, specs: Sequence[MoASpec], store: Store, models: Mapping[str, BaseChatModel] | None = None
    ) -> None:
        """Take the specs in the order in which they are listed; `models` are the host's, for its slots."""
        registered = Registered(models or {})
        self._resources = {spec.name: Resources(spec, registered) for spec in specs}
        self.models = {spec.name: spec for spec in specs}
        self.store = store
        self._runs = {spec.name: Runs(store, spec, registered) for spec in specs}
        self._graphs = {
            spec.name: build_graph(spec, **vars(registered)).compile(checkpointer=False) for spec in specs
        }

    def runs(self, model: str) -> Runs:
        """Return the threads of one served spec."""
        return self._runs[model]

    async def warm_up(self) -> dict[str, str]:
        """Import what the models need, which may take seconds; return what is missing, by served spec."""
        missing = {}
        for name, resources in self._resources.items():
            try:
                await resources.ready()
            except ModelNotReady as error:
                missing[name] = error.message
        return missing

    def acts(self, model: str) -> bool:
        """Tell whether whoever writes a model's answers is not known to be unable to call tools."""
        slot = self.models[model].aggregator.model
        return slot is None or not self._resources[model].models.lacks_tools(slot)

    async def most(self, ask: Ask) -> float | None:
        """Return USD that a run costs at most when no call has to be repeated; None: that has no bound."""
        spec = self.models[ask.model]
        if ask.place is not None:
            with suppress(ThreadError):  # one that is new
                return (await self.runs(ask.model).turn(ask.place.thread, ask.place.turn)).cost_left
        before = await self.runs(ask.model).messages(ask.place.thread) if ask.place is not None else []
        tokens = tokens_of([*before, *ask.messages], ask.terms.get("acting"))
        bound = estimate(spec, self._resources[ask.model].models.price, (), tokens).max_cost
        if bound is None:
            return None
        bounds = [bound, spec.limits.max_cost, (ask.terms.get("limits") or {}).get("max_cost")]
        return min((each for each in bounds if each is not None), default=None)

    async def answer(self, ask: Ask) -> Answer:
        """Return the answer; raise MoAError as the run does."""
        async with aclosing(self.parts(ask)) as parts:
            async for part in parts:
                if isinstance(part, Answer):
                    return part
        raise AssertionError("parts end with an answer or an error")  # pragma: no cover

    async def parts(
        self, ask: Ask, *, listen: Emit | None = None, silence: float | None = None
    ) -> AsyncGenerator[Part]:
        """Yield what comes of a run, the answer last; raise MoAError as the run does.

        After each `silence` seconds in which nothing came, a Silence comes. Closing this cancels what is
        under way; what is kept in a thread stays there. `listen` hears all events, also those after that.
        """
        parts: asyncio.Queue[Part | None] = asyncio.Queue()
        relay = Relay(lambda chunk: parts.put_nowait(Piece(chunk))) if ask.tokens else None

        def hear(event: Event) -> None:
            if listen is not None:
                listen(event)
            parts.put_nowait(Happened(event))

        run = asyncio.ensure_future(self._run(ask, relay, hear))
        run.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            while True:
                part = await _next(parts, silence)
                if part is None:
                    break
                yield part
            message, records = run.result()
            yield Answer(message, relay is not None and relay.began, records)
        finally:
            if not run.done():
                run.cancel()
                await asyncio.wait({run})
            if not run.cancelled():
                run.exception()  # looked at, so that asyncio does not log it as lost

    def _run(self, ask: Ask, relay: Relay | None, listen: Emit) -> Coroutine[Any, Any, _Made]:
        terms = ask.terms | Terms(relay=relay) if relay else ask.terms
        if ask.place is None:
            return self._once(ask, terms, listen)
        return self._kept(ask, ask.place, terms, listen)

    async def _once(self, ask: Ask, terms: Terms, listen: Emit) -> _Made:
        """Run the plain graph; nothing is kept."""
        messages = cast("list[AnyMessage]", cleaned_messages(ask.messages))
        terms = cast("Terms", {**terms, **plain_terms(terms), "listen": listen})
        state = await self._graphs[ask.model].ainvoke(
            MoAInput(messages=messages), {"configurable": {TERMS: terms}}
        )
        answer = state["messages"][-1]
        if state.get("__interrupt__") or not isinstance(answer, AIMessage):
            raise RunError("something inside asks for a person, and nobody can answer it here")
        return answer, list(state["proposals"].values())

    async def _kept(self, ask: Ask, place: Place, terms: Terms, listen: Emit) -> _Made:
        """Run a turn of a thread; one that is answered already costs nothing."""
        runs = self.runs(ask.model)
        if place.resume:
            running = runs.resume(place.thread, wait=True, relay=terms.get("relay"))
        else:
            running = runs.start(
                ask.messages,
                thread=place.thread,
                turn=place.turn,
                wait=True,
                abandon=True,
                terms=terms,
                notes=place.notes,
                after=place.after,
            )
        async with aclosing(running.events()) as events:
            async for event in events:
                listen(event)
        run = running.result
        if run is None or run.message is None or run.turn != place.turn:
            raise ThreadError("the thread went on with another turn", hint="Ask again.")
        return run.message, [*run.proposals, *run.aides]


async def _next(parts: asyncio.Queue[Part | None], silence: float | None) -> Part | None:
    """Return the next part, or a Silence; a timeout is only begun where there is something to wait for."""
    with suppress(asyncio.QueueEmpty):
        return parts.get_nowait()
    try:
        async with asyncio.timeout(silence):
            return await parts.get()
    except TimeoutError:
        return Silence()
