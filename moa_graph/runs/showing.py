"""What one call of a thread saw, built again from its record and the spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from moa_graph.advising import uses_tools
from moa_graph.prompts import View
from moa_graph.proposers.resolve import chooser_instruction
from moa_graph.runs.thread import AGGREGATOR, Thread
from moa_graph.selecting.aides import Aide, comparer, judge, pair_ranker, ranker, summarizer
from moa_graph.selecting.visibility import Offer, Reader, as_reference, changes_in, references_for
from moa_graph.spec.schema import MoASpec, ReferencesSpec
from moa_graph.state import Proposal, Reference, is_proposal

__all__ = ["view_of"]


class _Way(NamedTuple):
    """Say how a call was put: where its references stand, and what it was told."""

    placement: Literal["system", "user"]
    instruction: str | None
    system: str | None = None
    cites: bool = False
    advises: bool = False
    spec: ReferencesSpec | None = None


def view_of(thread: Thread, record: Proposal, known: Mapping[str, Proposal]) -> View:
    """Return what a call saw beside the conversation; `known` are all records of the turn."""
    way = _way(thread, record)
    before = _step_before(thread, record["layer"])
    uses = bool(thread.turn.terms.get("acting", {}).get("tools")) or uses_tools(thread.conversation)
    carried = thread.carried
    if carried is not None:
        references = [each for each in carried["references"] if each["id"] in record["references"]]
        passages, changes = carried["passages"], carried.get("changes")
    else:
        references, passages = _references(thread, way.spec, record, known), thread.passages
        changes = changes_in(known, before) if way.spec is not None else None
    return View(
        references=references,
        passages=[*passages, *record.get("passages", [])],
        placement=way.placement,
        system=way.system,
        cite=way.cites and thread.spec.aggregator.citations != "none",
        flat=way.advises and uses,
        advise=way.advises and uses and not _is_agent(thread.spec, record),
        instruction=way.instruction,
        changes=changes,
    )


def _references(
    thread: Thread, spec: ReferencesSpec | None, record: Proposal, known: Mapping[str, Proposal]
) -> list[Reference]:
    shown = [known[id_] for id_ in record["references"]]
    if spec is None:
        named = record.get("role") == "comparer"
        return [
            {"id": each["id"], "text": each["text"], **({"name": each["id"]} if named else {})}  # type: ignore[typeddict-item]
            for each in shown
        ]
    behind = [_behind(each, known) for each in shown]
    several = _sees_several(thread, spec, record, known)
    return [
        {"id": each["id"], "text": each["text"]}
        if not is_proposal(proposal)  # the synthesis of a window
        else as_reference(spec, proposal, each if each is not proposal else None, several=several)
        for each, proposal in zip(shown, behind, strict=True)
    ]


def _sees_several(
    thread: Thread, spec: ReferencesSpec, record: Proposal, known: Mapping[str, Proposal]
) -> bool:
    """Tell whether a reader saw several layers, of which one of its windows may hold one alone."""
    step = record["layer"]
    names = {layer.name for layer in thread.spec.layers}
    ran = [name for name in thread.steps[: thread.steps.index(step)] if name in names]
    name = None if step == AGGREGATOR else record["proposer"]
    reader = Reader(name, step, str(thread.conversation[-1].text))
    seen = references_for(spec, Offer(ran, list(known.values())), reader)
    return len({known[each["id"]]["layer"] for each in seen}) > 1


def _behind(record: Proposal, known: Mapping[str, Proposal]) -> Proposal:
    """Return the proposal that a record stands for, which is itself but for a summary."""
    if record.get("role") != "summarizer":
        return record
    layer, _, proposer = record["proposer"].removeprefix("@summary:").partition(":")
    return known[f"{layer}/{proposer}"]


def _way(thread: Thread, record: Proposal) -> _Way:
    spec, role, name = thread.spec, record.get("role"), record["proposer"]
    if role in ("judge", "comparer", "summarizer") or (role == "ranker" and record["layer"] != AGGREGATOR):
        aide = _aide(spec, record)
        return _Way("user", aide.instruction)
    if record["layer"] == AGGREGATOR:
        references = spec.aggregator.references
        system = spec.aggregator.system
        if role == "ranker":
            return _Way("user", chooser_instruction(spec), system, spec=references)
        return _Way(references.placement, references.instruction, system, cites=True, spec=references)
    layer = next(layer for layer in spec.layers if layer.name == record["layer"])
    member = next(member for member in spec.members(layer) if member.id == name)
    references = layer.references
    return _Way(references.placement, references.instruction, member.system, advises=True, spec=references)


def _aide(spec: MoASpec, record: Proposal) -> Aide:
    """Return who was asked about proposals; raise LookupError where the spec knows nobody of that id."""
    name = record["layer"]
    if record.get("role") == "summarizer":
        references = next((each.references for each in spec.layers if each.name == name), None)
        return summarizer(name, references or spec.aggregator.references, record)
    layer = next(layer for layer in spec.layers if layer.name == name)
    if layer.select is not None and record["proposer"] == "@ranker":
        return ranker(name, layer.select)
    if layer.select is not None and record.get("role") == "ranker":
        return pair_ranker(name, layer.select, "", "")
    if layer.residual is not None and record.get("role") == "comparer":
        return comparer(name, layer.residual)
    if spec.stop is not None and record.get("role") == "judge":
        return judge(name, spec.stop)
    raise LookupError(record["id"])


def _step_before(thread: Thread, step: str) -> str | None:
    place = thread.steps.index(step)
    return thread.steps[place - 1] if place else None


def _is_agent(spec: MoASpec, record: Proposal) -> bool:
    members = [
        member for layer in spec.layers if layer.name == record["layer"] for member in spec.members(layer)
    ]
    return any(member.tools for member in members if member.id == record["proposer"])
