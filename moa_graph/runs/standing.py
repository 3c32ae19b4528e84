"""How a thread's turns stand before anything is run, and what may be run then."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

from moa_graph.errors import MoAError, ThreadError
from moa_graph.runs.commands import command
from moa_graph.runs.history import threads_of
from moa_graph.runs.records import SILENT_END, ThreadRecord, Turn
from moa_graph.runs.run import Run, describe
from moa_graph.runs.thread import Thread

__all__ = [
    "Breakpoints",
    "answered",
    "check_beginning",
    "check_breakpoints",
    "ended",
    "given_up",
    "incomplete",
    "not_after",
    "settle",
    "unanswered",
    "unknown_turn",
]

Breakpoints = Literal["all"] | Collection[str]
"""Steps to stop before: names of layers, "aggregator", or "all" of them."""


def settle(thread: Thread) -> bool:
    """Note that a turn is answered if its state says so, which its process may have had no time for."""
    turn = thread.turn
    if not (thread.begun and thread.answered):
        return False
    turn.status, turn.reason, turn.checkpoint, turn.messages = "answered", "", thread.checkpoint, []
    return True


def ended(thread: Thread) -> Thread:
    """Return a thread that nobody runs with the status that its process had no time to note."""
    if not settle(thread) and thread.turn.status == "running":
        thread.turn.status, thread.turn.reason = "interrupted", SILENT_END
    return thread


def answered(turn: Turn) -> Turn:
    """Return an earlier turn that has an answer; raise ThreadError for one that was given up."""
    if turn.checkpoint is None:
        raise ThreadError(f"turn {turn.id!r} was given up", hint="Ask under another turn id.")
    return turn


async def given_up(latest: Thread, turn: Turn) -> Run:
    """Return how an earlier turn stands that another question took the place of."""
    there = [each for each in await threads_of(latest) if each.begun and each.turn is turn]
    run = describe(there[-1] if there else replace(latest, turn=turn))
    status: Literal["failed", "interrupted"] = "failed" if turn.status == "failed" else "interrupted"
    return replace(run, status=status, reason="given up", next_layer=None, calls_left=0, cost_left=0.0)


def unanswered(record: ThreadRecord) -> ThreadError:
    """Return the error of a question that comes while the one before it has no answer."""
    return ThreadError(
        f"the last question of thread {record.thread!r} has no answer yet",
        hint=f"Go on with it (`{command('resume', record.thread)}`), or give it up "
        "(`--abandon`, `abandon=True`).",
    )


def unknown_turn(record: ThreadRecord, turn: str) -> ThreadError:
    """Return the error of looking for a turn that a thread does not have."""
    return ThreadError(
        f"thread {record.thread!r} has no turn {turn[:80]!r}",
        hint="Its last ones are: " + ", ".join(repr(each.id) for each in record.turns[-3:]) + ".",
    )


def not_after(thread: str, turn: str) -> ThreadError:
    """Return the error of a question that goes on from a turn which is not a thread's last answered one."""
    return ThreadError(
        f"the last answered turn of thread {thread!r} is not {turn[:80]!r}: nothing can go on from it there",
        hint="Go on from the thread's last turn, or in a fork that is taken where that one was answered.",
    )


def incomplete(thread: Thread) -> bool:
    """Tell whether a thread is a fork that was noted, but whose checkpoint was not written."""
    return thread.record.origin is not None and "moa_turn" not in thread.metadata


def check_beginning(thread: Thread) -> None:
    """Raise ThreadError where a turn would begin on checkpoints that are not of the turns before it."""
    if incomplete(thread):
        raise ThreadError(
            f"fork {thread.record.thread!r} was not completed", hint="Delete it and fork again."
        )
    if "moa_turn" not in thread.metadata:
        thread.check_unused()


def check_breakpoints(breakpoints: Breakpoints, steps: list[str]) -> list[str]:
    """Return the steps to stop before; raise MoAError for a name that is no step's."""
    if breakpoints == "all":
        return steps
    chosen = [breakpoints] if isinstance(breakpoints, str) else list(breakpoints)
    unknown = [name for name in chosen if name not in steps]
    if unknown:
        raise MoAError(
            f"there is no step {unknown[0]!r} to stop before", hint=f"The steps are: {', '.join(steps)}."
        )
    return chosen
