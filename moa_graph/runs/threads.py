"""Threads: start, resume, step, look at, edit, fork and delete runs that are kept in a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, MessageLikeRepresentation
from typing_extensions import Unpack

from moa_graph.errors import MoAError, StoreError
from moa_graph.events import Emit
from moa_graph.proposers.relay import Relay
from moa_graph.resources import Others, Registered
from moa_graph.runs.asking import Asked, Conditions, cleaned, find_turn, new_turn, question_of
from moa_graph.runs.commands import new_thread
from moa_graph.runs.editing import approve, change_of, commit
from moa_graph.runs.forking import fork_thread, free_name
from moa_graph.runs.history import Checkpoint, find_checkpoint, history_of, prompt_of, when_asked
from moa_graph.runs.mixtures import Mixture
from moa_graph.runs.pinning import check_pin
from moa_graph.runs.pursuit import pursue
from moa_graph.runs.reading import read_export
from moa_graph.runs.records import (
    QUEUED,
    ThreadRecord,
    Turn,
    key_of,
    read_record,
    require_record,
    whoami,
)
from moa_graph.runs.run import Run, describe
from moa_graph.runs.running import Running, both
from moa_graph.runs.standing import (
    Breakpoints,
    answered,
    check_beginning,
    check_breakpoints,
    ended,
    given_up,
    incomplete,
    not_after,
    settle,
    unanswered,
    unknown_turn,
)
from moa_graph.runs.stores import Store, open_store
from moa_graph.runs.summaries import Summary, summaries
from moa_graph.runs.thread import Thread
from moa_graph.runs.transfer import export_thread, import_thread
from moa_graph.spec.schema import MoASpec
from moa_graph.terms import Terms

__all__ = ["Breakpoints", "Runs"]


class Runs:
    """Keep threads in a store and run them; make one with `Runs.open`.

    A thread's id is any text of up to 255 characters. Whatever ends a run (a crash, an error, a
    cancellation), the proposals that were reported finished are kept, and `resume` asks only for the rest.
    """

    def __init__(self, store: Store, spec: MoASpec | None, registered: Registered) -> None:
        self._store = store
        self._spec = spec
        self._registered = registered
        self._mixtures: dict[str, Mixture] = {}
        self._forks: set[str] = set()
        """The hashes of specs that were given for forks, which may run here, too."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str = "sqlite:///moa.db",
        spec: MoASpec | None = None,
        *,
        models: Mapping[str, BaseChatModel] | None = None,
        key_env: str | None = None,
        create: bool = True,
        **others: Unpack[Others],
    ) -> AsyncIterator[Runs]:
        """Open a store: `sqlite:///path`, `postgresql://…` or `memory:`.

        `spec` is what new threads are made by; without one, threads that are there go on under their own.
        `models` and `others` are the host's, as for `build_graph`. `key_env` names the variable with a key
        of 16, 24 or 32 bytes that everything is encrypted with. Without `create` a file that is not there is
        a ThreadError. Raises MoAError for a wrong URL or key, StoreError when the store cannot be opened.
        """
        async with open_store(url, key_env=key_env, create=create) as store:
            yield cls(store, spec, Registered(models or {}, **others))

    def start(
        self,
        question: str | Sequence[MessageLikeRepresentation],
        *,
        thread: str | None = None,
        turn: str | None = None,
        breakpoints: Breakpoints = (),
        wait: bool = False,
        abandon: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Running:
        """Ask a question in a thread, a new one by default; the conversation so far goes in before it.

        `turn` is an id of the caller's for this question: asking again under it goes on with the turn or
        returns its answer, and pays nothing twice. While the turn before is unanswered a new question is
        refused, unless `abandon` gives that turn up. With `breakpoints` the run stops before those
        steps. `conditions` are `terms`, `notes` and `after`, as `moa_graph.runs.asking.Conditions` has them.
        Raises ThreadError, ThreadBusy when somebody else runs the thread (`wait` waits instead),
        SpecMismatch, and what the run raises.
        """
        asked = Asked.of(question, **conditions)
        terms = conditions.get("terms") or Terms()
        id_ = thread if thread is not None else new_thread()

        async def work(emit: Emit, tokens: bool) -> Run:
            async with self._store.lease(key_of(id_), wait=wait):
                record, found = await self._taken_up(id_, cleaned(turn), asked, abandon=abandon)
                if found is not record.turn:
                    return describe(await self._load(record, answered(found)))
                heard = both(emit, terms.get("listen"))
                return await self._go_on(record, breakpoints, heard, tokens, terms.get("relay"))

        return Running(work)

    async def submit(
        self,
        question: str | Sequence[MessageLikeRepresentation],
        *,
        thread: str | None = None,
        turn: str | None = None,
        wait: bool = False,
        abandon: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Run:
        """Note a question down for `resume` to run later; call nothing, and return how its turn stands.

        The arguments are those of `start`; of a turn that is known nothing is changed. A new turn is
        "interrupted", for the reason "queued". Raises ThreadError, ThreadBusy and SpecMismatch.
        """
        asked = Asked.of(question, **conditions)
        id_, turn = thread if thread is not None else new_thread(), cleaned(turn)
        record = await read_record(self._store, id_)
        known = find_turn(record, turn, asked) if record else None
        if known is None:
            async with self._store.lease(key_of(id_), wait=wait):
                record, known = await self._taken_up(id_, turn, asked, abandon=abandon)
                if known is record.turn and known.reason == QUEUED:
                    check_beginning(await self._load(record))
                    await record.save(self._store)
        return await self.turn(id_, known.id)

    def resume(
        self,
        thread: str,
        *,
        breakpoints: Breakpoints = (),
        wait: bool = False,
        relay: Relay | None = None,
    ) -> Running:
        """Go on with a thread: what was finished is restored, what failed is tried again.

        The terms that the turn was asked on hold. Returns the answer at once if it is there; `relay` gets the
        pieces of one that is written now. Raises ThreadError for an unknown thread, ThreadBusy, SpecMismatch,
        and what the run raises.
        """

        async def work(emit: Emit, tokens: bool) -> Run:
            async with self._store.lease(key_of(thread), wait=wait):
                return await self._go_on(await self._record(thread), breakpoints, emit, tokens, relay)

        return Running(work)

    def step(self, thread: str, *, wait: bool = False) -> Running:
        """Run one layer, or the aggregator, and stop again; raises as `resume` does."""
        return self.resume(thread, breakpoints="all", wait=wait)

    async def status(self, thread: str) -> Run:
        """Return how a thread's last turn stands; raises ThreadError for an unknown thread."""
        return describe(await self._standing(thread))

    async def turn(self, thread: str, turn: str) -> Run:
        """Return how one turn of a thread stands, also one before the last; raises ThreadError.

        One that was given up is "interrupted" or "failed", for the reason "given up".
        """
        latest, turn = await self._standing(thread), cleaned(turn)
        found = next((each for each in latest.record.turns if each.id == turn), None)
        if found is None:
            raise unknown_turn(latest.record, turn)
        if found is latest.turn:
            return describe(latest)
        if found.checkpoint is None:
            return await given_up(latest, found)
        return describe(await self._load(latest.record, found))

    async def _standing(self, thread: str) -> Thread:
        loaded = await self._load(await require_record(self._store, thread))
        if loaded.turn.status == "running" and await self._store.leased(key_of(thread)):
            return loaded
        return ended(loaded)

    async def _held(self, thread: str) -> Thread:
        """Return a thread whose lease is held here, and which nobody runs."""
        return ended(await self._load(await self._record(thread)))

    async def messages(self, thread: str) -> list[BaseMessage]:
        """Return the conversation of a thread so far, nothing for a thread that is not there."""
        record = await read_record(self._store, thread)
        return [] if record is None else list((await self._load(record)).values.get("messages") or [])

    async def history(self, thread: str) -> list[Checkpoint]:
        """Return what happened in a thread, checkpoint by checkpoint, the oldest first."""
        return await history_of(await self._load(await require_record(self._store, thread)))

    async def prompt(
        self, thread: str, proposal: str, *, checkpoint: str | int | None = None
    ) -> list[BaseMessage]:
        """Return the exact messages that a proposer, or an aggregator ("aggregator/slot"), was shown."""
        return prompt_of(await when_asked(await self._at(thread, checkpoint), proposal), proposal)

    async def show(self, thread: str, *, checkpoint: str | int | None = None) -> Run:
        """Return how a thread stood at a checkpoint, by default the newest one."""
        return describe(await self._at(thread, checkpoint))

    async def edit(
        self,
        thread: str,
        proposal: str,
        *,
        text: str | None = None,
        drop: bool = False,
        add: bool = False,
        who: str | None = None,
    ) -> Run:
        """Change, drop or add a proposal that no later step has seen.

        The checkpoint before the edit stays; `who` (by default the user of the system) is noted with it.
        Raises ThreadError for proposals that have been used already: fork before their use, and edit the
        fork.
        """
        async with self._store.lease(key_of(thread)):
            loaded, proposal = await self._held(thread), cleaned(proposal)
            what, change = change_of(loaded, proposal, text=text, drop=drop, add=add)
            return describe(await commit(loaded, what, {"proposals": {proposal: change}}, who or whoami()))

    async def approve(self, thread: str, *, who: str | None = None) -> Run:
        """Note that somebody looked at the proposals of the layer that ended last, and let them pass."""
        async with self._store.lease(key_of(thread)):
            return describe(await approve(await self._held(thread), who or whoami()))

    async def fork(
        self,
        thread: str,
        *,
        to: str | None = None,
        checkpoint: str | int | None = None,
        before: str | None = None,
        spec: MoASpec | None = None,
    ) -> Run:
        """Make a new thread that goes on from a checkpoint, maybe under a changed spec; call nothing.

        Without `checkpoint` (a number or an id of the history) and `before` (a step) everything that is
        valid is re-used, also proposals of a layer that did not end. The Run says which proposals
        those are, and in `calls_left` and `cost_left` what the rest takes; `resume` runs it. `to` is the new
        thread's id, by default `thread~1`; a fork of that id that was not completed is made again. The
        original stays as it is.
        """
        source = await self._at(thread, checkpoint, before)
        mixture = self._mixture(source.record) if spec is None else Mixture(spec, self._registered)
        name = to if to is not None else await free_name(self._store, thread)
        async with self._store.lease(key_of(name)):
            fork = await fork_thread(source, name, mixture, unfinished=before is None)
        if spec is not None:
            self._forks.add(fork.record.spec_hash)
        return describe(fork)

    async def incomplete(self, thread: str) -> bool:
        """Tell whether a thread is a fork that somebody began to make and did not complete.

        Nothing can run there: `fork` to the same id makes it again, and `delete` takes it away. True also
        for the moment in which it is being made; `fork` waits then. Raises ThreadError for an unknown one.
        """
        return incomplete(await self._load(await require_record(self._store, thread)))

    async def record(self, thread: str) -> ThreadRecord:
        """Return what is kept of a thread beside its checkpoints: its spec, its turns, its origin."""
        return await require_record(self._store, thread)

    async def threads(self) -> list[Summary]:
        """Return all threads of the store, the one that was used last first."""
        return await summaries(self._store)

    async def delete(self, thread: str) -> None:
        """Take away a thread with all its checkpoints; raises ThreadError and ThreadBusy."""
        async with self._store.lease(key_of(thread)):
            with suppress(StoreError):  # what cannot be trusted can be taken away all the same
                await require_record(self._store, thread)
            await self._store.remove(key_of(thread))

    async def export(self, thread: str, *, texts: bool = True) -> list[dict[str, Any]]:
        """Return a thread as lines, each a JSON object, as docs/export-format.md describes.

        Keys and names of hosts are taken out; without `texts` questions, proposals and answers are, too.
        """
        return await export_thread(await self._standing(thread), texts=texts)

    async def import_(self, content: bytes, *, to: str | None = None, file: str = "<export>") -> Run:
        """Make a thread of an export, under the id `to` or its own; call nothing.

        `content` are the lines as UTF-8. Raises MoAError with `file` and line for content that is no
        thread's export, and ThreadError when there is a thread of that id; nothing is written then.
        """
        story = read_export(content, file)
        name = to if to is not None else story.header.thread
        async with self._store.lease(key_of(name)):
            mixture = Mixture(story.spec, self._registered)
            return describe(await import_thread(self._store, story, name, mixture))

    async def _record(self, thread: str) -> ThreadRecord:
        record = await require_record(self._store, thread)
        self._check_pin(record)
        return record

    def _check_pin(self, record: ThreadRecord) -> None:
        if record.spec_hash not in self._forks:
            check_pin(record, self._spec)

    async def _at(self, thread: str, checkpoint: str | int | None, before: str | None = None) -> Thread:
        latest = await self._standing(thread)
        if checkpoint is None and before is None:
            return latest
        return await find_checkpoint(latest, checkpoint=checkpoint, before=before)

    async def _load(self, record: ThreadRecord, turn: Turn | None = None) -> Thread:
        mixture = self._mixture(record)
        return await Thread.load(
            self._store, record, mixture, turn=turn, checkpoint=turn.checkpoint if turn else None
        )

    def _mixture(self, record: ThreadRecord) -> Mixture:
        if record.spec_hash not in self._mixtures:
            self._mixtures[record.spec_hash] = Mixture(record.load_spec(), self._registered)
        return self._mixtures[record.spec_hash]

    async def _is_answered(self, record: ThreadRecord) -> bool:
        return record.answered == record.turn.id or settle(await self._load(record))

    async def _taken_up(
        self, thread: str, turn: str | None, asked: Asked, *, abandon: bool
    ) -> tuple[ThreadRecord, Turn]:
        """Return a thread's record, and the turn that asks; a new one is the record's last, not saved yet."""
        record = await read_record(self._store, thread)
        if record is None:
            if asked.after is not None:
                raise not_after(thread, asked.after)
            record = ThreadRecord.new(thread, self._required_spec())
        else:
            self._check_pin(record)
            if (known := find_turn(record, turn, asked)) is not None:
                return record, known
            if not await self._is_answered(record) and not abandon:
                raise unanswered(record)
            if asked.after not in (None, record.answered):
                raise not_after(thread, str(asked.after))
        record.turns.append(new_turn(turn, asked))
        return record, record.turn

    async def _go_on(
        self,
        record: ThreadRecord,
        breakpoints: Breakpoints,
        emit: Emit,
        tokens: bool,
        relay: Relay | None,
    ) -> Run:
        """Run the last turn from where it stands; the caller holds the lease."""
        thread = await self._load(record)
        if settle(thread):
            await record.save(self._store)
            return describe(thread)
        if not thread.begun:
            check_beginning(thread)
        steps = check_breakpoints(breakpoints, thread.steps)
        await thread.check_clock()
        payload = None if thread.begun else {"messages": question_of(thread)}
        return await pursue(thread, payload, steps, emit, tokens=tokens, relay=relay)

    def _required_spec(self) -> MoASpec:
        if self._spec is None:
            raise MoAError("a new thread needs a spec", hint="Give one: Runs.open(url, load_spec(path)).")
        return self._spec
