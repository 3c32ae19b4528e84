"""What follows when a layer has joined: which proposals go on, what it changed, whether it is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from typing import TypeVar

from moa_graph.calls import ask_all
from moa_graph.errors import RunError
from moa_graph.execution import Execution
from moa_graph.node import Dispatch
from moa_graph.proposers.resolve import aide_caller
from moa_graph.proposers.waiting import aside, until
from moa_graph.resources import Resources
from moa_graph.selecting.aides import Aide, comparer, judge, pair_ranker, ranker
from moa_graph.selecting.answers import extract, vote
from moa_graph.selecting.asking import read_comparison, read_ranking
from moa_graph.selecting.choosing import at_random, diverse, majority_cluster
from moa_graph.selecting.likeness import of_vectors, similarities
from moa_graph.selecting.stopping import Agreement, asks_judge, enough, shortened
from moa_graph.selecting.visibility import shown_name
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.spec.primitives import SelectSpec
from moa_graph.state import Proposal, Reference, Stopped, is_shown, references_from

__all__ = ["Settling"]

T = TypeVar("T")

_PAIRS, _NUMBERS, _LINKS = 20, 100, 20
"""Texts and numbers that are compared, and clusters that are looked at, while one character is read."""


class _Undecided(Exception):
    """Say why a selection could not be made."""


class Settling:
    """Settle one layer: select, compare with the layer before, decide whether to stop."""

    def __init__(self, resources: Resources, index: int) -> None:
        self.resources = resources
        self.spec = resources.spec
        self.layer = self.spec.layers[index]
        self.number = index + 1

    def agreement(self) -> Agreement:
        """Return what tells when there are enough equal answers to end this layer early."""
        stop = self.spec.stop
        return Agreement(None if stop is None or self.number < stop.min_layers else stop)

    async def settle(
        self, execution: Execution, records: dict[str, Proposal], dispatch: Dispatch[Proposal]
    ) -> tuple[dict[str, Proposal], Stopped | None]:
        """Return the layer's records as they go on, with those of the models that were asked about them.

        `records` may hold those of models that were asked before the layer ran.
        """
        work = _Work(self, execution, dict(records), dispatch)
        if self.layer.select is not None:
            await work.select(self.layer.select)
        if self.layer.residual is not None and work.shown:  # of nothing nobody can say anything
            aide = comparer(self.layer.name, self.layer.residual)
            before = execution.before(self.layer)[-1:]
            shown = [record for record in execution.proposals.values() if record["layer"] == before[0].name]
            named = [_named(record) for record in [*shown, *work.shown] if is_shown(record)]
            await work.ask([aide], [named])
        reason = None if self.number == len(self.spec.layers) else await work.enough()
        if reason is None:
            return work.records, None
        execution.emit({"type": "layers.stopped", "layer": self.layer.name, "reason": reason})
        message = str(execution.state["messages"][-1].id)
        return work.records, {"message": message, "layer": self.layer.name, "reason": reason}


class _Work:
    """Hold one layer's records while they are settled."""

    def __init__(
        self,
        settling: Settling,
        execution: Execution,
        records: dict[str, Proposal],
        dispatch: Dispatch[Proposal],
    ) -> None:
        self.settling = settling
        self.layer = settling.layer
        self.execution = execution
        self.records = records
        self.dispatch = dispatch

    @property
    def shown(self) -> list[Proposal]:
        return [record for record in self.records.values() if is_shown(record)]

    async def ask(
        self, aides: Sequence[Aide], references: Sequence[list[Reference]], least: int = 0
    ) -> list[Proposal]:
        """Ask about references, of which `least` must fit; the records join those of the layer."""
        asked = [
            (
                aide_caller(self.settling.resources, aide),
                replace(self.execution.request(each), minimum=least),
            )
            for aide, each in zip(aides, references, strict=True)
        ]
        found = await ask_all(asked, self.dispatch, self.execution)
        self.records |= {record["id"]: record for record in found}
        return found

    # -- select ------------------------------------------------------------------------------------------

    async def select(self, select: SelectSpec) -> None:
        """Mark the proposals that do not go on with the reason why."""
        shown = self.shown
        enough = 1 if select.by in ("cluster", "vote") else select.keep or 1
        if len(shown) <= enough:
            return  # there is nothing to choose
        problem = ""
        try:
            kept, reason = await self._choose(select, shown)
        except _Undecided as undecided:
            problem = str(undecided)
            self._note(undecided)
            if select.on_error == "fail":
                message = f"layer {self.layer.name}: no selection by {select.by}: {undecided}"
                raise self.execution.failed(RunError, message, list(self.records.values())) from None
            first = select.on_error == "keep_first"
            kept = list(range(len(shown)))[: select.keep if first else None]
            reason = _always(f"not among the first {select.keep}, as there was no selection: {undecided}")
        left_out = {shown[i]["id"]: reason(i) for i in range(len(shown)) if i not in kept}
        for id_, why in left_out.items():
            self.records[id_] = {**self.records[id_], "left_out": why}
        self.execution.emit(
            {
                "type": "layer.selected",
                "layer": self.layer.name,
                "by": select.by,
                "kept": [record["id"] for record in self.shown],
                "left_out": left_out,
                "undecided": problem,
            }
        )

    async def _choose(
        self, select: SelectSpec, shown: list[Proposal]
    ) -> tuple[list[int], Callable[[int], str]]:
        """Return the indices that go on, and what is said of each of the others."""
        keep = select.keep or len(shown)
        match select.by:
            case "rank":
                return _best(await self._rank(select, shown), keep, "ranked")
            case "pairwise":
                return _best(await self._compare(select, shown), keep, "by wins")
            case "diversity":
                kept = diverse(await self._likeness(select, shown), keep)
                return kept, _always("too like those that go on")
            case "cluster":
                table = await self._likeness(select, shown)
                kept = await self._aside(lambda: majority_cluster(table), len(table) ** 3 // _LINKS)
                why = f"not in the majority of {len(kept)}"
                return kept[:keep], lambda index: _beyond(keep) if index in kept else why
            case "random":
                seed = f"{select.seed}\n{self.layer.name}\n{self.execution.question}"
                return at_random(len(shown), keep, seed), _always(f"left out at random (seed {select.seed})")
            case "vote":
                how = select.extract or ExtractSpec(by="last-line")
                size = sum(len(record["text"]) for record in shown)
                return await self._aside(lambda: _voted(shown, how, keep), size)

    async def _rank(self, select: SelectSpec, shown: list[Proposal]) -> list[int]:
        """Return the indices from best to worst."""
        (record,) = await self.ask([ranker(self.layer.name, select)], [references_from(shown)])
        seen = record["references"]  # a prompt that was too long lost some: they come last
        order = read_ranking(record["text"], len(seen), select.keep or 1) if _ok(record) else None
        if order is None:
            raise _Undecided(_why(record))
        ids = [proposal["id"] for proposal in shown]
        ranked = [ids.index(seen[place]) for place in order]
        return [*ranked, *(index for index in range(len(ids)) if index not in ranked)]

    async def _compare(self, select: SelectSpec, shown: list[Proposal]) -> list[int]:
        """Return the indices by wins over all pairs in both orders; where a reply failed, nobody wins."""
        pairs = list(permutations(range(len(shown)), 2))
        texts = references_from(shown)
        found = await self.ask(
            [
                pair_ranker(self.layer.name, select, shown[one]["proposer"], shown[other]["proposer"])
                for one, other in pairs
            ],
            [[texts[one], texts[other]] for one, other in pairs],
            least=2,  # of one alone nobody can say whether it is the first or the second
        )
        wins, read = [0.0] * len(shown), 0
        for (one, other), record in zip(pairs, found, strict=True):
            verdict = read_comparison(record["text"]) if _ok(record) else None
            if verdict is not None:
                read += 1
                wins[one] += (0.5, 1.0, 0.0)[verdict]
                wins[other] += (0.5, 0.0, 1.0)[verdict]
        if not read:
            raise _Undecided(_why(found[0]))
        return sorted(range(len(shown)), key=lambda index: -wins[index])

    async def _likeness(self, select: SelectSpec, shown: list[Proposal]) -> list[list[float]]:
        texts = [record["text"] for record in shown]
        if select.embeddings is None:
            size = sum(map(len, texts)) * max(1, len(texts) // _PAIRS)
            return await self._aside(lambda: similarities(texts), size)
        seconds = self.settling.spec.defaults.timeout
        request = self.execution.request([], seconds=seconds)
        embeddings = self.settling.resources.registered.embeddings[select.embeddings]
        work = await until(embeddings.aembed_documents(texts), request)
        if work is None:
            passed = "the deadline passed" if self.execution.budget.expired else f"{seconds:g} s passed"
            raise _Undecided(f"{passed} before the embeddings were there")
        try:
            vectors = work.result()
            size = len(vectors) * sum(map(len, vectors)) // _NUMBERS
            table = await self._aside(lambda: of_vectors(vectors), size)
        except _Undecided:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a model of the host raises
            said = self.settling.resources.models.redact(str(error))
            raise _Undecided(f"embeddings {select.embeddings}: {type(error).__name__}: {said}") from None
        if len(table) != len(texts):
            raise _Undecided(f"embeddings {select.embeddings}: {len(table)} for {len(texts)} texts")
        return table

    async def _aside(self, work: Callable[[], T], size: int) -> T:
        try:
            return await aside(work, size, self.execution.request([]))
        except TimeoutError:
            raise _Undecided("the deadline passed before the texts were compared") from None

    def _note(self, undecided: _Undecided) -> None:
        """Keep a record of a choice that could not be made where no model was asked, which has its own."""
        if not any(each.get("role") == "ranker" for each in self.records.values()):
            record = _undecided_record(self.layer.name, str(undecided))
            self.records[record["id"]] = record

    # -- stop --------------------------------------------------------------------------------------------

    async def enough(self) -> str | None:
        """Return why the layers that are left are not needed; None if they are."""
        stop, layer = self.settling.spec.stop, self.layer
        if stop is None:
            return None
        if self.shown and asks_judge(stop, self.settling.number):
            await self.ask([judge(layer.name, stop)], [references_from(self.shown)])
        layers = [*(before.name for before in self.execution.before(layer)), layer.name]
        records = {**self.execution.proposals, **self.records}
        size = sum(len(record["text"]) for record in records.values() if is_shown(record))
        try:
            return await aside(lambda: enough(stop, layers, records), size, self.execution.request([]))
        except TimeoutError:
            return None  # the layers that are left will say so


def _answers(records: Sequence[Proposal], how: ExtractSpec) -> list[str | None]:
    return [extract(record["text"], how) for record in records]


def _best(order: Sequence[int], keep: int, what: str) -> tuple[list[int], Callable[[int], str]]:
    return list(order[:keep]), lambda index: f"{what} {order.index(index) + 1} of {len(order)}"


def _voted(shown: Sequence[Proposal], how: ExtractSpec, keep: int) -> tuple[list[int], Callable[[int], str]]:
    answers = _answers(shown, how)
    found = vote(answers)
    if found is None:
        raise _Undecided("no answer could be read from any proposal")

    def reason(index: int) -> str:
        said, voted = answers[index], shortened(found.answer)
        if index in found.winners:
            return _beyond(keep)
        if said is None:
            return f"no answer could be read; the vote went to {voted}"
        return f"says {shortened(said)}; the vote went to {voted}"

    return list(found.winners[:keep]), reason


def _beyond(keep: int) -> str:
    return f"agrees, but is not among the first {keep}"


def _always(reason: str) -> Callable[[int], str]:
    return lambda _: reason


def _named(record: Proposal) -> Reference:
    return {"id": record["id"], "text": record["text"], "name": shown_name(record["id"])}


def _undecided_record(layer: str, why: str) -> Proposal:
    """Return the record of a choice for which no model was asked, and which could not be made."""
    return {
        "id": f"{layer}/@select",
        "layer": layer,
        "proposer": "@select",
        "role": "ranker",
        "status": "failed",
        "text": "",
        "reasoning": "",
        "failure": {"kind": "error", "message": why, "retryable": False, "status_code": None},
        "requested_model": "select",
        "actual_model": None,
        "attempts": 0,
        "usage": None,
        "cost": 0.0,
        "seconds": 0.0,
        "first_token_seconds": None,
        "edited": False,
        "warnings": [],
        "references": [],
    }


def _ok(record: Proposal) -> bool:
    return record["status"] == "ok"


def _why(record: Proposal) -> str:
    return record["failure"]["message"] if record["failure"] else "the reply cannot be read"
