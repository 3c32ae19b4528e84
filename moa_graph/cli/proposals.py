"""Proposals in words, and what the rest of a turn takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moa_graph.cli.text import at_most, count, one_line, plain, reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moa_graph.runs.run import Run
    from moa_graph.state import Proposal

__all__ = ["error_of", "left", "shown"]


def left(run: Run) -> str:
    """Return what the rest of a turn takes."""
    if run.next_layer is None:
        return "nothing"
    takes = f"{count(run.calls_left, 'call')}, {at_most(run.cost_left)}"
    return f"{takes}, if nothing is tried twice; next: {run.next_layer}"


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
        if found := proposal.get("passages"):
            yield f"[passages of its own: {', '.join(one_line(passage['id']) for passage in found)}]"
        error = error_of(proposal)
        yield f"[{error}]" if error else plain(proposal["text"])
        yield ""
