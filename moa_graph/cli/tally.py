"""Progress of an evaluation on stderr: a line for each item, or one that is drawn again and again."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol

import typer

from moa_graph.cli.text import count, dollars, one_line, plain, seconds

if TYPE_CHECKING:
    from moa_graph.evaluation.running import Evaluation, Happened
    from moa_graph.evaluation.scoring import Record

__all__ = ["Tally", "tally_of"]


class Tally(Protocol):
    """Show how far an evaluation is; `close` may be called twice."""

    def restored(self, evaluation: Evaluation) -> None:
        """Begin, with what was done before."""

    def happened(self, happened: Happened) -> None:
        """Take note of an item that began or ended."""

    def close(self) -> None:
        """End the display; what it shows last stays."""


def tally_of(*, quiet: bool) -> Tally:
    """Return how the progress is shown: drawn on a terminal, as lines elsewhere, or not at all."""
    if quiet:
        return _Silence()
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return _Lines()
    from moa_graph.cli.livetally import LiveTally  # noqa: PLC0415 -- rich is needed on terminals only

    return LiveTally()


class _Silence:
    def restored(self, evaluation: Evaluation) -> None:
        """Pass it over."""

    def happened(self, happened: Happened) -> None:
        """Pass it over."""

    def close(self) -> None:
        """Do nothing: nothing was begun."""


class _Lines(_Silence):
    def restored(self, evaluation: Evaluation) -> None:
        """Say what is there already."""
        self._evaluation = evaluation
        if line := kept(evaluation):
            typer.echo(line, err=True)

    def happened(self, happened: Happened) -> None:
        """Write the line of an item that ended."""
        if happened.type == "ended" and happened.record is not None:
            evaluation = self._evaluation
            place = f"[{len(evaluation.records)}/{len(evaluation.plan.items)}]"
            typer.echo(f"{place} {describe(happened.record)}", err=True)


def kept(evaluation: Evaluation) -> str:
    """Return what earlier processes did, as a line; "" for nothing."""
    done = sum(record["status"] == "answered" for record in evaluation.records.values())
    failed = len(evaluation.records) - done
    if not done and not failed:
        return ""
    again = f", {failed} failed and tried again" if failed else ""
    total = count(len(evaluation.plan.items), "item")
    return f"kept from before: {done} of {total} answered{again}, cost {dollars(evaluation.cost)}"


def describe(record: Record) -> str:
    """Return an item that ended as one line."""
    took = f"{count(record['calls'], 'call')}, cost {dollars(record['cost'])}, {seconds(record['seconds'])}"
    id_ = plain(one_line(str(record["id"]), 60))
    if record["error"] is not None:
        return f"{id_}: failed: {record['error']['type']}: {one_line(record['error']['message'])}; {took}"
    verdict = {True: "correct", False: "wrong", None: "answered"}[record["correct"]]
    return f"{id_}: {verdict}, {took}"
