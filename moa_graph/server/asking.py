"""One request's run from its admission to its bill: what every route that asks a model has in common."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from moa_graph.errors import RunError
from moa_graph.events import Event
from moa_graph.execution import totals
from moa_graph.server.background import Background
from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key, KeyRing
from moa_graph.server.limiting import Admission, Limiter, used_up
from moa_graph.server.lowering import check_limits
from moa_graph.server.metrics import Metrics
from moa_graph.server.performing import Answer, Ask, Part, Performer, Piece
from moa_graph.server.remembering import Turns
from moa_graph.server.settings import Settings
from moa_graph.server.shelf import Shelf
from moa_graph.spec.schema import MoASpec
from moa_graph.state import Proposal
from moa_graph.terms import Terms

__all__ = ["Served", "check_enough", "parts_of", "prepared"]


@dataclass(frozen=True)
class Served:
    """Hold what the routes share."""

    performer: Performer
    keys: KeyRing
    limiter: Limiter
    metrics: Metrics
    turns: Turns
    background: Background
    settings: Settings
    shelf: Shelf

    def spec(self, model: str) -> MoASpec:
        """Return a served spec; raise Refused for a name that is none."""
        found = self.performer.models.get(model)
        if found is None:
            raise Refused(
                404,
                f"there is no model {model[:200]!r}; GET /v1/models lists those that are served",
                code="model_not_found",
                param="model",
            )
        return found


class _Bill:
    """Add up what this process pays for a run; what was restored was paid before."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._records: list[Proposal] = []

    def take(self, event: Event) -> bool:
        """Note an event; return False for the end of a call that was paid for before."""
        if event["type"] == "call.started":
            self._asked.add(event["id"])
        elif event["type"] == "call.finished" or event["type"] == "call.failed":
            if event["id"] not in self._asked:
                return False
            self._asked.discard(event["id"])
            self._records.append(event["proposal"])
        return True

    @property
    def cost(self) -> float | None:
        """Return USD, None where that is unknown: also for calls whose end nobody told."""
        return None if self._asked else totals(self._records)["cost"]

    @property
    def calls(self) -> int:
        """Return the requests that were sent; of a call whose end nobody told there was at least one."""
        return sum(record["attempts"] for record in self._records) + len(self._asked)


async def parts_of(
    served: Served, key: Key, ask: Ask, notes: dict[str, Any] | None = None
) -> AsyncGenerator[Part]:
    """Yield what comes of a request's run, as `Performer.parts` does; `notes` gets what the access log says.

    Raises Refused before the first part when the key's limits do not admit it. However it ends, what was paid
    is counted against the key's day.
    """
    notes = {} if notes is None else notes
    ask = prepared(served, ask)
    most = await served.performer.most(ask) if key.limits.cost_per_day is not None else None
    again = ask.place is not None and ask.place.resume  # it was counted when it was asked for
    async with served.limiter.admitted(_payer(key, most), most, request=not again) as admission:
        check_enough(ask, most, admission)
        run = _OneRun(served, ask.model, notes)
        try:
            messages = await served.turns.recall(key, ask.model, list(ask.messages))
            ask = replace(ask, messages=messages, terms=_lowered(ask, admission))
            async with aclosing(
                served.performer.parts(ask, listen=run.hear, silence=served.settings.silence)
            ) as parts:
                async for part in parts:
                    if isinstance(part, Answer):
                        await served.turns.remember(key, ask.model, messages, part.message)
                    run.see(part)
                    yield part
        except BaseException as error:
            run.failed(error)
            raise
        finally:
            admission.settle(run.bill.cost)
            run.end()


def prepared(served: Served, ask: Ask) -> Ask:
    """Return an ask within what its spec allows; raise Refused for what whoever answers there cannot do."""
    spec = served.spec(ask.model)
    _check_writer(served.performer, spec, ask)
    check_limits(spec, ask.terms.get("limits") or {})
    return replace(ask, terms=_capped(spec, ask.terms))


def _payer(key: Key, most: float | None) -> Key:
    """Return who pays: what costs nothing, such as an answer that is there, needs no money of the day."""
    return replace(key, limits=replace(key.limits, cost_per_day=None)) if most == 0.0 else key


def _check_writer(performer: Performer, spec: MoASpec, ask: Ask) -> None:
    """Raise Refused for what only a model that writes the answer can do, where none does, or not this one."""
    acting = ask.terms.get("acting") or {}
    wanted = next((name for name in ("tools", "response_format") if acting.get(name)), None)
    if wanted is None:
        return
    why = None
    if spec.aggregator.reduce != "synthesize":
        why = f"takes a proposal as it is (reduce: {spec.aggregator.reduce})"
    elif not performer.acts(spec.name):
        why = "has its answer written by a model that can neither call tools nor follow a schema"
    if why is not None:
        raise Refused(
            400, f"{spec.name} {why}: no {wanted} there", param=wanted, code="unsupported_parameter"
        )


def check_enough(ask: Ask, most: float | None, admission: Admission) -> None:
    """Raise Refused where a run that is kept may cost more than is left: its terms are kept with it.

    So it could not go on on another day.
    """
    if ask.place is None or most is None or admission.max_cost is None:
        return
    if admission.max_cost < most:
        admission.settle(0.0)
        left = f"the rest of this run may cost ${most:.4f}, the key has ${admission.max_cost:.4f} left today"
        raise used_up(left, datetime.now(UTC))


def _lowered(ask: Ask, admission: Admission) -> Terms:
    """Return the terms of a run that is not kept, which may cost no more than what is left to its key."""
    if ask.place is not None or not admission.left:
        return ask.terms
    limits = dict(ask.terms.get("limits") or {})
    limits["max_cost"] = min(limits.get("max_cost", admission.left), admission.left)
    return {**ask.terms, "limits": limits}


def _capped(spec: MoASpec, terms: Terms) -> Terms:
    """Return terms by which the answer is no longer than the spec allows: clients may lower that alone."""
    acting, slot = dict(terms.get("acting") or {}), spec.aggregator.model
    own = spec.aggregator.max_tokens or (spec.models[slot].max_tokens if slot else None)
    if own is None or not isinstance(acting.get("max_tokens"), int) or acting["max_tokens"] <= own:
        return terms
    return {**terms, "acting": {**acting, "max_tokens": own}}


class _OneRun:
    """Measure one run for the metrics, the bill and the access log."""

    def __init__(self, served: Served, model: str, notes: dict[str, Any]) -> None:
        self.bill = _Bill()
        self._metrics, self._model, self._notes = served.metrics, model, notes
        self._began = time.monotonic()
        self._first: float | None = None
        self._status = "cancelled"
        self._metrics.began(model)
        notes["model"] = model

    def hear(self, event: Event) -> None:
        if self.bill.take(event):
            self._metrics.heard(self._model, event)

    def see(self, part: Part) -> None:
        if isinstance(part, Piece | Answer) and self._first is None:
            self._first = time.monotonic() - self._began
        if isinstance(part, Answer):
            self._status = "answered"
            summary = part.message.response_metadata["moa"]
            self._notes |= {"calls": summary["calls"], "cost": summary["cost"]}

    def failed(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._status = type(error).__name__
        if isinstance(error, RunError):
            self._notes |= {"calls": error.calls, "cost": error.cost}

    def end(self) -> None:
        self._notes["run"] = self._status
        if self._status == "cancelled":
            self._notes |= {"calls": self.bill.calls, "cost": self.bill.cost}
        self._metrics.ended(self._model, self._status, time.monotonic() - self._began, self._first)
