"""How a run ended, as one JSON object and as the summary on stderr."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from moa_graph.cli.faults import complain, error_record
from moa_graph.cli.proposals import decided, shown
from moa_graph.cli.text import at_most, count, dollars, one_line, plain, seconds, to_json, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from moa_graph.cli.progress import Progress
    from moa_graph.cli.screen import Manner
    from moa_graph.errors import RunError
    from moa_graph.passages import ShownSource
    from moa_graph.runs.run import Run
    from moa_graph.state import Proposal
    from moa_graph.usage import Usage

__all__ = ["Outcome", "answered", "failed", "kept", "refused", "show", "stopped", "with_hint"]

_NOTHING: Usage = {"input_tokens": 0, "output_tokens": 0, "source": "provider"}


@dataclass(frozen=True)
class Outcome:
    """Hold what a run gave; the fields are those of `--json`, but for `go_on`: the command that goes on.

    Without a thread `thread`, `turn`, `saved` and what is left are None.
    """

    status: str
    answer: str | None = None
    answered_by: str | None = None
    thread: str | None = None
    proposals: list[Proposal] = field(default_factory=list)
    aides: list[Proposal] = field(default_factory=list)
    usage: Usage = field(default_factory=_NOTHING.copy)
    cost: float | None = 0.0
    calls: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    sources: list[ShownSource] = field(default_factory=list)
    citations: dict[str, list[str]] | None = None
    decision: Mapping[str, Any] | None = None
    stopped: Mapping[str, str] | None = None
    aggregators: list[Mapping[str, Any]] = field(default_factory=list)
    turn: str | None = None
    reason: str = ""
    next_layer: str | None = None
    calls_left: int | None = None
    cost_left: float | None = None
    saved: bool | None = None
    error: Mapping[str, str] | None = None
    go_on: str = ""

    def as_json(self) -> str:
        """Return one JSON object; it is ASCII, so that no terminal escape gets through."""
        record = {**vars(self), "usage": dict(self.usage)}
        del record["go_on"]
        if self.error is None:
            del record["error"]
        return to_json(record)


def answered(state: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a run that ended with an answer, from its last state."""
    message = state["messages"][-1]
    summary = message.response_metadata["moa"]
    proposals, aides = _apart(state["proposals"].values())
    return Outcome(
        status=state["status"],
        answer=str(message.text),
        answered_by=summary["answered_by"],
        proposals=proposals,
        aides=aides,
        aggregators=[*summary["failed_aggregators"], summary["aggregator"]],
        usage=summary["usage"],
        cost=summary["cost"],
        calls=summary["calls"],
        seconds=summary["seconds"],
        warnings=summary["warnings"],
        sources=summary.get("sources", []),
        citations=summary.get("citations"),
        decision=summary.get("decision"),
        stopped=summary.get("stopped"),
    )


def kept(run: Run) -> Outcome:
    """Return the outcome of a turn of a thread, as it stands."""
    return Outcome(
        status=run.status,
        answer=run.answer,
        answered_by=run.answered_by,
        thread=run.thread,
        proposals=run.proposals,
        aides=run.aides,
        usage=run.usage,
        cost=run.cost,
        calls=run.calls,
        seconds=run.seconds,
        warnings=run.warnings,
        sources=run.sources,
        citations=run.citations,
        decision=run.decision,
        stopped=run.stopped,
        aggregators=list(run.aggregators),
        turn=run.turn,
        reason=run.reason,
        next_layer=run.next_layer,
        calls_left=run.calls_left,
        cost_left=run.cost_left,
        saved=run.saved,
    )


def failed(error: RunError, progress: Progress) -> Outcome:
    """Return the outcome of a run that ended with an error; what was paid for is in the error."""
    usage: Any = error.usage or _NOTHING
    records: Any = error.proposals
    made, aides = _apart(records)
    return Outcome(
        status="failed",
        # The records of a failed run end with those of the aggregators that were tried.
        proposals=[record for record in made if record["layer"] != "aggregator"],
        aides=aides,
        aggregators=[record for record in made if record["layer"] == "aggregator"],
        usage=usage,
        cost=error.cost,
        calls=error.calls,
        seconds=progress.finished["seconds"] if progress.finished else progress.seconds(),
        error=error_record(error),
    )


def refused(error: Mapping[str, str], thread: str | None = None) -> Outcome:
    """Return the outcome of a run that did not begin; `error` has `type`, `message` and `hint`."""
    return Outcome(status="failed", thread=thread, error=error)


def with_hint(error: Mapping[str, str], hint: str) -> dict[str, str]:
    """Return an error that also says `hint`."""
    return {**error, "hint": " ".join(filter(None, [error["hint"], hint]))}


def stopped(progress: Progress) -> Outcome:
    """Return the outcome of a run that a signal ended, as far as its events told."""
    busy = sum(row.state in ("running", "retrying") for row in progress.rows())
    hint = (
        f"{count(busy, 'call')} {'were' if busy != 1 else 'was'} under way and may be billed, too."
        if busy
        else ""
    )
    return Outcome(
        status="failed",
        proposals=progress.proposals,
        aides=progress.aides,
        aggregators=list(progress.attempted),
        usage=progress.usage(),
        cost=progress.cost(),
        calls=progress.calls(),
        seconds=progress.seconds(),
        error={"type": "Interrupted", "message": "the run was interrupted", "hint": hint},
    )


def show(outcome: Outcome, manner: Manner) -> None:
    """Write the answer to stdout, and to stderr what there is to say about it."""
    if not manner.as_json and not manner.quiet:
        everything = (outcome.proposals, outcome.aides)
        for line in shown(*everything if manner.proposals else (_last_layer(outcome, manner),)):
            typer.echo(line, err=True)
    if manner.as_json:
        typer.echo(outcome.as_json())
    elif outcome.answer is not None and not manner.stream:
        typer.echo(plain(outcome.answer))
    if outcome.error is not None:
        complain(outcome.error)
    if not manner.quiet and (outcome.answer is not None or outcome.calls):
        _summarize(outcome)
    elif outcome.saved is False and outcome.answer is not None:
        _warn(outcome)
    if not manner.quiet and outcome.error is None and outcome.status == "interrupted":
        left = count(outcome.calls_left or 0, "call")
        typer.echo(f"left: {left}, {at_most(outcome.cost_left)}", err=True)
        typer.echo(f"interrupted {outcome.reason}: {outcome.go_on}", err=True)


def _summarize(outcome: Outcome) -> None:
    """Write who answered, what it took, and what went wrong on the way."""
    took = (
        f"{count(outcome.calls, 'call')}, {tokens(outcome.usage)} tokens, "
        f"cost {dollars(outcome.cost)}, {seconds(outcome.seconds)}"
    )
    how = f" ({said})" if (said := decided(outcome.decision)) else ""
    begin = f"answered by {one_line(outcome.answered_by)}{how}" if outcome.answered_by else "paid for"
    where = "" if outcome.thread is None else f"thread {one_line(outcome.thread)}: "
    typer.echo(f"{where}{begin}: {took}", err=True)
    _warn(outcome)


def _warn(outcome: Outcome) -> None:
    for warning in outcome.warnings:
        typer.echo(f"  {one_line(warning, 300)}", err=True)


def _last_layer(outcome: Outcome, manner: Manner) -> Sequence[Proposal]:
    """Return the proposals that a stop lets somebody look at: those of the layer that ended last."""
    if not manner.layer or outcome.status != "interrupted":
        return []
    ended = [record for record in outcome.proposals if record["layer"] != outcome.next_layer]
    return [record for record in ended if record["layer"] == ended[-1]["layer"]]


def _apart(records: Iterable[Proposal]) -> tuple[list[Proposal], list[Proposal]]:
    """Return the proposals, and what was said about them."""
    from moa_graph.state import is_proposal  # noqa: PLC0415 -- a mistake in usage need not wait for LangGraph

    made = list(records)
    return [each for each in made if is_proposal(each)], [each for each in made if not is_proposal(each)]
