"""Threads under whatever order of events: nothing that was reported is paid twice, lost, or not shown.

So it is with models that are asked about proposals, and where enough equal answers end a layer, or all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import langgraph.checkpoint.base.id as ids
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moa_graph.errors import RunError, SpecMismatch, StoreError, ThreadBusy, ThreadError
from moa_graph.prompts import split_references
from moa_graph.runs import stores
from moa_graph.runs.portable import dump_line
from moa_graph.runs.run import Run
from moa_graph.runs.running import Running
from moa_graph.runs.stores import open_store
from moa_graph.runs.threads import Runs
from moa_graph.state import is_shown
from tests.runs.cast import TWO, Cast

T = TypeVar("T")

SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    # "m1" and "m2" say who is best, "m3" says nothing that could be read.
    "ranked": ({"select": {"by": "rank", "model": "m", "keep": 1}}, {}),
    "compared": (
        {"select": {"by": "pairwise", "model": "m", "keep": 1}, "residual": {"model": "n"}},
        {"stop": {"by": "judge", "model": "x"}},
    ),
    "summed up": ({"references": {"payload": "summary", "summarizer": "x"}}, {}),
    # "a1" and "b1" say the same.
    "agreed": ({"concurrency": 1}, {"stop": {"by": "agreement", "agree": 2, "extract": "number"}}),
}
"""What is special about the second layer, and about the spec."""
ASKED = {"plain": {}, "ranked": {"m": 1}, "compared": {"m": 2, "n": 1, "x": 1}, "summed up": {"x": 3}}
"""How often somebody is asked about proposals in a turn, of which one may be added by hand."""

_REAL, _REAL_NS = time.time, time.time_ns
FAILING = st.sets(st.sampled_from("abcdzy"), max_size=3).map(lambda names: "".join(sorted(names)))
CRASH = st.none() | st.integers(1, 14)
"""After how many events the process dies; None: it lives."""


class Threads(RuleBasedStateMachine):
    """Drive threads of one store; each rule is a process of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(stores, "BUSY_PATIENCE", 0.001)
        self.open = AsyncExitStack()
        self.specs: dict[str, Any] = {}
        self.reported: dict[str, dict[str, str]] = {}
        """By thread: what somebody was told to be finished, with its text; what was edited, as it is now."""
        self.answers: dict[str, str] = {}
        self.calls: dict[str, int | None] = {}
        """By thread: how many calls its turn has to report; None where nobody can know."""
        self.carried: set[str] = set()
        """Forks and copies: what was said about proposals is not always said about those that are there."""

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(shape=st.sampled_from(sorted(SHAPES)))
    def open_a_store(self, shape: str) -> None:
        self.shape = shape
        refine, parts = SHAPES[shape]
        self.cast = Cast(TWO, layer={"refine": {"quorum": 2, **refine}}, defaults={"attempts": 1}, **parts)
        self.cast.ticks = {"b": 40, "d": 40, "z": 20, "y": 20}  # else all that happens would happen at once
        self.other = self.cast.changed(lambda spec: spec["aggregator"].update(model="y"))
        self.store = self.do(self.open.enter_async_context(open_store("memory:")))

    def teardown(self) -> None:
        self.do(self.open.aclose())
        self.loop.close()
        self.patch.undo()
        ids._last_v6_timestamp = None

    def runs(self, thread: str) -> Runs:
        return self.cast.runs(self.store, self.specs[thread])

    def thread(self, number: int) -> str:
        names = sorted(self.reported)
        return names[number % len(names)]

    # --- what a process does ---

    @rule(failing=FAILING, crash=CRASH, stop=st.booleans())
    def start(self, failing: str, crash: int | None, stop: bool) -> None:
        thread = f"t{len(self.reported)}"
        self.specs[thread] = self.cast.spec
        self.reported[thread], self.calls[thread] = {}, 0
        running = self.runs(thread).start("Why?", thread=thread, turn="1", breakpoints="all" if stop else ())
        self.run(thread, running, failing, crash)

    @precondition(lambda self: self.answers)
    @rule(number=st.integers(0, 9), failing=FAILING, crash=CRASH)
    def ask_again(self, number: int, failing: str, crash: int | None) -> None:
        thread = sorted(self.answers)[number % len(self.answers)]
        turn = f"later-{sum(self.cast.sent.values())}"
        before = dict(self.reported[thread]), self.calls[thread]
        self.reported[thread], self.calls[thread] = {}, 0
        answer = self.answers.pop(thread)
        if not self.run(thread, self.runs(thread).start("And?", thread=thread, turn=turn), failing, crash):
            self.reported[thread], self.calls[thread] = before  # the clock forbade it
            self.answers[thread] = answer

    @precondition(lambda self: self.reported)
    @rule(number=st.integers(0, 9), failing=FAILING, crash=CRASH, stop=st.booleans())
    def resume(self, number: int, failing: str, crash: int | None, stop: bool) -> None:
        thread = self.thread(number)
        running = self.runs(thread).step(thread) if stop else self.runs(thread).resume(thread)
        self.run(thread, running, failing, crash)

    @precondition(lambda self: self.reported)
    @rule(number=st.integers(0, 9))
    def resume_twice_at_once(self, number: int) -> None:
        thread = self.thread(number)
        before, due = self.cast.sent, set(self.reported[thread])

        async def both() -> list[Any]:
            self.cast.hold("abcdzy")
            works = [asyncio.create_task(self.runs(thread).resume(thread)._finish()) for _ in range(2)]
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
            self.cast.release()
            return await asyncio.gather(*works, return_exceptions=True)

        ends = self.do(both())
        kinds = {type(end) for end in ends}
        assert kinds <= {Run, ThreadBusy} or kinds == {StoreError} or kinds == {StoreError, ThreadBusy}, ends
        self.check_asked(thread, self.cast.since(before), due)
        self.look(thread, self.cast.since(before))

    @precondition(lambda self: self.reported)
    @rule(
        number=st.integers(0, 9),
        place=st.sampled_from(["draft/a", "draft/b", "refine/d", "draft/me"]),
        text=st.sampled_from([None, "Mine.", "Yours."]),
    )
    def edit(self, number: int, place: str, text: str | None) -> None:
        thread = self.thread(number)
        before = self.cast.sent
        options: dict[str, Any] = {"drop": True} if text is None else {"text": text}
        with contextlib.suppress(ThreadError, StoreError):
            known = {record["id"] for record in self.status(thread).proposals}
            if text is not None and place not in known:
                options["add"] = True
            self.do(self.runs(thread).edit(thread, place, **options))
            self.reported[thread].pop(place, None)
            if text is not None:
                self.reported[thread][place] = text
        assert self.cast.since(before) == {}

    @precondition(lambda self: self.reported)
    @rule(
        number=st.integers(0, 9),
        step=st.none() | st.sampled_from(["draft", "refine", "aggregator"]),
        other=st.booleans(),
    )
    def fork_any(self, number: int, step: str | None, other: bool) -> None:
        self.fork(self.thread(number), step, other)

    @rule(failing=FAILING, crash=st.integers(3, 14), other=st.booleans())
    def go_on_in_a_fork(self, failing: str, crash: int, other: bool) -> None:
        thread = f"t{len(self.reported)}"
        self.start(failing, crash, stop=False)
        fork = self.fork(thread, None, other)
        if fork is not None:
            self.run(fork, self.runs(fork).resume(fork), "", None)

    def fork(self, thread: str, step: str | None, other: bool) -> str | None:
        try:
            there = self.status(thread)
        except ThreadError:
            return None  # its process died before it was there
        before = self.cast.sent
        spec = self.other if other else self.specs[thread]
        try:
            run = self.do(self.runs(thread).fork(thread, before=step, spec=spec))
        except (ThreadError, StoreError):
            return None
        assert self.cast.since(before) == {}
        assert self.status(thread) == there
        self.note_carried(run, spec)
        if step is None:  # what was reported is never bought again, in no fork either
            assert self.proposed(thread).items() <= self.reported[run.thread].items()
            assert other or there.answer == run.answer
        return run.thread

    @precondition(lambda self: self.reported)
    @rule(number=st.integers(0, 9))
    def export_and_import(self, number: int) -> None:
        thread, before = self.thread(number), self.cast.sent
        try:
            there = self.status(thread)
        except ThreadError:
            return  # its process died before it was there
        lines = self.do(self.runs(thread).export(thread))
        content = "".join(map(dump_line, lines)).encode()
        with contextlib.suppress(StoreError):
            run = self.do(self.runs(thread).import_(content, to=f"t{len(self.reported)}"))
            assert self.cast.since(before) == {}
            assert [run.proposals, run.aides, run.answer] == [there.proposals, there.aides, there.answer]
            self.note_carried(run, self.specs[thread])

    def note_carried(self, run: Run, spec: Any) -> None:
        self.specs[run.thread] = spec
        self.carried.add(run.thread)
        self.calls[run.thread] = run.calls
        self.reported[run.thread] = {
            record["id"]: record["text"] for record in run.proposals if record["status"] == "ok"
        }
        if run.answer is not None:
            self.answers[run.thread] = run.answer

    def proposed(self, thread: str) -> dict[str, str]:
        """Return what was reported but for what was said about proposals."""
        return {id_: text for id_, text in self.reported[thread].items() if "/@" not in id_}

    @precondition(lambda self: self.reported)
    @rule(number=st.integers(0, 9))
    def resume_under_a_changed_spec(self, number: int) -> None:
        thread, before = self.thread(number), self.cast.sent
        changed = self.cast.changed(lambda spec: spec.update(description="Another one."))
        with pytest.raises(SpecMismatch):
            self.do(self.cast.runs(self.store, changed).resume(thread)._finish())
        assert self.cast.since(before) == {}

    @rule(seconds=st.sampled_from([0, 3600, 7200]))
    def set_the_clock(self, seconds: int) -> None:
        self.patch.setattr(time, "time", lambda: _REAL() - seconds)
        self.patch.setattr(time, "time_ns", lambda: _REAL_NS() - seconds * 10**9)
        ids._last_v6_timestamp = None  # as in a new process

    # --- what must hold ---

    def run(self, thread: str, running: Running, failing: str, crash: int | None) -> bool:
        """Run until it ends or the process dies; return False where the clock forbade it."""
        before, due = self.cast.sent, set(self.reported[thread])
        answered = thread in self.answers
        self.cast.fail(failing)
        try:
            self.do(self.follow(thread, running, crash))
        except StoreError as error:
            assert "the clock is" in error.message  # noqa: PT017 -- other errors may come as well
            assert self.cast.since(before) == {}
            return False
        except RunError:
            pass
        finally:
            self.cast.mend()
        asked = self.cast.since(before)
        self.check_asked(thread, asked, due)
        assert not (answered and asked)
        if crash is not None:
            self.calls[thread] = None  # what was under way is not known to the thread
        self.look(thread, asked)
        return True

    def check_asked(self, thread: str, asked: dict[str, int], due: set[str]) -> None:
        """Check that nobody was asked twice, nor for what was reported before; `due` are those ids."""
        assert not due & self.ids(thread, asked)
        about = ASKED.get(self.shape, {})
        for name, times in asked.items():
            assert times <= about.get(name, 1)
        if thread not in self.carried and any(name in asked for name in about):
            had = Counter(self.slot(id_) for id_ in due if "/@" in id_)
            assert all(had[name] + asked.get(name, 0) <= most for name, most in about.items())
        known = self.calls[thread]
        if known is not None:
            self.calls[thread] = known + sum(asked.values())

    def slot(self, id_: str) -> str:
        """Return who is asked under the id of an aide."""
        return {"@r": "m", "@c": "m", "@s": "x", "@j": "x"}.get(id_.partition("/")[2][:2], "")

    async def follow(self, thread: str, running: Running, crash: int | None) -> None:
        number = 0
        async with contextlib.aclosing(running.events()) as events:
            async for event in events:
                if event["type"] == "call.finished":
                    text = event["proposal"]["text"]
                    if event["role"] == "aggregator":
                        self.answers[thread] = text
                    elif event["role"] == "proposer" or thread not in self.carried:
                        self.reported[thread][event["id"]] = text
                number += 1
                if number == crash:
                    break
        if number == crash and (record := await self.store.read(thread)) is not None:
            record["turns"][-1]["status"] = "running"  # a process that is killed has no last words
            await self.store.write(thread, record)

    def ids(self, thread: str, asked: dict[str, int]) -> set[str]:
        return {f"{layer}/{name}" for layer, names in TWO.items() for name in names if name in asked}

    def look(self, thread: str, asked: dict[str, int]) -> None:
        """Note what a look at a thread reports, and compare its answer's prompt with what it shows."""
        if thread not in {summary.thread for summary in self.do(self.runs(thread).threads())}:
            return  # its process died before it was there
        run = self.status(thread)
        about = [] if thread in self.carried else run.aides
        self.reported[thread] |= {
            record["id"]: record["text"] for record in [*run.proposals, *about] if record["status"] == "ok"
        }
        # Those that were cut have been sent, but their answers were not waited for.
        assert self.calls[thread] in (None, run.calls) or self.shape == "agreed"
        if run.answer is not None:
            self.answers[thread] = run.answer
        aggregator = self.specs[thread].aggregator.model
        if run.answer is not None and aggregator in asked:
            last = run.stopped["layer"] if run.stopped else "refine"
            shown = [each["text"] for each in run.proposals if each["layer"] == last and is_shown(each)]
            assert split_references(self.cast.seen(aggregator))[1] == shown

    def status(self, thread: str) -> Run:
        return self.do(self.runs(thread).status(thread))

    @invariant()
    def nothing_is_lost(self) -> None:
        for thread, texts in self.reported.items():
            if not texts and thread not in self.answers:
                continue
            run = self.status(thread)
            records = [*run.proposals, *run.aides]
            there = {record["id"]: record["text"] for record in records if record["status"] == "ok"}
            assert texts.items() <= there.items()
            assert run.status != "running"
            if thread in self.answers and run.answer is not None:
                assert run.answer == self.answers[thread]


TestThreads = Threads.TestCase
TestThreads.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
