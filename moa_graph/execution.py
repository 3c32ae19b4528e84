"""One run as its nodes see it: the budget they share, what they emit, and how the run ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.config import get_stream_writer
from typing_extensions import TypedDict

from moa_graph.budget import Budget
from moa_graph.errors import (
    AggregatorFailed,
    BudgetExceeded,
    DeadlineExceeded,
    MoAError,
    ModelNotReady,
    QuorumNotMet,
    RetrievalFailed,
    RunError,
)
from moa_graph.events import Emit
from moa_graph.passages import Passage
from moa_graph.prompts import new_nonce
from moa_graph.proposers import Request
from moa_graph.proposers.around import check_depth, paying
from moa_graph.proposers.overflow import fitting
from moa_graph.resources import Resources
from moa_graph.selecting.visibility import Offer, changes_in
from moa_graph.spec.schema import LayerSpec, MoASpec
from moa_graph.state import MoAState, Proposal, Reference, Stopped
from moa_graph.terms import Terms, given_terms, lowered
from moa_graph.usage import Usage, add_usage, total_cost

__all__ = ["LEFT", "Execution", "enter", "totals"]

LEFT = "because its step ended"
"""Why calls are cut that outlive the step that they belong to."""

_NEEDS = {"tools": "call tools", "response_format": "answer in a given form"}
"""Arguments of the aggregator's call that only a model that writes the answer can follow."""

_HINTS: dict[type[RunError], str] = {
    QuorumNotMet: "Mend what failed, or lower the layer's quorum, and run again.",
    AggregatorFailed: "Mend the aggregator or give it fallbacks, and run again.",
    DeadlineExceeded: "Raise limits.deadline, or give slow layers a quorum and a grace.",
    RetrievalFailed: "Mend the retriever, or let the run do without it (`on_error: continue`).",
    RunError: "Mend what failed, or let the layer do without it (`on_error`).",
    BudgetExceeded: "Raise limits.max_calls or limits.max_cost, or make the mixture smaller.",
}


@dataclass(frozen=True)
class Execution:
    """Hold what a node needs of the run that it is part of.

    `first` tells that a turn begins with this node.
    """

    spec: MoASpec
    state: MoAState
    proposals: dict[str, Proposal]
    nonce: str
    budget: Budget
    emit: Emit
    first: bool
    terms: Terms = field(default_factory=Terms)

    @property
    def paid(self) -> Sequence[Proposal]:
        """Return the records of calls of this turn that failed earlier."""
        return self.terms.get("paid") or []

    @property
    def passages(self) -> list[Passage]:
        """Return the passages that everybody sees; those of the turn before are nobody's."""
        return [] if self.first else self.state.get("passages") or []

    @property
    def question(self) -> str:
        """Return the text of the message that is being answered."""
        return str(self.state["messages"][-1].text)

    @property
    def stopped(self) -> Stopped | None:
        """Return after which layer of this turn it was enough, and why; None where all layers run."""
        stopped = self.state.get("moa_stopped")
        return stopped if stopped and stopped["message"] == self.state["messages"][-1].id else None

    def before(self, layer: LayerSpec | None) -> list[LayerSpec]:
        """Return the layers that ran before one; before the aggregator (None) those up to the stop."""
        last = self.stopped["layer"] if self.stopped else None
        ran = []
        for each in self.spec.layers:
            if layer is not None and each.name == layer.name:
                break
            ran.append(each)
            if each.name == last:
                break
        return ran

    def offer(self, ran: Sequence[LayerSpec]) -> Offer:
        """Return what there is to see of layers that ran."""
        return Offer([layer.name for layer in ran], list(self.proposals.values()))

    def changes(self, ran: Sequence[LayerSpec]) -> str | None:
        """Return what the last of the layers changed, where somebody wrote that down."""
        return changes_in(self.proposals, ran[-1].name if ran else None)

    @property
    def kept(self) -> dict[str, Proposal]:
        """Return the records that were carried over for this turn: nobody is asked for them again."""
        kept = self.state.get("moa_kept")
        return kept["proposals"] if kept and kept["message"] == self.state["messages"][-1].id else {}

    @property
    def made(self) -> Mapping[str, Proposal]:
        """Return what an earlier process made of the step that this run begins with."""
        return self.terms.get("made") or {}

    def kept_in(self, layer: LayerSpec) -> dict[str, Proposal]:
        """Return what is there of one layer."""
        known = {**self.kept, **self.made}
        return {id_: record for id_, record in known.items() if record["layer"] == layer.name}

    def known(self, id_: str, references: Sequence[Reference]) -> Proposal | None:
        """Return the record of a call about references that need not be made any more, None if there is none.

        What was made of the very same step stays, also where one proposal more has come since; what was
        carried over has to be about the same proposals, of which some may have been too long for its prompt.
        """
        kept = self.kept.get(id_)
        if kept is not None and kept["references"] != fitting(references, kept):
            kept = None
        return self.made.get(id_, kept)

    def request(
        self, references: Sequence[Reference], ran: Sequence[LayerSpec] = (), seconds: float | None = None
    ) -> Request:
        """Return what calls of one node share; they end after `seconds` or at the run's deadline.

        `ran` are the layers that the references come from.
        """
        deadline = self.budget.deadline
        return Request(
            messages=self.state["messages"],
            references=references,
            minimum=ran[-1].quorum if ran else 0,
            nonce=self.nonce,
            budget=self.budget,
            emit=self.emit,
            deadline=deadline if seconds is None else min(deadline, time.monotonic() + seconds),
            stop=asyncio.get_running_loop().create_future(),
            passages=self.passages,
            acting=self.terms.get("acting") or {},
            relay=self.terms.get("relay"),
            changes=self.changes(ran),
        )

    def update(self, records: dict[str, Proposal]) -> dict[str, Any]:
        """Return a step's update of the state; the first step of a turn clears the turn before."""
        update: dict[str, Any] = {"status": "running"}
        # Not LangGraph's Overwrite: it would copy the layer into the checkpoint, and every later turn anew.
        before = (self.state.get("proposals") or {}) if self.first else {}
        # What a record lacks is not to be taken from the one of the same name in the turn before.
        unsaid: dict[str, Any] = {"left_out": "", "passages": [], "nonce": self.nonce}
        fresh = {
            id_: {key: value for key, value in unsaid.items() if key in before.get(id_, {})} | record
            for id_, record in records.items()
        }
        if changes := {**dict.fromkeys(before), **fresh}:
            update["proposals"] = changes
        if self.state.get("budget") is None:
            update["budget"] = self.budget
        if (before_kept := self.state.get("moa_kept")) is not None:
            past = {record["layer"] for record in records.values()}
            later = {id_: record for id_, record in self.kept.items() if record["layer"] not in past}
            update["moa_kept"] = {**before_kept, "proposals": later} if later else None
        if self.first:
            update["nonce"] = self.nonce
            # What the turn before retrieved; a node that retrieves itself overwrites this.
            update |= {key: [] for key in ("passages", "moa_warnings") if self.state.get(key)}
        return update

    def failed(
        self, error: type[RunError], message: str, records: Sequence[Proposal], hint: str = ""
    ) -> RunError:
        """Return the error that ends this run, after reporting it.

        `records` are the calls of the node that failed. Where time or budget is the cause, the error says so;
        else `hint` says what may help, where that is not the usual.
        """
        usual = error
        kinds = {record["failure"]["kind"] for record in records if record["failure"]}
        if self.budget.expired:
            error = DeadlineExceeded
            message = f"the run's deadline of {self.budget.limits.deadline:g} s passed: {message}"
        elif "budget" in kinds:
            error = BudgetExceeded
        paid = [*self.proposals.values(), *records]
        sums = totals([*self.paid, *paid])
        hint = hint if hint and error is usual else _HINTS[error]
        raised = error(_with_reasons(message, records), hint=hint, proposals=paid, **sums)
        self.emit(
            {
                "type": "run.finished",
                "status": "failed",
                "answered_by": None,
                **sums,
                "seconds": round(self.budget.seconds, 4),
                "error": {"type": error.__name__, "message": raised.message, "hint": raised.hint},
            }
        )
        return raised


class Totals(TypedDict):
    """Add up records; `cost` is USD, None where unknown."""

    usage: Usage
    cost: float | None
    calls: int


def totals(records: Sequence[Proposal]) -> Totals:
    """Return what the calls of records took together."""
    return {
        "usage": add_usage(record["usage"] for record in records),
        "cost": total_cost(records),
        "calls": sum(record["attempts"] for record in records),
    }


def _with_reasons(message: str, records: Sequence[Proposal]) -> str:
    reasons = [
        f"{record['id']}: {record['failure']['kind']}: {record['failure']['message']}"
        for record in records
        if record["failure"]
    ]
    return "\n  ".join([message, *reasons])


async def enter(resources: Resources, state: MoAState, *, first: bool) -> Execution:
    """Join the run, or begin it: the first node to run in this process loads the models and starts the clock.

    Raises ModelNotReady before any call when something is not there, MoAError when there is no message.
    """
    spec, terms = resources.spec, given_terms()
    check_depth(spec.name)
    if not state.get("messages"):
        raise MoAError(
            "there is nothing to answer", hint='Give at least one message: {"messages": [("user", "…")]}.'
        )
    emit: Emit = terms.get("listen") or get_stream_writer()
    # A new turn of a conversation starts with no proposals, and pays for itself alone.
    proposals = {} if first else dict(state.get("proposals") or {})
    budget: Budget | None = state.get("budget")
    if budget is None:
        limits = lowered(spec.limits, terms.get("limits"))
        await resources.ready()  # importing a provider takes a second
        _check_acting(resources, terms.get("acting") or {})
        paid = [*proposals.values(), *(terms.get("paid") or [])]
        payer = paying()
        budget = Budget(limits, paid, payer.account if payer else None)
        if payer:
            budget.deadline = min(budget.deadline, payer.deadline)
        emit(
            {
                "type": "run.started",
                "name": spec.name,
                "resumed": not first,
                "layers": {layer.name: [id_ for id_, _ in layer.ids()] for layer in spec.layers},
                "aggregator": spec.aggregator.model or spec.aggregator.reduce,
            }
        )
    nonce = new_nonce() if first else state.get("nonce") or new_nonce()
    return Execution(spec, state, proposals, nonce, budget, emit, first, terms)


def _check_acting(resources: Resources, acting: Mapping[str, Any]) -> None:
    """Raise ModelNotReady where the aggregator cannot call tools, or answer in a form, as it is asked to."""
    aggregator, hint = resources.spec.aggregator, "Choose an aggregator that can. Nothing was called."
    wanted = [need for name, need in _NEEDS.items() if acting.get(name)]
    if wanted and (aggregator.reduce != "synthesize" or aggregator.model is None):
        raise ModelNotReady(
            f"the aggregator takes a proposal as it is (reduce: {aggregator.reduce}), and cannot {wanted[0]}",
            hint=hint,
        )
    slot = aggregator.model if acting.get("tools") else None
    if slot is not None and resources.models.lacks_tools(slot):
        requested = resources.models.requested(slot)
        raise ModelNotReady(f"models.{slot} ({requested}), the aggregator, cannot call tools", hint=hint)
