"""What is seen of a run while it goes on: progress on stderr, the answer on stdout as it comes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from moa_graph.cli.lines import Lines, Silence
from moa_graph.cli.text import PlainStream, plain, reason

if TYPE_CHECKING:
    from pathlib import Path

    from moa_graph.cli.progress import Progress, View
    from moa_graph.events import Event
    from moa_graph.state import Failure

__all__ = ["Manner", "Screen", "view_of"]


@dataclass(frozen=True)
class Manner:
    """Say what is shown of a run, and where it is recorded; `layer` shows the proposals before a stop."""

    stream: bool = False
    as_json: bool = False
    quiet: bool = False
    proposals: bool = False
    record: Path | None = None
    layer: bool = False


class Screen:
    """Pass events to the view and the answer's tokens to stdout."""

    def __init__(self, progress: Progress, view: View, stream: bool) -> None:
        self.stream = stream
        self._progress = progress
        self._view = view
        self._plain = PlainStream()
        self._streamed = False

    def event(self, event: Event) -> None:
        """Take in an event; a failed attempt of an aggregator voids what was streamed of it."""
        if event["type"] == "call.streamed":
            if event["role"] == "aggregator":
                self.token(event["text"])
            return
        self._progress.feed(event)
        if event["type"] == "call.retried" and event["role"] == "aggregator":
            self._void(event["failure"])
        elif event["type"] == "call.failed" and event["role"] == "aggregator":
            self._void(event["proposal"]["failure"])
        self._view.event(event)

    def token(self, text: str) -> None:
        """Write a piece of the answer as it arrives."""
        self._write(self._plain.feed(text))

    def say(self, line: str) -> None:
        """Write a line to stderr, beside the progress."""
        self._view.say(line)

    def finish(self, answer: str | None) -> None:
        """End the streamed answer; write it whole if its model did not stream."""
        if self.stream and answer is not None:
            self._write(self._plain.flush())
            if not self._streamed:
                self._write(plain(answer))
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


def view_of(manner: Manner, progress: Progress) -> View:
    """Return how the progress is shown: a live table on a terminal, lines elsewhere, or not at all."""
    if manner.quiet:
        return Silence()
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return Lines()
    from moa_graph.cli.live import LiveTable  # noqa: PLC0415 -- rich is needed on terminals only

    return LiveTable(progress)
