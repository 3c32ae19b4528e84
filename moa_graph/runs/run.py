"""What a thread's turn gave so far, as one record."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage

from moa_graph.estimate import estimate
from moa_graph.execution import totals
from moa_graph.passages import Passage, ShownSource
from moa_graph.runs.records import RunStatus
from moa_graph.runs.thread import Thread
from moa_graph.state import Proposal, is_proposal
from moa_graph.terms import lowered
from moa_graph.usage import Usage, add_usage

__all__ = ["Run", "describe"]


@dataclass(frozen=True)
class Run:
    """Hold one turn of a thread: how it stands, what it gave, what it took.

    `status` is "running", "interrupted" (`resume` goes on), "answered" or "failed" (`reason` says why;
    `resume` tries again what failed). `proposals` are in spec order: those of layers that ended, those that
    are committed already, and those that failed; `aides` are the calls about proposals (of rankers, judges
    …). `stopped` says after which `layer` and for what `reason` the layers ended early, `decision` how the
    proposal was chosen that is the answer. `cost` is USD, None where a price is unknown; `calls` counts
    requests; `seconds` add up over all processes. `next_layer` is the layer (or "retrieve", or
    "aggregator") that comes next, `calls_left` the calls that the rest takes when all goes well,
    `cost_left` USD that it costs at most then, None if that has no bound. `passages` were retrieved for
    everybody before the first layer; `sources` are those of all passages that anybody was shown, once there
    is an answer; `citations` are the ids that it cites, `cited` and `unknown`, where the spec has them
    checked. `saved` is False for an answer that the store failed to keep. `notes` are what the host noted
    with the turn. `message` is the answer's message, with the tools that it calls and the run's summary.
    """

    thread: str
    turn: str
    status: RunStatus
    question: str = ""
    reason: str = ""
    answer: str | None = None
    answered_by: str | None = None
    proposals: list[Proposal] = field(default_factory=list)
    aides: list[Proposal] = field(default_factory=list)
    aggregators: list[dict[str, Any]] = field(default_factory=list)
    usage: Usage = field(default_factory=lambda: add_usage(()))
    cost: float | None = 0.0
    calls: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    sources: list[ShownSource] = field(default_factory=list)
    citations: dict[str, list[str]] | None = None
    decision: dict[str, Any] | None = None
    stopped: dict[str, str] | None = None
    next_layer: str | None = None
    calls_left: int = 0
    cost_left: float | None = 0.0
    checkpoint: str | None = None
    saved: bool = True
    notes: dict[str, Any] = field(default_factory=dict)
    message: AIMessage | None = field(default=None, repr=False, compare=False)

    def plain(self) -> dict[str, Any]:
        """Return all but `message` and `notes` as plain data."""
        data = asdict(replace(self, message=None, notes={}))
        return {name: value for name, value in data.items() if name not in {"message", "notes"}}


def describe(thread: Thread) -> Run:
    """Return how a thread's turn stands."""
    turn, answer = thread.turn, thread.answer
    failures = thread.failures
    records = _in_order(thread, failures)
    common: dict[str, Any] = {
        "thread": thread.record.thread,
        "turn": turn.id,
        "status": turn.status,
        "question": turn.question,
        "reason": turn.reason,
        "proposals": [record for record in records if is_proposal(record)],
        "aides": [record for record in records if not is_proposal(record)],
        "stopped": _stopped(thread),
        "passages": thread.passages,
        "seconds": turn.seconds,
        "checkpoint": thread.checkpoint if thread.begun else None,
        "notes": turn.notes,
        "message": answer,
    }
    if answer is not None:
        summary = answer.response_metadata["moa"]
        return Run(
            **common,
            answer=str(answer.text),
            answered_by=summary["answered_by"],
            aggregators=[*summary["failed_aggregators"], summary["aggregator"]],
            usage=summary["usage"],
            cost=summary["cost"],
            calls=summary["calls"],
            warnings=summary["warnings"],
            sources=summary.get("sources", []),
            citations=summary.get("citations"),
            decision=summary.get("decision"),
        )
    made = [thread.reply] if thread.reply else []
    paid_for = [*{**thread.kept, **thread.finished, **thread.proposals}.values(), *failures, *made]
    needless = {layer.name for layer in thread.spec.layers} - set(thread.steps)
    ended = needless.union(thread.ended_steps)
    limits = lowered(thread.spec.limits, turn.terms.get("limits"))
    # Where it was enough after a layer, that one's proposals are the last that anybody sees.
    layers = [layer for layer in thread.spec.layers if not thread.stopped or layer.name in thread.steps]
    spec = thread.spec.model_copy(update={"limits": limits, "layers": layers})
    left = estimate(spec, thread.mixture.price, paid(thread), thread.question_tokens, ended)
    return Run(
        **common,
        aggregators=[
            dict(record) for record in failures if record["layer"] == "aggregator" and is_proposal(record)
        ],
        **totals(paid_for),
        warnings=list(thread.values.get("moa_warnings") or []) if thread.ended_steps else [],
        next_layer=thread.next_step,
        calls_left=0 if made else left.calls,
        cost_left=0.0 if made else left.max_cost,
    )


def _stopped(thread: Thread) -> dict[str, str] | None:
    stopped = thread.stopped
    return {"layer": stopped["layer"], "reason": stopped["reason"]} if stopped else None


def paid(thread: Thread) -> set[str]:
    """Return the ids of the calls that the step which comes next does not make any more."""
    return {*thread.finished, *thread.kept}


def _in_order(thread: Thread, failures: list[Proposal]) -> list[Proposal]:
    """Return one record per proposal: the state's, else a committed one, else the last failure."""
    newest = {
        record["id"]: record
        for record in failures
        if record["layer"] != "aggregator" or not is_proposal(record)
    }
    known = {**newest, **thread.kept, **thread.finished, **thread.proposals}
    named = [known.pop(id_) for id_ in thread.ids if id_ in known]
    layers = thread.steps
    return sorted([*named, *known.values()], key=lambda record: layers.index(record["layer"]))
