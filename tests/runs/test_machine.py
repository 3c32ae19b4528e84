"""Threads under whatever order of events: nothing that was reported is paid twice, lost, or not shown."""

from __future__ import annotations

import asyncio
import contextlib
import time
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
from moa_graph.runs.run import Run
from moa_graph.runs.running import Running
from moa_graph.runs.stores import open_store
from moa_graph.runs.threads import Runs
from tests.runs.cast import TWO, Cast

T = TypeVar("T")

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
        self.cast = Cast(TWO, layer={"refine": {"quorum": 2}})
        self.cast.ticks = {"b": 40, "d": 40, "z": 20, "y": 20}  # else all that happens would happen at once
        self.other = self.cast.changed(lambda spec: spec["aggregator"].update(model="y"))
        self.specs: dict[str, Any] = {}
        self.reported: dict[str, dict[str, str]] = {}
        """By thread: what somebody was told to be finished, with its text; what was edited, as it is now."""
        self.answers: dict[str, str] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def open_a_store(self) -> None:
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
        self.reported[thread] = {}
        running = self.runs(thread).start("Why?", thread=thread, turn="1", breakpoints="all" if stop else ())
        self.run(thread, running, failing, crash)

    @precondition(lambda self: self.answers)
    @rule(number=st.integers(0, 9), failing=FAILING, crash=CRASH)
    def ask_again(self, number: int, failing: str, crash: int | None) -> None:
        thread = sorted(self.answers)[number % len(self.answers)]
        turn = f"later-{sum(self.cast.sent.values())}"
        before = dict(self.reported[thread])
        self.reported[thread] = {}
        answer = self.answers.pop(thread)
        if not self.run(thread, self.runs(thread).start("And?", thread=thread, turn=turn), failing, crash):
            self.reported[thread], self.answers[thread] = before, answer  # the clock forbade it

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
        asked = self.cast.since(before)
        assert all(times == 1 for times in asked.values())
        assert not due & self.ids(thread, asked)
        self.look(thread, asked)

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
        self.specs[run.thread] = spec
        self.reported[run.thread] = {
            record["id"]: record["text"] for record in run.proposals if record["status"] == "ok"
        }
        if run.answer is not None:
            self.answers[run.thread] = run.answer
        if step is None:  # what was reported is never bought again, in no fork either
            assert self.reported[thread].items() <= self.reported[run.thread].items()
            assert other or there.answer == run.answer
        return run.thread

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
        assert all(times == 1 for times in asked.values())
        assert not due & self.ids(thread, asked)
        assert not (answered and asked)
        self.look(thread, asked)
        return True

    async def follow(self, thread: str, running: Running, crash: int | None) -> None:
        number = 0
        async with contextlib.aclosing(running.events()) as events:  # type: ignore[type-var]
            async for event in events:
                if event["type"] == "call.finished":
                    if event["role"] == "proposer":
                        self.reported[thread][event["id"]] = event["proposal"]["text"]
                    else:
                        self.answers[thread] = event["proposal"]["text"]
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
        self.reported[thread] |= {
            record["id"]: record["text"] for record in run.proposals if record["status"] == "ok"
        }
        if run.answer is not None:
            self.answers[thread] = run.answer
        aggregator = self.specs[thread].aggregator.model
        if run.answer is not None and aggregator in asked:
            shown = [
                record["text"]
                for record in run.proposals
                if record["layer"] == "refine" and record["status"] == "ok"
            ]
            assert split_references(self.cast.seen(aggregator))[1] == shown

    def status(self, thread: str) -> Run:
        return self.do(self.runs(thread).status(thread))

    @invariant()
    def nothing_is_lost(self) -> None:
        for thread, texts in self.reported.items():
            if not texts and thread not in self.answers:
                continue
            run = self.status(thread)
            there = {record["id"]: record["text"] for record in run.proposals if record["status"] == "ok"}
            assert texts.items() <= there.items()
            assert run.status != "running"
            if thread in self.answers and run.answer is not None:
                assert run.answer == self.answers[thread]


TestThreads = Threads.TestCase
TestThreads.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
