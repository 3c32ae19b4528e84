"""What is known of a run while it goes on, built from its events alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from moa_graph.state import is_needless, is_proposal
from moa_graph.usage import Usage, add_usage, total_cost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moa_graph.events import Event
    from moa_graph.runs.run import Run
    from moa_graph.state import Failure, Proposal

__all__ = ["Progress", "Row", "RowState", "View"]

RowState = Literal["waiting", "running", "retrying", "done", "failed", "cut", "dropped", "not needed"]


class View(Protocol):
    """Show a run while it goes on; `close` may be called twice."""

    def event(self, event: Event) -> None:
        """Take note of an event, which the progress already knows of."""

    def say(self, line: str) -> None:
        """Write a line that is no event."""

    def pause(self) -> None:
        """Leave the terminal to the answer that begins now."""

    def close(self) -> None:
        """End the display; what it shows last stays."""


@dataclass
class Row:
    """Hold what is known of one call; `seconds` is None until it ended.

    `restored` marks one that was paid for before this process began. `left_out` says why nobody is shown the
    proposal.
    """

    id: str
    model: str = ""
    state: RowState = "waiting"
    attempts: int = 0
    began: float | None = None
    seconds: float | None = None
    usage: Usage | None = None
    cost: float | None = None
    failure: Failure | None = None
    restored: bool = False
    left_out: str = ""

    @property
    def is_aide(self) -> bool:
        """Tell whether the call is about proposals: a ranker's, a judge's and so on."""
        return self.name.startswith("@")

    @property
    def name(self) -> str:
        """Return the id without its layer."""
        return self.id.partition("/")[2]

    def elapsed(self, now: float) -> float | None:
        """Return seconds since the call began, or what it took; None while it waits."""
        if self.seconds is not None or self.began is None:
            return self.seconds
        return now - self.began


@dataclass
class Progress:
    """Follow a run: a row per call under its layer, and the rows of the aggregators."""

    name: str = ""
    layers: dict[str, list[Row]] = field(default_factory=dict)
    aggregators: list[Row] = field(default_factory=list)
    attempted: list[Mapping[str, Any]] = field(default_factory=list)  # the records of the aggregators
    finished: dict[str, Any] | None = None
    began: float = field(default_factory=time.monotonic)
    _records: dict[str, Proposal] = field(default_factory=dict)
    _before: Run | None = None

    def restore(self, before: Run) -> None:
        """Take in what earlier processes did in this turn: it is shown as it ended, and counts once."""
        self._before = before
        self._records = {record["id"]: record for record in [*before.proposals, *before.aides]}
        self.attempted = list(before.aggregators)

    def feed(self, event: Event) -> None:
        """Take in one event; events of an unknown type are passed over."""
        match event["type"]:
            case "run.started":
                self.name = event["name"]
                self.layers = {
                    layer: [Row(f"{layer}/{id_}") for id_ in ids] for layer, ids in event["layers"].items()
                }
                self._show_restored()
            case "call.started":
                row = self._row(event["id"], event["role"])
                vars(row).update(vars(Row(row.id, event["model"], "running", 1, time.monotonic())))
            case "call.retried":
                row = self._row(event["id"], event["role"])
                row.state, row.failure, row.attempts = "retrying", event["failure"], event["attempt"] + 1
            case "call.finished" | "call.failed":
                self._end(self._row(event["id"], event["role"]), event["proposal"])
                if event["role"] == "aggregator":
                    self.attempted.append(event["proposal"])
                else:
                    self._records[event["id"]] = event["proposal"]
            case "run.finished":
                self.finished = dict(event)
            case _:
                self._settle(event)

    def _settle(self, event: Event) -> None:
        """Take in what follows when a layer has joined."""
        match event["type"]:
            case "layer.joined":
                self._close(event["layer"])
            case "layer.selected":
                for id_, why in event["left_out"].items():
                    self._row(id_, "proposer").left_out = why
                    if id_ in self._records:
                        self._records[id_] = {**self._records[id_], "left_out": why}
            case "layers.stopped":
                self._stop_after(event["layer"])
            case _:
                pass

    @property
    def begun(self) -> bool:
        """Tell whether the run itself has begun; with a thread, it can be gone on with from then on."""
        return bool(self.name)

    @property
    def proposals(self) -> list[Proposal]:
        """Return the newest record of each proposer that has one, in spec order."""
        return [record for record in self._in_order() if is_proposal(record)]

    @property
    def aides(self) -> list[Proposal]:
        """Return the newest record of each call about proposals, in the order of their layers."""
        return [record for record in self._in_order() if not is_proposal(record)]

    def _in_order(self) -> list[Proposal]:
        known = dict(self._records)
        shown = [known.pop(row.id) for row in self.rows() if row.id in known]
        return [*shown, *known.values()]

    def rows(self) -> Iterator[Row]:
        """Yield every row in spec order, the aggregators last."""
        for rows in self.layers.values():
            yield from rows
        yield from self.aggregators

    def calls(self) -> int:
        """Return the number of requests sent so far."""
        before = self._before.calls if self._before else 0
        return before + sum(row.attempts for row in self._new())

    def usage(self) -> Usage:
        """Return the tokens of all calls that ended."""
        before = self._before.usage if self._before else None
        return add_usage([before, *(row.usage for row in self._new())])

    def cost(self) -> float | None:
        """Return USD of all calls that ended; None where a price is unknown."""
        before = [{"cost": self._before.cost, "usage": self._before.usage}] if self._before else []
        return total_cost([*before, *({"cost": row.cost, "usage": row.usage} for row in self._new())])

    def seconds(self) -> float:
        """Return seconds since the run began, with those of earlier processes."""
        before = self._before.seconds if self._before else 0.0
        return round(before + time.monotonic() - self.began, 4)

    def _new(self) -> Iterator[Row]:
        return (row for row in self.rows() if not row.restored)

    def _show_restored(self) -> None:
        if self._before is None:
            return
        for record in [*self._before.proposals, *self._before.aides]:
            again = record["layer"] == self._before.next_layer
            if (
                record["status"] == "ok" or not again
            ):  # what failed in a layer that has not ended is tried again
                row = self._row(record["id"], record.get("role", "proposer"))
                self._end(row, record)
                row.restored = True
        if self._before.stopped is not None:
            self._stop_after(self._before.stopped["layer"])

    def _close(self, layer: str) -> None:
        """Note who of a layer that has ended was never asked."""
        for row in self.layers.get(layer, []):
            if row.state == "waiting" and not row.is_aide:
                row.state = "not needed"

    def _stop_after(self, layer: str) -> None:
        names = list(self.layers)
        for name in names[names.index(layer) + 1 :] if layer in names else []:
            self._close(name)

    def _row(self, id_: str, role: str) -> Row:
        layer = id_.partition("/")[0]
        # Who is asked on the way to the answer stands beside the aggregator.
        final = role == "aggregator" or layer == "aggregator"
        rows = self.aggregators if final else self.layers.setdefault(layer, [])
        for row in rows:
            if row.id == id_:
                return row
        rows.append(Row(id_))
        return rows[-1]

    @staticmethod
    def _end(row: Row, proposal: Proposal) -> None:
        states: dict[str, RowState] = {"ok": "done", "cut": "cut", "dropped": "dropped"}
        row.state = "not needed" if is_needless(proposal) else states.get(proposal["status"], "failed")
        row.model = row.model or proposal["requested_model"]
        row.attempts = proposal["attempts"]
        row.seconds = proposal["seconds"]
        row.usage, row.cost, row.failure = proposal["usage"], proposal["cost"], proposal["failure"]
        row.left_out = proposal.get("left_out", "")
