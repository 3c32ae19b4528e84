"""Run a turn of a thread, as `run --thread`, `resume` and `step` do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from moa_graph.cli.faults import error_record
from moa_graph.cli.outcome import Outcome, failed, kept, refused, stopped, with_hint
from moa_graph.cli.progress import Progress
from moa_graph.cli.running import conduct, read_spec
from moa_graph.errors import MoAError, ModelNotReady, RunError, StoreError, ThreadBusy, ThreadError
from moa_graph.runs.commands import thread_name
from moa_graph.runs.threads import Runs

if TYPE_CHECKING:
    from moa_graph.cli.place import Place
    from moa_graph.cli.screen import Manner, Screen
    from moa_graph.runs.run import Run
    from moa_graph.runs.running import Running
    from moa_graph.runs.threads import Breakpoints
    from moa_graph.spec.schema import MoASpec

__all__ = ["Approval", "Asked", "ask", "go_on"]


@dataclass(frozen=True)
class Asked:
    """Hold a question to a thread, and how it is asked; see Runs.start."""

    message: str
    turn: str | None
    breakpoints: Sequence[str]
    abandon: bool


@dataclass(frozen=True)
class Approval:
    """Let the proposals of the layer that ended last pass, in somebody's name."""

    who: str | None

    async def give(self, runs: Runs, thread: str) -> str:
        """Note the approval; return what to say about it."""
        run = await runs.approve(thread, who=self.who)
        layers = [record["layer"] for record in run.proposals if record["layer"] != run.next_layer]
        return f"approved {layers[-1]}"


def ask(spec: str, asked: Asked, place: Place, manner: Manner, *, wait: bool) -> None:
    """Ask a question in a thread, a new one or one that is there; raise typer.Exit unless it ends well."""
    turn = _ThreadTurn(
        place,
        lambda runs: runs.start(
            asked.message,
            thread=place.thread,
            turn=asked.turn,
            breakpoints=_steps(asked.breakpoints),
            abandon=asked.abandon,
        ),
        spec=read_spec(spec, manner, place.thread),
        goes_on=lambda standing: standing.turn == asked.turn,
        wait=wait,
    )
    conduct(turn, manner)


def go_on(
    place: Place,
    manner: Manner,
    *,
    spec: str | None,
    breakpoints: Sequence[str],
    wait: bool,
    approval: Approval | None = None,
) -> None:
    """Go on with a thread; raise typer.Exit unless that ends well."""
    turn = _ThreadTurn(
        place,
        lambda runs: runs.resume(place.thread, breakpoints=_steps(breakpoints)),
        spec=read_spec(spec, manner, place.thread) if spec is not None else None,
        before=(lambda runs: approval.give(runs, place.thread)) if approval else None,
        wait=wait,
    )
    conduct(turn, manner)


def _steps(breakpoints: Sequence[str]) -> Breakpoints:
    return "all" if "all" in breakpoints else breakpoints


@dataclass
class _ThreadTurn:
    """Run what `begin` begins in a thread.

    `spec` is what a new thread is made by, and what a thread that is there is checked against. `before`
    is done first, once, and says what it did. `goes_on` tells whether a turn as it stands is the one that
    the run goes on with. With `wait` a busy thread is waited for.
    """

    place: Place
    begin: Callable[[Runs], Running]
    spec: MoASpec | None = None
    before: Callable[[Runs], Awaitable[str]] | None = None
    goes_on: Callable[[Run], bool] = lambda _: True
    wait: bool = False
    progress: Progress = field(default_factory=Progress)
    _standing: Run | None = None

    async def follow(self, screen: Screen) -> Outcome:
        """Run the turn, showing each event; what it gave is handed over even if the store fails then."""
        run: Run | None = None
        try:
            async with Runs.open(self.place.db, self.spec, key_env=self.place.key_env) as runs:
                run = await self._patiently(runs, screen)
        except StoreError:
            if run is None:
                raise
        assert run is not None  # noqa: S101 - there is a run, or an error was raised
        return replace(kept(run), go_on=self.place.go_on)

    def failed(self, error: MoAError) -> Outcome:
        """Return what the turn took so far, and how to go on with it."""
        record, thread = error_record(error), self.place.thread
        if isinstance(error, ModelNotReady) or (isinstance(error, RunError) and self.progress.begun):
            record = with_hint(record, f"To go on: {self.place.go_on}")
        if self._standing is not None:
            return replace(kept(self._standing), status="failed", error=record)
        if isinstance(error, RunError):
            return replace(
                failed(error, self.progress), thread=thread, reason=error.message, saved=False, error=record
            )
        return refused(record, thread)

    def stopped(self) -> Outcome:
        """Return how far the turn came, and how to go on with it."""
        outcome = replace(stopped(self.progress), thread=self.place.thread)
        if not self.progress.begun:
            return outcome
        error = with_hint(outcome.error or {}, f"What is done is kept: {self.place.go_on}")
        return replace(outcome, status="interrupted", reason="cancelled", saved=True, error=error)

    async def _patiently(self, runs: Runs, screen: Screen) -> Run:
        """Run the turn; while the thread is busy try again, for what is restored grows meanwhile."""
        told = False
        while True:
            try:
                return await self._run(runs, screen)
            except ThreadBusy:
                if not self.wait:
                    raise
                if not told:
                    screen.say(f"thread {thread_name(self.place.thread)} is run by somebody else: waiting")
                told = True

    async def _run(self, runs: Runs, screen: Screen) -> Run:
        standing = await self._status(runs)
        if standing is not None and self.goes_on(standing):
            self.progress.restore(standing)
        if self.before is not None:
            screen.say(await self.before(runs))
            self.before = None
        running = self.begin(runs)
        try:
            async for event in running.events(tokens=screen.stream):
                screen.event(event)
        except StoreError:
            raise  # to ask a store that has failed would take long, and give nothing
        except RunError:
            with suppress(StoreError):
                self._standing = await self._status(runs)
            raise
        assert running.result is not None  # noqa: S101 - the loop has ended without an error
        return running.result

    async def _status(self, runs: Runs) -> Run | None:
        """Return how the thread stands; None where there is none."""
        try:
            return await runs.status(self.place.thread)
        except ThreadError:
            return None
