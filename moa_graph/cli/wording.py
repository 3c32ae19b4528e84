"""What the commands on threads say alike: proposals, what is left, what to type next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from moa_graph.cli.place import shell_word
from moa_graph.cli.text import dollars, one_line, plain, reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moa_graph.cli.place import Place
    from moa_graph.runs.run import Run
    from moa_graph.state import Proposal

__all__ = ["count", "error_of", "left", "next_command", "shown", "to_json"]


def to_json(record: Any) -> str:
    """Return one JSON object; it is ASCII, so that no terminal escape gets through."""
    return json.dumps(record, indent=2)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `2 calls`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def next_command(name: str, place: Place) -> str:
    """Return a command on a thread, as it can be typed."""
    end = ["--"] if place.thread.startswith("-") else []
    return " ".join(["moa", name, *place.options, *end, shell_word(place.thread)])


def left(run: Run) -> str:
    """Return what the rest of a turn takes."""
    if run.next_layer is None:
        return "nothing"
    cost = "cost unknown" if run.cost_left is None else f"cost at most {dollars(run.cost_left)}"
    return f"{count(run.calls_left, 'call')}, {cost}, if nothing is tried twice; next: {run.next_layer}"


def error_of(proposal: Proposal) -> str:
    """Return why a record holds no proposal; "" if it does."""
    match proposal["status"]:
        case "ok":
            return ""
        case "dropped":
            return "dropped by hand"
        case status:
            return f"{status}: {reason(proposal['failure'])}"


def shown(proposals: Sequence[Proposal]) -> Iterator[str]:
    """Yield every proposal under its id; of a failed one the reason, never its text."""
    for proposal in proposals:
        edited = ", edited" if proposal["edited"] else ""
        yield f"── {one_line(proposal['id'])} ({one_line(proposal['requested_model'])}{edited})"
        error = error_of(proposal)
        yield f"[{error}]" if error else plain(proposal["text"])
        yield ""
