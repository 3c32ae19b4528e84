"""Conduct a run: show what happens, how it ends, and leave with the right exit code."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import typer
from langchain_core.messages import AIMessageChunk

from moa_graph.cli.faults import error_record, exit_code
from moa_graph.cli.outcome import Outcome, answered, failed, refused, show, stopped
from moa_graph.cli.progress import Progress
from moa_graph.cli.screen import Manner, Screen, view_of
from moa_graph.cli.stopping import run_until_stopped
from moa_graph.errors import MoAError, RunError
from moa_graph.graph import build_graph
from moa_graph.spec.loading import load_spec

if TYPE_CHECKING:
    from moa_graph.spec.schema import MoASpec

__all__ = ["Work", "conduct", "read_spec", "run_spec"]


class Work(Protocol):
    """Do what a command is asked for, and tell how it ended."""

    progress: Progress

    async def follow(self, screen: Screen) -> Outcome:
        """Run, showing each event on the screen; raise MoAError if it fails."""

    def failed(self, error: MoAError) -> Outcome:
        """Return the outcome of a run that ended with an error."""

    def stopped(self) -> Outcome:
        """Return the outcome of a run that a signal ends now."""


def conduct(work: Work, manner: Manner) -> None:
    """Do the work in view of the user; raise typer.Exit unless it ended well."""
    try:
        outcome = _conduct(work, manner)
    except MoAError as error:
        show(work.failed(error), manner)
        raise typer.Exit(exit_code(error)) from error
    show(outcome, manner)


def read_spec(path: str, manner: Manner, thread: str | None = None) -> MoASpec:
    """Load a spec; show its faults and raise typer.Exit if it has any."""
    try:
        return load_spec(path)
    except MoAError as error:
        show(refused(error_record(error), thread), manner)
        raise typer.Exit(exit_code(error)) from error


def run_spec(path: str, message: str, manner: Manner) -> None:
    """Answer a message by the spec at `path`, keeping nothing; raise typer.Exit if there is no answer."""
    conduct(_Single(read_spec(path, manner), message), manner)


def _conduct(work: Work, manner: Manner) -> Outcome:
    with ExitStack() as stack:
        if manner.record is not None:
            from moa_graph.cli.recording import recorded  # noqa: PLC0415 -- needed with --record only

            stack.enter_context(recorded(manner.record))
        view = view_of(manner, work.progress)
        stack.callback(view.close)
        screen = Screen(work.progress, view, manner.stream)
        stack.callback(screen.end_line)

        def on_stop() -> None:
            view.close()
            screen.end_line()
            show(work.stopped(), manner)

        outcome = run_until_stopped(work.follow(screen), on_stop)
        screen.finish(outcome.answer)
    return outcome


class _Single:
    """Answer one message without a thread."""

    def __init__(self, spec: MoASpec, message: str) -> None:
        self.progress = Progress()
        self._spec = spec
        self._message = message

    async def follow(self, screen: Screen) -> Outcome:
        """Run the graph, show what it streams, and return the outcome of its last state."""
        graph: Any = build_graph(self._spec).compile()
        modes = ["custom", "values"] + ["messages"] * screen.stream
        state: dict[str, Any] = {}
        async for mode, data in graph.astream({"messages": [("user", self._message)]}, stream_mode=modes):
            match mode:
                case "custom":
                    screen.event(data)
                case "values":
                    state = data
                case _:
                    piece, metadata = data
                    if isinstance(piece, AIMessageChunk) and metadata.get("moa_role") == "aggregator":
                        screen.token(str(piece.text))
        return answered(state)

    def failed(self, error: MoAError) -> Outcome:
        """Return what was paid for, which is in the error."""
        return failed(error, self.progress) if isinstance(error, RunError) else refused(error_record(error))

    def stopped(self) -> Outcome:
        """Return how far the run came."""
        return stopped(self.progress)
