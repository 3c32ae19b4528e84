"""Proposals in words, and what the rest of a turn takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moa_graph.cli.text import at_most, count, one_line, plain, reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from moa_graph.runs.run import Run
    from moa_graph.state import Proposal

__all__ = ["NEEDLESS", "decided", "error_of", "is_needless", "left", "shown"]

NEEDLESS = "not needed: enough proposals agree"


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
        case "cut" if is_needless(proposal):
            return NEEDLESS
        case "cut" if proposal["failure"] and not proposal["attempts"]:
            return one_line(proposal["failure"]["message"])
        case status:
            return f"{status}: {reason(proposal['failure'])}"


def is_needless(proposal: Proposal) -> bool:
    """Tell whether a proposer was not asked, or cut, because enough others agreed: nothing failed."""
    from moa_graph import state  # noqa: PLC0415 -- a mistake in usage need not wait for LangGraph

    return state.is_needless(proposal)


def decided(decision: Mapping[str, Any] | None) -> str:
    """Return how the proposal was chosen that is the answer, in words; "" where one was written."""
    if decision is None:
        return ""
    by = str(decision["by"])
    if "votes" in decision:
        return f"{one_line(by)} {decision['votes']:g} of {decision['total']:g}"
    return {"alone": "the only proposal", "first": "the first proposal"}.get(by, one_line(by))


def shown(proposals: Sequence[Proposal], aides: Sequence[Proposal] = ()) -> Iterator[str]:
    """Yield every proposal under its id, then what was said about them; of a failed call the reason alone."""
    for proposal in proposals:
        yield from _shown(proposal)
    if aides:
        yield "What was said about the proposals:"
        yield ""
    for aide in aides:
        yield from _shown(aide)


def _shown(proposal: Proposal) -> Iterator[str]:
    marks = [one_line(proposal["requested_model"])]
    if proposal["edited"]:
        marks.append("edited")
    if why := proposal.get("left_out"):
        marks.append(f"left out: {one_line(why)}")
    yield f"── {one_line(proposal['id'])} ({', '.join(marks)})"
    if found := proposal.get("passages"):
        yield f"[passages of its own: {', '.join(one_line(passage['id']) for passage in found)}]"
    error = error_of(proposal)
    yield f"[{error}]" if error else plain(proposal["text"])
    yield ""
