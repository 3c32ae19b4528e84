"""What a run does just now, in short lines for whoever waits for its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moa_graph.events import Event, LayerJoined, LayerSelected
from moa_graph.state import Proposal, is_proposal

__all__ = ["progress_line"]


def progress_line(event: Event) -> str | None:
    """Return a line about an event without its newline, None for what nobody needs to know.

    Of failures it says the kind: what providers said is not for clients.
    """
    tell = _TELLERS.get(event["type"])
    return tell(event) if tell else None


def _ended(record: Proposal) -> str | None:
    if record["layer"] == "aggregator" and record["status"] == "ok":
        return None  # the answer speaks for itself
    if not is_proposal(record) and record["status"] == "ok":
        return f"{record['id']}: done after {record['seconds']:.1f} s"
    if record["status"] == "ok":
        return f"{record['id']}: a proposal after {record['seconds']:.1f} s"
    kind = f" ({record['failure']['kind']})" if record["failure"] else ""
    return f"{record['id']}: {record['status']}{kind}"


def _joined(event: LayerJoined) -> str:
    others = event["failed"] + event["cut"]
    missing = f", {others} failed or cut" if others else ""
    return f"{event['layer']}: {_number(event['ok'], 'proposal')}{missing}, {event['seconds']:.1f} s"


def _selected(event: LayerSelected) -> str:
    kept = len(event["kept"])
    return f"{event['layer']}: {kept} of {_number(kept + len(event['left_out']), 'proposal')} go on"


def _number(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


_TELLERS: dict[str, Callable[[Any], str | None]] = {
    "layer.started": lambda event: f"{event['layer']}: asking {_number(len(event['proposers']), 'proposer')}",
    "layer.joined": _joined,
    "layer.selected": _selected,
    "layers.stopped": lambda event: f"{event['layer']}: enough: {event['reason']}",
    "retrieval.finished": lambda event: f"{event['retriever']}: {_number(event['passages'], 'passage')}",
    "retrieval.failed": lambda event: f"{event['retriever']}: failed",
    "call.started": lambda event: "writing the answer" if event["role"] == "aggregator" else None,
    "call.retried": lambda event: (
        f"{event['id']}: {event['failure']['kind']}, asking again in {event['wait']:.1f} s"
    ),
    "call.finished": lambda event: _ended(event["proposal"]),
    "call.failed": lambda event: _ended(event["proposal"]),
}
