"""One model call: attempts, wall clock, and a record of whatever comes of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, cast, get_args

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables.config import RunnableConfig, ensure_config
from langgraph.errors import GraphBubbleUp

from moa_graph.advising import uses_tools
from moa_graph.budget import BudgetSpent
from moa_graph.events import Role
from moa_graph.models.pool import ModelPool
from moa_graph.passages import Passage
from moa_graph.prompts import View
from moa_graph.proposers import NoProposal, Request
from moa_graph.proposers.around import Paying, around, go_inside, paying
from moa_graph.proposers.listening import heard_by
from moa_graph.proposers.outcomes import (
    Text,
    cancelled_from_outside,
    clean,
    failure,
    judge_error,
    judge_message,
    read_text,
    retry_after,
    summary_of,
)
from moa_graph.proposers.overflow import longest, warning_of
from moa_graph.proposers.retrieving import Retrieval, judge_citations
from moa_graph.proposers.sources import Exchange, Source, Unanswered
from moa_graph.proposers.spending import ANSWERED
from moa_graph.proposers.tracing import ending_traces
from moa_graph.proposers.waiting import until
from moa_graph.proposers.watch import TokenWatch, stopper
from moa_graph.retrieval.pool import RetrieverPool
from moa_graph.spec.schema import Member
from moa_graph.state import AideRole, Failure, Proposal, Reference
from moa_graph.terms import without_terms

__all__ = ["Caller", "Reply"]

BACKOFF_BASE = 0.5
"""Seconds; the n-th wait is drawn from 0 to BASE × 2ⁿ⁻¹ ("full jitter")."""
BACKOFF_CAP = 20.0
_ESTIMATED = "a request ended before its tokens were reported; they are estimated"
_AIDES = frozenset(get_args(AideRole))
_WIDE = 256
"""`max_concurrency` in the config of what runs inside a call: wide enough for the tasks of any graph."""


class Reply(NamedTuple):
    """Hold the record of a call that succeeded and the message it came in."""

    proposal: Proposal
    message: AIMessage


@dataclass(frozen=True)
class Caller:
    """Ask one member in one place of the graph; reused by every run.

    `instruction` stands in the place of Aggregate-and-Synthesize. `check` says what is wrong with a text for
    so many references, where not every text will do.
    """

    layer: str
    member: Member
    role: Role
    source: Source
    pool: ModelPool
    placement: Literal["system", "user"]
    retrievers: RetrieverPool
    citations: Literal["none", "checked", "required"] = "none"
    instruction: str | None = None
    check: Callable[[str, int], str | None] | None = None

    @cached_property
    def id(self) -> str:
        """Return "layer/proposer"."""
        return f"{self.layer}/{self.member.id}"

    @cached_property
    def requested_model(self) -> str:
        """Return `provider:model` of the slot, or what else is asked."""
        return self.pool.spec.requested(self.member)

    def metadata(self) -> dict[str, str]:
        """Return what tells this call apart in streams and traces."""
        return {
            "moa_layer": self.layer,
            "moa_proposer": self.member.id,
            "moa_role": self.role,
            "ls_model_name": self.requested_model.partition(":")[2],
            "agent_name": self.member.id,
        }

    async def propose(self, request: Request) -> Proposal:
        """Return a proposal that is ok, or raise NoProposal."""
        return (await self.call(request)).proposal

    async def call(self, request: Request) -> Reply:
        """Make the call; raise NoProposal with the record if nothing usable comes.

        Ends half a second after the deadline or `request.stop` at the latest, even if the model ignores it.
        """
        if (late := self.too_late(request)) is not None:
            raise NoProposal(late)
        call = _Call(self, request)
        try:
            work = await until(call.run(), request)
        except asyncio.CancelledError:
            self._report_cancelled(call, request)
            raise
        if work is not None:
            return work.result()
        if request.stop.done():
            raise call.given_up("cut", failure("deadline", f"cut {request.stop.result()}"))
        raise call.given_up("failed", failure("deadline", "the deadline passed before the call had ended"))

    def unasked(self, request: Request, why: Failure) -> Proposal:
        """Return the record of a call that is not made."""
        return _Call(self, request).given_up("cut", why).proposal

    def too_late(self, request: Request) -> Proposal | None:
        """Return the record of a call that it is too late to begin, None while there is time."""
        if request.stop.done():
            return self.unasked(request, failure("deadline", f"not asked {request.stop.result()}"))
        if request.remaining:
            return None
        why = failure("deadline", "the deadline passed before it was asked")
        return _Call(self, request).given_up("failed", why).proposal

    def _report_cancelled(self, call: _Call, request: Request) -> None:
        """Tell what a call took that the run's own end cuts off; nobody else will."""
        record = call.given_up("cut", failure("error", "the run was cancelled")).proposal
        if record["attempts"]:
            request.emit({"type": "call.failed", "id": self.id, "role": self.role, "proposal": record})


class _Call:
    """Keep what one call has taken so far, over all its attempts."""

    def __init__(self, caller: Caller, request: Request) -> None:
        self.caller = caller
        self.request = request
        self.member = caller.member
        self.references: list[Reference] = list(request.references)
        self.started = time.monotonic()
        self.spending = caller.source.spending(request.budget)
        self.max_chars = request.budget.limits.max_output_chars
        acting, relay = (request.acting, request.relay) if caller.role == "aggregator" else ({}, None)
        self.exchange = Exchange(self.spending, acting, relay)
        self.warnings: list[str] = []
        self.passages: list[Passage] = []
        """What this call alone retrieved."""
        self.around: dict[str, str] = {}
        if outer := around():  # in a stream, the answer of a mixture inside is not the run's answer
            self.around = {"moa_role": "nested", "moa_inside": " > ".join(outer)}
        self.watch = TokenWatch(self.max_chars)
        self.actual_model: str | None = None

    async def run(self) -> Reply:
        """Try until an attempt succeeds, or until another one is of no use."""
        outer = paying()
        go_inside(
            f"{self.caller.pool.spec.name}: {self.caller.id}", Paying(self.spending, self.request.deadline)
        )
        with outer.account.counting(self._cut_short) if outer else nullcontext():
            return await self._try()

    async def _try(self) -> Reply:
        caller, request = self.caller, self.request
        request.budget.ran.add(caller.id)
        request.emit(
            {"type": "call.started", "id": caller.id, "role": caller.role, "model": caller.requested_model}
        )
        await self._retrieve()
        tries = 0
        while True:
            outcome, text, wait_at_least = await self._attempt()
            if isinstance(outcome, AIMessage):
                return Reply(self._record("ok", text, None), outcome)
            said = self._said_something()
            if outcome["kind"] == "context_overflow" and not said and self._drop_longest_reference():
                continue
            tries += 1
            wait = self._backoff(tries, wait_at_least)
            last = tries >= self.member.attempts or wait >= request.remaining or said
            if last or not outcome["retryable"]:
                raise NoProposal(self._record("failed", text, outcome))
            request.emit(
                {
                    "type": "call.retried",
                    "id": caller.id,
                    "role": caller.role,
                    "attempt": self.spending.attempts,
                    "wait": wait,
                    "failure": outcome,
                }
            )
            await asyncio.sleep(wait)

    def given_up(self, status: Literal["cut", "failed"], why: Failure) -> NoProposal:
        """Return the exception for a call that was ended from outside."""
        return NoProposal(self._record(status, self.watch.text(), why))

    async def _retrieve(self) -> None:
        """Retrieve this call's own passages; raise NoProposal where it cannot do without."""
        caller, request, names = self.caller, self.request, self.member.retrieve
        if not names or request.carried:
            return
        retrieval = Retrieval(caller.id, caller.retrievers, caller.pool.redact)
        found = await retrieval.ask_all(names, request, self._config())
        if found.failures:
            why = failure("error", "; ".join(found.failures))
            raise NoProposal(self._record("failed", self.watch.text(), why))
        shared = {passage["id"] for passage in request.passages}
        self.passages = [passage for passage in found.passages if passage["id"] not in shared]
        self.warnings += found.warnings

    async def _attempt(self) -> tuple[AIMessage | Failure, Text, float | None]:
        """Try once; return the message or the failure, the text so far, any Retry-After seconds."""
        spending = self.spending
        prompt = self.request.prompt(self._view())
        async with spending.hold():
            watch = self.watch = TokenWatch(self.max_chars)
            try:
                message = await self._answer(prompt)
            except BudgetSpent as spent:
                spending.refund()  # what was not sent after all
                return failure("budget", str(spent)), watch.text(), None
            except TimeoutError as error:
                self._cut_short()
                return self._timed_out(error), watch.text(), None
            except asyncio.CancelledError:
                self._cut_short()
                if cancelled_from_outside():
                    raise
                return failure("error", "the model cancelled its own call"), watch.text(), None
            except Unanswered as none:
                self._cut_short()
                return self._redacted(none.failure), read_text(AIMessage(none.written)), None
            except GraphBubbleUp:  # an interrupt inside a model of the host: LangGraph's business
                spending.refund()
                raise
            except Exception as error:  # noqa: BLE001 - whatever a model raises becomes a record
                why = judge_error(error)
                if watch.first_token_seconds is None and why["kind"] not in ANSWERED:
                    spending.refund()
                else:
                    self._cut_short()
                return self._redacted(why), watch.text(), retry_after(error)
        return self._judge(message)

    def _view(self) -> View:
        caller, request = self.caller, self.request
        # Whoever cannot call tools is shown plain text: providers refuse calls of tools that are not there.
        flat = caller.role != "aggregator" and (
            bool(request.acting.get("tools")) or uses_tools(request.messages)
        )
        return View(
            references=self.references,
            passages=[*request.passages, *self.passages],
            placement=caller.placement,
            system=self.member.system,
            cite=caller.citations != "none",
            flat=flat,
            advise=flat and caller.role == "proposer" and not self.member.tools,
            instruction=caller.instruction,
            changes=request.changes,
        )

    def _said_something(self) -> bool:
        """Tell whether somebody has read tokens of this answer: then another try would contradict them."""
        relay = self.exchange.relay
        return relay is not None and relay.began

    async def _answer(self, prompt: Sequence[BaseMessage]) -> AIMessage:
        if not (limit := min(self.member.timeout, self.request.remaining)):
            raise TimeoutError  # so long did it wait for its place
        async with asyncio.timeout(limit) as clock, ending_traces(self._config()) as config:
            self.watch.on_excess = stopper(clock)
            return await self.caller.source.answer(prompt, config, self.exchange)

    def _cut_short(self) -> None:
        self.spending.cut_short(self.watch.text().text)

    def _judge(self, message: AIMessage) -> tuple[AIMessage | Failure, Text, float | None]:
        metadata = message.response_metadata
        self.actual_model = metadata.get("model_name") or metadata.get("model")
        if inside := summary_of(message):  # a mixture answered
            self.warnings += [f"inside {inside.name}: {warning}" for warning in inside.warnings]
        text = read_text(message)
        streamed = self.watch.first_token_seconds is not None
        acting = bool(self.exchange.acting.get("tools"))
        why = judge_message(message, text, streamed=streamed, acting=acting)
        if why is None and len(text.text) > self.max_chars:
            why, text = self._too_long(), text._replace(text=text.text[: self.max_chars])
        why = why or self._judge_citations(message, text) or self._check(text)
        if why is not None:
            return self._redacted(why), text, None
        if text.cleaned:
            self.warnings.append("NUL or lone surrogates in the output were replaced by U+FFFD")
        return message, text, None

    def _judge_citations(self, message: AIMessage, text: Text) -> Failure | None:
        """Return what is wrong where citations are required; a message that calls tools is no answer yet."""
        if self.caller.citations != "required" or message.tool_calls:
            return None
        shown = [*self.request.sources, *self.passages]
        return judge_citations(text.text, shown, self.caller.pool.spec.retrievers)

    def _check(self, text: Text) -> Failure | None:
        if self.caller.check is None or not (problem := self.caller.check(text.text, len(self.references))):
            return None
        return failure("malformed", problem)

    def _config(self) -> RunnableConfig:
        config = without_terms(heard_by(ensure_config(), self.watch))
        return {
            **config,
            "metadata": {**config.get("metadata", {}), **self.caller.metadata(), **self.around},
            "run_name": self.caller.id,
            # Not that of the run: a graph inside would wait for its own tasks. Were it taken out, LangChain
            # would merge it in again.
            "max_concurrency": _WIDE,
        }

    def _too_long(self) -> Failure:
        return failure("too_long", f"the output was cut off at limits.max_output_chars = {self.max_chars}")

    def _timed_out(self, error: TimeoutError) -> Failure:
        if self.watch.too_long:
            return self._too_long()
        if self.request.remaining == 0:
            return failure("deadline", "the deadline passed before the model had answered")
        return failure("timeout", str(error) or f"no complete answer within {self.member.timeout:g} s")

    def _drop_longest_reference(self) -> bool:
        """Take the longest reference out of the prompt; return False at the quorum, where that must stop."""
        if (reference := longest(self.references, self.request.minimum)) is None:
            return False
        self.references.remove(reference)
        self.warnings.append(warning_of(reference))
        return True

    def _backoff(self, tries: int, wait_at_least: float | None) -> float:
        if wait_at_least is not None:
            return wait_at_least
        return random.uniform(0.0, min(BACKOFF_CAP, BACKOFF_BASE * 2 ** (tries - 1)))  # noqa: S311 - jitter

    def _redacted(self, why: Failure) -> Failure:
        return {**why, "message": self.caller.pool.redact(why["message"])}

    def _record(self, status: Literal["ok", "failed", "cut"], text: Text, why: Failure | None) -> Proposal:
        self._cut_short()  # what is still under way was left behind
        self.spending.close()
        redact = self.caller.pool.redact
        actual = redact(clean(str(self.actual_model))[0]) if self.actual_model else None
        if why is not None:  # what a server says instead of an answer may name the key
            text = text._replace(text=redact(text.text), reasoning=redact(text.reasoning))
        record: Proposal = {
            "id": self.caller.id,
            "layer": self.caller.layer,
            "proposer": self.member.id,
            "status": status,
            "text": text.text,
            "reasoning": text.reasoning,
            "failure": why,
            "requested_model": self.caller.requested_model,
            "actual_model": actual,
            "attempts": self.spending.attempts,
            "usage": self.spending.usage,
            "cost": self.spending.cost,
            "seconds": round(time.monotonic() - self.started, 4),
            "first_token_seconds": self.watch.first_token_seconds,
            "edited": False,
            "warnings": [*self.warnings, *([_ESTIMATED] if self.spending.cut else [])],
            "references": [reference["id"] for reference in self.references],
        }
        if self.caller.role in _AIDES:
            record["role"] = cast("AideRole", self.caller.role)
        if self.passages:
            record["passages"] = self.passages
        if self.passages or "role" in record:  # whose prompts bear the mark before the state has it
            record["nonce"] = self.request.nonce
        return record
