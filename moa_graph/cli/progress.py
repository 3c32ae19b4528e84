"""What is known of a run while it goes on, built from its events alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from moa_graph.usage import Usage, add_usage, total_cost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moa_graph.events import Event
    from moa_graph.state import Failure, Proposal

__all__ = ["Progress", "Row", "RowState", "View"]

RowState = Literal["waiting", "running", "retrying", "done", "failed", "cut"]


class View(Protocol):
    """Show a run while it goes on; `close` may be called twice."""

    def event(self, event: Event) -> None:
        """Take note of an event, which the progress already knows of."""

    def pause(self) -> None:
        """Leave the terminal to the answer that begins now."""

    def close(self) -> None:
        """End the display; what it shows last stays."""


@dataclass
class Row:
    """Hold what is known of one call; `seconds` is None until it ended."""

    id: str
    model: str = ""
    state: RowState = "waiting"
    attempts: int = 0
    began: float | None = None
    seconds: float | None = None
    usage: Usage | None = None
    cost: float | None = None
    failure: Failure | None = None

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
    """Follow a run: a row per proposer under its layer, and the rows of the aggregators."""

    name: str = ""
    layers: dict[str, list[Row]] = field(default_factory=dict)
    aggregators: list[Row] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    attempted: list[Proposal] = field(default_factory=list)  # the records of the aggregators
    finished: dict[str, Any] | None = None
    began: float = field(default_factory=time.monotonic)

    def feed(self, event: Event) -> None:
        """Take in one event; events of an unknown type are passed over."""
        match event["type"]:
            case "run.started":
                self.name = event["name"]
                self.layers = {
                    layer: [Row(f"{layer}/{id_}") for id_ in ids] for layer, ids in event["layers"].items()
                }
            case "call.started":
                row = self._row(event["id"], event["role"])
                row.state, row.model, row.began = "running", event["model"], time.monotonic()
                row.attempts = 1
            case "call.retried":
                row = self._row(event["id"], event["role"])
                row.state, row.failure, row.attempts = "retrying", event["failure"], event["attempt"] + 1
            case "call.finished" | "call.failed":
                self._end(self._row(event["id"], event["role"]), event["proposal"])
                records = self.proposals if event["role"] == "proposer" else self.attempted
                records.append(event["proposal"])
            case "run.finished":
                self.finished = dict(event)
            case _:
                pass

    def rows(self) -> Iterator[Row]:
        """Yield every row in spec order, the aggregators last."""
        for rows in self.layers.values():
            yield from rows
        yield from self.aggregators

    def calls(self) -> int:
        """Return the number of requests sent so far."""
        return sum(row.attempts for row in self.rows())

    def usage(self) -> Usage:
        """Return the tokens of all calls that ended."""
        return add_usage(row.usage for row in self.rows())

    def cost(self) -> float | None:
        """Return USD of all calls that ended; None where a price is unknown."""
        return total_cost({"cost": row.cost, "usage": row.usage} for row in self.rows())

    def seconds(self) -> float:
        """Return seconds since the run began."""
        return round(time.monotonic() - self.began, 4)

    def _row(self, id_: str, role: str) -> Row:
        rows = self.aggregators if role == "aggregator" else self.layers.setdefault(id_.partition("/")[0], [])
        for row in rows:
            if row.id == id_:
                return row
        rows.append(Row(id_))
        return rows[-1]

    @staticmethod
    def _end(row: Row, proposal: Proposal) -> None:
        row.state = {"ok": "done", "cut": "cut"}.get(proposal["status"], "failed")  # type: ignore[assignment]
        row.attempts = proposal["attempts"]
        row.seconds = proposal["seconds"]
        row.usage, row.cost, row.failure = proposal["usage"], proposal["cost"], proposal["failure"]
