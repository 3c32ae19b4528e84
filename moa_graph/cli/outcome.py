"""How a run ended, as one JSON object and as the summary on stderr."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from moa_graph.cli.faults import error_record
from moa_graph.cli.text import dollars, one_line, plain, reason, seconds, tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moa_graph.cli.progress import Progress
    from moa_graph.errors import RunError
    from moa_graph.state import Proposal
    from moa_graph.usage import Usage

__all__ = ["Outcome", "answered", "failed", "refused", "show_proposals", "stopped", "summarize"]

_NOTHING: Usage = {"input_tokens": 0, "output_tokens": 0, "source": "provider"}


@dataclass(frozen=True)
class Outcome:
    """Hold what a run gave; the fields are those of `moa run --json`."""

    status: str
    answer: str | None = None
    answered_by: str | None = None
    thread: str | None = None
    proposals: list[Proposal] = field(default_factory=list)
    usage: Usage = field(default_factory=_NOTHING.copy)
    cost: float | None = 0.0
    calls: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    aggregators: list[Mapping[str, Any]] = field(default_factory=list)
    error: Mapping[str, str] | None = None

    def as_json(self) -> str:
        """Return one JSON object; it is ASCII, so that no terminal escape gets through."""
        record = {**vars(self), "usage": dict(self.usage)}
        if self.error is None:
            del record["error"]
        return json.dumps(record, indent=2)


def answered(state: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a run that ended with an answer, from its last state."""
    message = state["messages"][-1]
    summary = message.response_metadata["moa"]
    return Outcome(
        status=state["status"],
        answer=str(message.text),
        answered_by=summary["answered_by"],
        proposals=list(state["proposals"].values()),
        aggregators=[*summary["failed_aggregators"], summary["aggregator"]],
        usage=summary["usage"],
        cost=summary["cost"],
        calls=summary["calls"],
        seconds=summary["seconds"],
        warnings=summary["warnings"],
    )


def failed(error: RunError, progress: Progress) -> Outcome:
    """Return the outcome of a run that ended with an error; what was paid for is in the error."""
    usage: Any = error.usage or _NOTHING
    return Outcome(
        status="failed",
        proposals=[record for record in error.proposals if _is_proposal(record)],  # type: ignore[misc]
        aggregators=[record for record in error.proposals if not _is_proposal(record)],
        usage=usage,
        cost=error.cost,
        calls=error.calls,
        seconds=progress.finished["seconds"] if progress.finished else progress.seconds(),
        error=error_record(error),
    )


def refused(error: Mapping[str, str]) -> Outcome:
    """Return the outcome of a run that did not begin; `error` has `type`, `message` and `hint`."""
    return Outcome(status="failed", error=error)


def stopped(progress: Progress) -> Outcome:
    """Return the outcome of a run that a signal ended, as far as its events told."""
    count = sum(row.state in ("running", "retrying") for row in progress.rows())
    hint = (
        f"{count} call{'s were' if count != 1 else ' was'} under way and may be billed, too." if count else ""
    )
    return Outcome(
        status="failed",
        proposals=progress.proposals,
        aggregators=list(progress.attempted),
        usage=progress.usage(),
        cost=progress.cost(),
        calls=progress.calls(),
        seconds=progress.seconds(),
        error={"type": "Interrupted", "message": "the run was interrupted", "hint": hint},
    )


def summarize(outcome: Outcome) -> None:
    """Write to stderr who answered, what it took, and what went wrong on the way."""
    took = (
        f"{outcome.calls} call{'s' * (outcome.calls != 1)}, {tokens(outcome.usage)} tokens, "
        f"cost {dollars(outcome.cost)}, {seconds(outcome.seconds)}"
    )
    begin = f"answered by {one_line(outcome.answered_by)}" if outcome.answered_by else "paid for"
    typer.echo(f"{begin}: {took}", err=True)
    for warning in outcome.warnings:
        typer.echo(f"  {one_line(warning, 300)}", err=True)


def show_proposals(proposals: Sequence[Proposal]) -> None:
    """Write every proposal under its id to stderr; of a failed one the reason, never its text."""
    for proposal in proposals:
        typer.echo(f"── {proposal['id']} ({one_line(proposal['requested_model'])})", err=True)
        if proposal["status"] == "ok":
            typer.echo(plain(proposal["text"]), err=True)
        else:
            typer.echo(f"[{proposal['status']}: {reason(proposal['failure'])}]", err=True)
        typer.echo("", err=True)


def _is_proposal(record: Mapping[str, Any]) -> bool:
    # The records of a failed run end with those of the aggregators that were tried.
    return bool(record["layer"] != "aggregator")
