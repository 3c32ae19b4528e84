"""Run a spec on one question, as `moa run` does."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from langchain_core.messages import AIMessageChunk

from moa_graph.cli.faults import complain, error_record, exit_code
from moa_graph.cli.lines import Lines, Silence
from moa_graph.cli.outcome import Outcome, answered, failed, refused, show_proposals, stopped, summarize
from moa_graph.cli.progress import Progress
from moa_graph.cli.stopping import run_until_stopped
from moa_graph.cli.text import PlainStream, plain, reason
from moa_graph.errors import MoAError, RunError
from moa_graph.graph import build_graph
from moa_graph.spec.loading import load_spec

if TYPE_CHECKING:
    from pathlib import Path

    from moa_graph.cli.progress import View
    from moa_graph.events import Event
    from moa_graph.models.recording import Recorder
    from moa_graph.state import Failure

__all__ = ["Manner", "run_spec"]


@dataclass(frozen=True)
class Manner:
    """Say what is shown of a run, and where it is recorded."""

    stream: bool = False
    as_json: bool = False
    quiet: bool = False
    proposals: bool = False
    record: Path | None = None


def run_spec(path: str, message: str, manner: Manner) -> None:
    """Answer a message by the spec at `path`; raise typer.Exit if there is no answer."""
    progress = Progress()
    try:
        _run(path, message, manner, progress)
    except MoAError as error:
        outcome = failed(error, progress) if isinstance(error, RunError) else refused(error_record(error))
        _show(outcome, manner)
        raise typer.Exit(exit_code(error)) from error


def _run(path: str, message: str, manner: Manner, progress: Progress) -> None:
    graph = build_graph(load_spec(path)).compile()
    config: dict[str, Any] = {}
    with ExitStack() as stack:
        if manner.record is not None:
            config["callbacks"] = [_recorder(manner.record, stack)]
        view = _view(manner, progress)
        stack.callback(view.close)
        screen = _Screen(progress, view, manner.stream)
        stack.callback(screen.end_line)

        def on_stop() -> None:
            view.close()
            screen.end_line()
            _show(stopped(progress), manner)

        state = run_until_stopped(_follow(graph, message, config, screen), on_stop)
        screen.finish(state["messages"][-1])
    _show(answered(state), manner)


async def _follow(graph: Any, message: str, config: dict[str, Any], screen: _Screen) -> dict[str, Any]:
    """Run the graph, show what it streams, and return its last state."""
    modes = ["custom", "values"] + ["messages"] * screen.stream
    state: dict[str, Any] = {}
    async for mode, data in graph.astream({"messages": [("user", message)]}, config, stream_mode=modes):
        match mode:
            case "custom":
                screen.event(data)
            case "values":
                state = data
            case _:
                screen.token(*data)
    return state


class _Screen:
    """Pass events to the view and the answer's tokens to stdout."""

    def __init__(self, progress: Progress, view: View, stream: bool) -> None:
        self.stream = stream
        self._progress = progress
        self._view = view
        self._plain = PlainStream()
        self._streamed = False

    def event(self, event: Event) -> None:
        """Take in an event; a failed attempt of an aggregator voids what was streamed of it."""
        self._progress.feed(event)
        if event["type"] == "call.retried" and event["role"] == "aggregator":
            self._void(event["failure"])
        elif event["type"] == "call.failed" and event["role"] == "aggregator":
            self._void(event["proposal"]["failure"])
        self._view.event(event)

    def token(self, message: object, metadata: dict[str, Any]) -> None:
        """Write a piece of the answer as it arrives."""
        if isinstance(message, AIMessageChunk) and metadata.get("moa_role") == "aggregator":
            self._write(self._plain.feed(str(message.text)))

    def finish(self, answer: Any) -> None:
        """End the streamed answer; write it whole if its model did not stream."""
        if self.stream:
            self._write(self._plain.flush())
            if not self._streamed:
                self._write(plain(str(answer.text)))
            self.end_line()

    def end_line(self) -> None:
        """End the line of an answer that was streamed, whole or not, so that nothing is glued to it."""
        if self._streamed:
            self._streamed = False
            typer.echo()

    def _void(self, failure: Failure | None) -> None:
        self._plain.flush()
        if self._streamed:
            self.end_line()
            typer.echo(f"what was written of the answer is void ({reason(failure)})", err=True)

    def _write(self, text: str) -> None:
        if text and not self._streamed:
            self._view.pause()
        self._streamed = self._streamed or bool(text)
        typer.echo(text, nl=False)


def _show(outcome: Outcome, manner: Manner) -> None:
    if manner.proposals and not manner.as_json:
        show_proposals(outcome.proposals)
    if manner.as_json:
        typer.echo(outcome.as_json())
    elif outcome.answer is not None and not manner.stream:
        typer.echo(plain(outcome.answer))
    if outcome.error is not None:
        complain(outcome.error)
    if not manner.quiet and (outcome.answer is not None or outcome.calls):
        summarize(outcome)


def _view(manner: Manner, progress: Progress) -> View:
    if manner.quiet:
        return Silence()
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return Lines()
    from moa_graph.cli.live import LiveTable  # noqa: PLC0415 -- rich is needed on terminals only

    return LiveTable(progress)


def _recorder(path: Path, stack: ExitStack) -> Recorder:
    from moa_graph.models.recording import Recorder  # noqa: PLC0415 -- needed with --record only

    try:
        return stack.enter_context(Recorder(path))
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror or error}", param_hint="--record") from error
