"""The final node: one model writes the answer, with fallbacks, or a proposal is taken as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage
from typing_extensions import TypedDict

from moa_graph.advising import Carried, turns_of
from moa_graph.errors import AggregatorFailed
from moa_graph.execution import Execution, enter, totals
from moa_graph.node import Dispatch, Node
from moa_graph.passages import Passage, ShownSource, citations, sources_of
from moa_graph.proposers import NoProposal, Request
from moa_graph.proposers.call import Caller
from moa_graph.reducing import FINAL, Decision, Reducer
from moa_graph.resources import Resources
from moa_graph.seeing import Sight
from moa_graph.spec.writing import spec_hash
from moa_graph.state import MoAState, Proposal, Reference, is_needless, is_proposal
from moa_graph.terms import going_on

__all__ = ["AggregatorNode"]

_TASK = "aggregator/answer"
"""Not the name of a node: a stream of updates would show the aggregator twice."""


class _Answer(TypedDict):
    """Hold an answer as LangGraph keeps it until its node ends: the records, and what the message bears.

    `calls` are tools that the aggregator calls, as `AIMessage` has them, and `turns` what it goes on with
    then, where it is a mixture itself.
    """

    proposal: Proposal
    calls: dict[str, Any]
    turns: dict[str, Any]
    failures: list[Proposal]
    message_id: str | None
    metadata: dict[str, Any]


class _NoAnswer(Exception):
    """Carry the records of the aggregators that failed; raised, so that a resumed run tries again."""

    def __init__(self, failures: list[Proposal]) -> None:
        super().__init__("no answer")
        self.failures = failures


class AggregatorNode(Node):
    """Write the answer from the proposals, or choose it; with no layer, from the conversation alone.

    Raises AggregatorFailed, DeadlineExceeded or BudgetExceeded; the proposals are kept.
    """

    name = "aggregator"

    def __init__(self, resources: Resources, callers: list[Caller]) -> None:
        spec = resources.spec
        self.resources = resources
        self.begins = not (spec.layers or spec.retrieve)
        self.callers = callers

    async def run(self, state: MoAState, dispatch: Dispatch[Any]) -> dict[str, Any]:
        """Return the answer as an update of the state."""
        turn = going_on(self.resources.spec, state.get("messages") or [])
        execution = await enter(self.resources, state, first=self.begins or turn is not None)
        if turn is not None:
            return await self._synthesize(_continued(execution, turn), turn["references"], turn, dispatch)
        ran = execution.before(None)
        sight = Sight(self.resources, self.name, self.resources.spec.aggregator.references, execution, ran)
        if sight.missing:
            message = f"aggregator: layer {ran[-1].name} left no proposal to synthesize"
            raise execution.failed(AggregatorFailed, message, [])
        reducer = Reducer(self.resources, execution, dispatch)
        reducer.add(await sight.sum_up([None], dispatch))
        if self.resources.spec.aggregator.reduce == "synthesize":
            references = await reducer.fold(self.callers, sight.of(None))
            return await self._synthesize(reducer.execution, references, None, dispatch)
        decision = await reducer.choose(sight)
        execution = reducer.execution
        request = replace(execution.request([]), sources=_sources(execution))
        return self._answered(execution, request, _taken(decision), decision)

    async def _synthesize(
        self,
        execution: Execution,
        references: Sequence[Reference],
        turn: Carried | None,
        dispatch: Dispatch[_Answer],
    ) -> dict[str, Any]:
        """Return the answer that a model writes."""
        request = replace(
            execution.request(references, execution.before(None)),
            sources=turn["sources"] if turn else _sources(execution),
            carried=turn is not None,
        )
        if turn is not None:
            request = replace(request, changes=turn.get("changes"))
        try:
            # One task for all: a fallback's answer that was committed is not put at risk by another try.
            answer = execution.terms.get("answer") or await dispatch(
                _TASK, partial(self._first_answer, request)
            )
        except _NoAnswer as none:
            tried = ", ".join(record["proposer"] for record in none.failures)
            message = f"no answer from the aggregator (tried {tried})"
            raise execution.failed(AggregatorFailed, message, none.failures) from None
        return self._answered(execution, request, answer)

    async def _first_answer(self, request: Request) -> _Answer:
        """Return the first answer that comes; raise _NoAnswer if none does."""
        failures: list[Proposal] = []
        for caller in self.callers:
            try:
                return await _ask(caller, request, failures)
            except NoProposal as none:
                failures.append(none.proposal)
                request.emit(
                    {"type": "call.failed", "id": caller.id, "role": "aggregator", "proposal": none.proposal}
                )
                if _is_final(none.proposal, request):
                    break
                if request.relay is not None and request.relay.began:
                    break  # somebody has read the beginning of an answer; another one would contradict it
        raise _NoAnswer(failures)

    def _answered(
        self, execution: Execution, request: Request, answer: _Answer, decision: Decision | None = None
    ) -> dict[str, Any]:
        proposal, failures = answer["proposal"], answer["failures"]
        answered_by = decision.proposal["id"] if decision else proposal["proposer"]
        records = [*execution.proposals.values(), *failures, proposal]
        summary = _summary(execution, records, answered_by) | {
            # its text is the answer itself: say it once
            "aggregator": {key: value for key, value in proposal.items() if key not in {"text", "reasoning"}},
            "failed_aggregators": failures,
        }
        if execution.stopped:
            summary["stopped"] = {key: execution.stopped[key] for key in ("layer", "reason")}
        if decision is not None:
            summary["decision"] = decision.summary
            summary["warnings"] += [*decision.warnings, *_unheard(execution)]
        own = [passage for record in [*failures, proposal] for passage in record.get("passages", [])]
        sources = sources_of([*request.sources, *own])
        if self.resources.spec.retrievers:
            summary["sources"] = sources
        if answer["calls"]["tool_calls"]:
            summary["turns"] = answer["turns"]
            if not request.carried:  # else an earlier message of the turn bears it
                mark = spec_hash(self.resources.spec)
                summary["turns"] |= {mark: _carried(execution, request, proposal, sources)}
        elif self.resources.spec.aggregator.citations != "none":
            self._cite(summary, proposal["text"], sources)
        execution.emit(
            {
                "type": "call.finished",
                "id": proposal["id"],
                "role": "aggregator",
                "proposal": proposal,
            }
        )
        execution.emit(
            {
                "type": "run.finished",
                "status": "answered",
                "answered_by": answered_by,
                "usage": summary["usage"],
                "cost": summary["cost"],
                "calls": summary["calls"],
                "seconds": summary["seconds"],
                "error": None,
            }
        )
        asked = {id_: each for id_, each in execution.proposals.items() if each["layer"] == self.name}
        return execution.update(asked) | {"messages": [_message(answer, summary)], "status": "answered"}

    def _cite(self, summary: dict[str, Any], text: str, sources: list[ShownSource]) -> None:
        """Note in the summary which passages an answer cites, and what it cites that is none."""
        cited, unknown = citations(text, sources, self.resources.spec.retrievers)
        summary["citations"] = {"cited": cited, "unknown": unknown}
        if unknown:
            summary["warnings"].append(f"the answer cites passages that do not exist: {', '.join(unknown)}")


def _is_final(record: Proposal, request: Request) -> bool:
    """Tell whether no fallback could do better: nothing is left, or the caller's own limit cut the answer."""
    why = record["failure"]
    if why is None:
        return False
    cut = why["kind"] == "truncated" and not why["retryable"] and bool(request.acting.get("max_tokens"))
    return cut or why["kind"] in FINAL


def _unheard(execution: Execution) -> list[str]:
    """Return what is said to a writer of the answer, where nobody writes it."""
    acting, reduce = execution.terms.get("acting") or {}, execution.spec.aggregator.reduce
    said = [name for name, value in acting.items() if value is not None and not name.startswith("ls_")]
    return [f"`reduce: {reduce}` writes no answer: {', '.join(said)} said nothing"] if said else []


def _sources(execution: Execution) -> list[ShownSource]:
    """Return the sources of all passages that anybody was shown before the aggregator."""
    own = [passage for record in execution.proposals.values() for passage in record.get("passages", [])]
    return sources_of([*execution.passages, *own])


def _carried(
    execution: Execution, request: Request, proposal: Proposal, sources: list[ShownSource]
) -> Carried:
    """Return what the aggregator goes on with: what it saw, and what it may cite."""
    passages: list[Passage] = [*request.passages, *proposal.get("passages", [])]
    carried = Carried(
        nonce=execution.nonce, references=list(request.references), passages=passages, sources=sources
    )
    return Carried(**carried, changes=request.changes) if request.changes else carried


def _continued(execution: Execution, turn: Carried) -> Execution:
    """Return the execution of an aggregator that goes on alone: it sees what it saw before it called tools.

    What the state holds of the turn is left as it is.
    """
    # What went wrong with a retrieval was said with the answer that called the tools.
    state: MoAState = {**execution.state, "passages": turn["passages"], "moa_warnings": []}
    return replace(execution, nonce=turn["nonce"], state=state, first=False)


async def _ask(caller: Caller, request: Request, failures: list[Proposal]) -> _Answer:
    reply = await caller.call(request)
    kept = ("model_name", "model_provider", "finish_reason")
    message = reply.message
    return {
        "proposal": reply.proposal,
        "calls": {"tool_calls": message.tool_calls, "invalid_tool_calls": message.invalid_tool_calls},
        "turns": turns_of(message),
        "failures": failures,
        "message_id": message.id,
        "metadata": {key: value for key, value in message.response_metadata.items() if key in kept},
    }


def _taken(decision: Decision) -> _Answer:
    """Return a proposal that was chosen as the answer that it is."""
    actual = decision.proposal["actual_model"]
    return {
        "proposal": decision.record,
        "calls": {"tool_calls": [], "invalid_tool_calls": []},
        "turns": {},
        "failures": [],
        "message_id": None,
        "metadata": {"model_name": actual} if actual else {},
    }


def _summary(execution: Execution, records: list[Proposal], answered_by: str) -> dict[str, Any]:
    proposals = filter(is_proposal, execution.proposals.values())
    statuses = Counter(record["status"] for record in proposals)
    return {
        "name": execution.spec.name,
        "answered_by": answered_by,
        # What is restored with the answer was noted as paid before, too.
        **totals([*(record for record in execution.paid if record not in records), *records]),
        "seconds": round(execution.budget.seconds, 4),
        "proposals": dict(statuses),
        "warnings": [*(execution.state.get("moa_warnings") or []), *_warnings(records)],
    }


def _warnings(records: list[Proposal]) -> list[str]:
    """Collect what went wrong or was worked around, one sentence each, in the order of the calls."""
    found = []
    for record in records:
        failure = record["failure"]
        unasked = record["status"] == "cut" and not record["attempts"]
        if failure and not unasked and not is_needless(record):  # neither is anything that went wrong
            found.append(f"{record['id']} {record['status']}: {failure['kind']}: {failure['message']}")
        found += [f"{record['id']}: {warning}" for warning in record["warnings"]]
    return found


def _message(answer: _Answer, summary: dict[str, Any]) -> AIMessage:
    """Return the answer with the whole run's usage; its id is the streamed message's, so it is shown once."""
    usage, reasoning = summary["usage"], answer["proposal"]["reasoning"]
    return AIMessage(
        content=answer["proposal"]["text"],
        id=answer["message_id"],
        **answer["calls"],
        additional_kwargs={"reasoning_content": reasoning} if reasoning else {},
        response_metadata={**answer["metadata"], "moa": summary},
        usage_metadata={
            "input_tokens": usage["input_tokens"],
            "output_tokens": usage["output_tokens"],
            "total_tokens": usage["input_tokens"] + usage["output_tokens"],
        },
    )
