"""Threads: start, resume, step, look at, edit, fork and delete runs that are kept in a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    BaseMessage,
    MessageLikeRepresentation,
    convert_to_messages,
)
from typing_extensions import Unpack

from moa_graph.errors import MoAError, StoreError, ThreadError
from moa_graph.events import Emit
from moa_graph.proposers.outcomes import clean
from moa_graph.resources import Others, Registered
from moa_graph.runs.asking import digest_of, new_turn, question_of
from moa_graph.runs.commands import command, new_thread
from moa_graph.runs.editing import approve, change_of, commit
from moa_graph.runs.forking import fork_thread, free_name
from moa_graph.runs.history import Checkpoint, find_checkpoint, history_of, prompt_of, when_asked
from moa_graph.runs.mixtures import Mixture
from moa_graph.runs.pinning import check_pin
from moa_graph.runs.pursuit import pursue
from moa_graph.runs.reading import read_export
from moa_graph.runs.records import SILENT_END, ThreadRecord, Turn, key_of, read_record, require_record, whoami
from moa_graph.runs.run import Run, describe
from moa_graph.runs.running import Running
from moa_graph.runs.stores import Store, open_store
from moa_graph.runs.summaries import Summary, summaries
from moa_graph.runs.thread import Thread
from moa_graph.runs.transfer import export_thread, import_thread
from moa_graph.spec.schema import MoASpec

__all__ = ["Breakpoints", "Runs"]

Breakpoints = Literal["all"] | Collection[str]
"""Steps to stop before: names of layers, "aggregator", or "all" of them."""


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
    ) -> Running:
        """Ask a question in a thread, a new one by default; the conversation so far goes in before it.

        `turn` is an id of the caller's for this question: asking again under it goes on with the turn or
        returns its answer, and pays nothing twice. While the turn before is unanswered a new question is
        refused, unless `abandon` gives that turn up. With `breakpoints` the run stops before those
        steps. Raises ThreadBusy when somebody else runs the thread (`wait` waits instead), SpecMismatch,
        and what the run raises.
        """
        messages = _messages(question)
        turn = _cleaned(turn)
        id_ = thread if thread is not None else new_thread()

        async def work(emit: Emit, tokens: bool) -> Run:
            async with self._store.lease(key_of(id_), wait=wait):
                record = await read_record(self._store, id_)
                if record is None:
                    record = ThreadRecord.new(id_, self._required_spec())
                else:
                    self._check_pin(record)
                    known = _find_turn(record, turn, messages)
                    if known is record.turn:
                        return await self._go_on(record, breakpoints, emit, tokens)
                    if known is not None:
                        return describe(await self._load(record, _answered(known)))
                    if not await self._is_answered(record) and not abandon:
                        raise _unanswered(record)
                record.turns.append(new_turn(turn, messages))
                return await self._go_on(record, breakpoints, emit, tokens)

        return Running(work)

    def resume(self, thread: str, *, breakpoints: Breakpoints = (), wait: bool = False) -> Running:
        """Go on with a thread: what was finished is restored, what failed is tried again.

        Returns the answer at once if it is there. Raises ThreadError for an unknown thread, ThreadBusy,
        SpecMismatch, and what the run raises.
        """

        async def work(emit: Emit, tokens: bool) -> Run:
            async with self._store.lease(key_of(thread), wait=wait):
                return await self._go_on(await self._record(thread), breakpoints, emit, tokens)

        return Running(work)

    def step(self, thread: str, *, wait: bool = False) -> Running:
        """Run one layer, or the aggregator, and stop again; raises as `resume` does."""
        return self.resume(thread, breakpoints="all", wait=wait)

    async def status(self, thread: str) -> Run:
        """Return how a thread's last turn stands; raises ThreadError for an unknown thread."""
        return describe(await self._standing(thread))

    async def _standing(self, thread: str) -> Thread:
        loaded = await self._load(await require_record(self._store, thread))
        if loaded.turn.status == "running" and await self._store.leased(key_of(thread)):
            return loaded
        return _ended(loaded)

    async def _held(self, thread: str) -> Thread:
        """Return a thread whose lease is held here, and which nobody runs."""
        return _ended(await self._load(await self._record(thread)))

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
            loaded, proposal = await self._held(thread), _cleaned(proposal)
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
        thread's id, by default `thread~1`. The original stays as it is.
        """
        source = await self._at(thread, checkpoint, before)
        mixture = self._mixture(source.record) if spec is None else Mixture(spec, self._registered)
        name = to if to is not None else await free_name(self._store, thread)
        async with self._store.lease(key_of(name)):
            fork = await fork_thread(source, name, mixture, unfinished=before is None)
        self._forks.add(fork.record.spec_hash)
        return describe(fork)

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
        return record.turn.status == "answered" or _settle(await self._load(record))

    async def _go_on(
        self,
        record: ThreadRecord,
        breakpoints: Breakpoints,
        emit: Emit,
        tokens: bool,
    ) -> Run:
        """Run the last turn from where it stands; the caller holds the lease."""
        thread = await self._load(record)
        if _settle(thread):
            await record.save(self._store)
            return describe(thread)
        if not thread.begun:
            _check_beginning(thread)
        steps = _check_breakpoints(breakpoints, thread.steps)
        await thread.check_clock()
        payload = None if thread.begun else {"messages": question_of(thread)}
        return await pursue(thread, payload, steps, emit, tokens=tokens)

    def _required_spec(self) -> MoASpec:
        if self._spec is None:
            raise MoAError("a new thread needs a spec", hint="Give one: Runs.open(url, load_spec(path)).")
        return self._spec


def _messages(question: str | Sequence[MessageLikeRepresentation]) -> list[BaseMessage]:
    messages = convert_to_messages([("user", question)] if isinstance(question, str) else question)
    if not messages:
        raise MoAError("there is nothing to answer", hint="Give a question, or messages that end with one.")
    return [message.model_copy(update={"content": _cleaned(message.content)}) for message in messages]


def _cleaned(value: Any) -> Any:
    """Return plain data without what a store does not bear, as deep as it goes."""
    match value:
        case str():
            return clean(value)[0]
        case list():
            return [_cleaned(part) for part in value]
        case dict():
            return {_cleaned(name): _cleaned(part) for name, part in value.items()}
    return value


def _find_turn(record: ThreadRecord, id_: str | None, messages: Sequence[BaseMessage]) -> Turn | None:
    found = next((turn for turn in record.turns if turn.id == id_), None)
    if found is not None and found.digest != digest_of(messages):
        raise ThreadError(
            f"turn {id_!r} of thread {record.thread!r} asked something else: {found.question!r}",
            hint="Give another turn id for another question.",
        )
    return found


def _unanswered(record: ThreadRecord) -> ThreadError:
    return ThreadError(
        f"the last question of thread {record.thread!r} has no answer yet",
        hint=f"Go on with it (`{command('resume', record.thread)}`), or give it up "
        "(`--abandon`, `abandon=True`).",
    )


def _answered(turn: Turn) -> Turn:
    if turn.checkpoint is None:
        raise ThreadError(f"turn {turn.id!r} was given up", hint="Ask under another turn id.")
    return turn


def _check_beginning(thread: Thread) -> None:
    """Raise ThreadError where a turn would begin on checkpoints that are not of the turns before it."""
    id_ = thread.record.thread
    if thread.record.origin is not None and len(thread.record.turns) == 1:
        raise ThreadError(f"fork {id_!r} was not completed", hint="Delete it and fork again.")
    if "moa_turn" not in thread.metadata:
        thread.check_unused()


def _settle(thread: Thread) -> bool:
    """Note that a turn is answered if its state says so, which its process may have had no time for."""
    turn = thread.turn
    if not (thread.begun and thread.answered):
        return False
    turn.status, turn.reason, turn.checkpoint, turn.messages = "answered", "", thread.checkpoint, []
    return True


def _ended(thread: Thread) -> Thread:
    """Return a thread that nobody runs with the status that its process had no time to note."""
    if not _settle(thread) and thread.turn.status == "running":
        thread.turn.status, thread.turn.reason = "interrupted", SILENT_END
    return thread


def _check_breakpoints(breakpoints: Breakpoints, steps: list[str]) -> list[str]:
    if breakpoints == "all":
        return steps
    chosen = [breakpoints] if isinstance(breakpoints, str) else list(breakpoints)
    unknown = [name for name in chosen if name not in steps]
    if unknown:
        raise MoAError(
            f"there is no step {unknown[0]!r} to stop before", hint=f"The steps are: {', '.join(steps)}."
        )
    return chosen
