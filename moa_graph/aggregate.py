"""The final node: one model writes the answer; fallbacks take over in turn."""

from __future__ import annotations

from collections import Counter
from typing import Any

from langchain_core.messages import AIMessage

from moa_graph.errors import AggregatorFailed
from moa_graph.execution import Execution, enter, totals
from moa_graph.models.pool import ModelPool
from moa_graph.node import Dispatch, Node
from moa_graph.proposers import NoProposal
from moa_graph.proposers.call import ModelCaller, Reply
from moa_graph.spec.schema import LayerSpec, MoASpec
from moa_graph.state import MoAState, Proposal

__all__ = ["AggregatorNode"]

_FINAL: frozenset[str] = frozenset({"budget", "deadline"})
"""Failures after which no fallback can do better."""


class AggregatorNode(Node):
    """Write the answer from the last layer's proposals; with no layer, from the conversation alone.

    Raises AggregatorFailed, DeadlineExceeded or BudgetExceeded; the proposals are kept.
    """

    name = "aggregator"

    def __init__(self, spec: MoASpec, callers: list[ModelCaller], pool: ModelPool) -> None:
        self.spec = spec
        self.previous: LayerSpec | None = spec.layers[-1] if spec.layers else None
        self.callers = callers
        self.pool = pool

    async def run(self, state: MoAState, dispatch: Dispatch[Any]) -> dict[str, Any]:  # noqa: ARG002 - one call, no task
        """Return the answer as an update of the state."""
        execution = await enter(self.spec, self.pool, state, first=self.previous is None)
        references = execution.references(self.previous)
        if self.previous is not None and not references:
            message = f"aggregator: layer {self.previous.name} left no proposal to synthesize"
            raise execution.failed(AggregatorFailed, message, [])
        request = execution.request(references, self.previous)
        failures: list[Proposal] = []
        for caller in self.callers:
            try:
                reply = await caller.call(request)
            except NoProposal as none:
                failures.append(none.proposal)
                request.emit(
                    {"type": "call.failed", "id": caller.id, "role": "aggregator", "proposal": none.proposal}
                )
                if none.proposal["failure"] and none.proposal["failure"]["kind"] in _FINAL:
                    break
                continue
            return self._answered(execution, reply, caller.member.model, failures)
        tried = ", ".join(record["proposer"] for record in failures)
        raise execution.failed(AggregatorFailed, f"no answer from the aggregator (tried {tried})", failures)

    def _answered(
        self, execution: Execution, reply: Reply, slot: str, failures: list[Proposal]
    ) -> dict[str, Any]:
        records = [*execution.proposals.values(), *failures, reply.proposal]
        summary = _summary(execution, records, slot) | {
            # its text is the answer itself: say it once
            "aggregator": {
                key: value for key, value in reply.proposal.items() if key not in {"text", "reasoning"}
            },
            "failed_aggregators": failures,
        }
        execution.emit(
            {
                "type": "call.finished",
                "id": reply.proposal["id"],
                "role": "aggregator",
                "proposal": reply.proposal,
            }
        )
        execution.emit(
            {
                "type": "run.finished",
                "status": "answered",
                "answered_by": slot,
                "usage": summary["usage"],
                "cost": summary["cost"],
                "calls": summary["calls"],
                "seconds": summary["seconds"],
                "error": None,
            }
        )
        answer = _message(reply, summary)
        return execution.update({}) | {"messages": [answer], "status": "answered"}


def _summary(execution: Execution, records: list[Proposal], slot: str) -> dict[str, Any]:
    statuses = Counter(record["status"] for record in execution.proposals.values())
    return {
        "name": execution.spec.name,
        "answered_by": slot,
        **totals(records),
        "seconds": round(execution.budget.seconds, 4),
        "proposals": dict(statuses),
        "warnings": _warnings(records),
    }


def _warnings(records: list[Proposal]) -> list[str]:
    """Collect what went wrong or was worked around, one sentence each, in the order of the calls."""
    found = []
    for record in records:
        failure = record["failure"]
        if failure:
            found.append(f"{record['id']} {record['status']}: {failure['kind']}: {failure['message']}")
        found += [f"{record['id']}: {warning}" for warning in record["warnings"]]
    return found


def _message(reply: Reply, summary: dict[str, Any]) -> AIMessage:
    """Return the answer with the whole run's usage; its id is the streamed message's, so it is shown once."""
    usage, message = summary["usage"], reply.message
    kept = ("model_name", "model_provider", "finish_reason")
    metadata = {key: message.response_metadata[key] for key in kept if key in message.response_metadata}
    reasoning = reply.proposal["reasoning"]
    return AIMessage(
        content=reply.proposal["text"],
        id=message.id,
        additional_kwargs={"reasoning_content": reasoning} if reasoning else {},
        response_metadata={**metadata, "moa": summary},
        usage_metadata={
            "input_tokens": usage["input_tokens"],
            "output_tokens": usage["output_tokens"],
            "total_tokens": usage["input_tokens"] + usage["output_tokens"],
        },
    )
