"""What of a thread is still valid under another spec; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from moa_graph.spec.schema import LayerSpec, Member, MoASpec, ReferencesSpec
from moa_graph.state import Proposal, is_proposal

__all__ = ["Reuse", "reusable", "same_passages"]


@dataclass(frozen=True)
class Reuse:
    """Say what a fork takes over: whole layers, proposals of the layer after them, and the answer.

    `ended` is the number of layers that need not run, `proposals` are theirs; `kept` are those of the layer
    after them, which then asks only for the rest. With `stopped` the layers after the `ended` ones are not
    needed, as they were not before.
    """

    ended: int
    proposals: dict[str, Proposal]
    kept: dict[str, Proposal]
    answered: bool
    stopped: bool = False


def reusable(
    old: MoASpec,
    new: MoASpec,
    proposals: Mapping[str, Proposal],
    finished: Mapping[str, Proposal],
    ended: int,
    stopped: str | None = None,
) -> Reuse:
    """Return what stays valid of a turn of `old` when it goes on under `new`.

    `proposals` are those of its first `ended` steps, `finished` those of the layer after them, with the
    records of calls that failed: that layer has ended if all have spoken, and are enough now. A proposal
    is valid if the same proposer, asked in the same way, saw the same references and passages; how long a
    layer waits, how often it tries and how many proposals it asks for change no proposal. What was selected,
    compared or judged after a layer is valid as long as the spec asks for it in the same way; else the layer
    is settled anew, from its proposals. `stopped` is the layer after which the others were not needed.
    """
    taken: dict[str, Proposal] = {}
    for index, layer in enumerate(new.layers):
        same = index < len(old.layers) and old.layers[index].name == layer.name
        records = {
            id_: record
            for id_, record in [*proposals.items(), *finished.items()]
            if same and record["layer"] == layer.name
        }
        before = _asked(old, old.layers[index]) if same else {}
        now = _asked(new, layer)
        proposals_of = {id_: record for id_, record in records.items() if is_proposal(record)}
        enough = sum(record["status"] == "ok" for record in proposals_of.values()) >= layer.quorum
        # A layer that ended had enough: where proposals agree, fewer than the quorum are.
        enough = enough or (same and index < ended and layer.quorum == old.layers[index].quorum)
        ids = [f"{layer.name}/{id_}" for id_ in now]
        settled = index < ended and same and _settling(old, index) == _settling(new, index)
        spoken = settled or (records.keys() >= set(ids) and not any(_settling(new, index)))
        if spoken and same and list(before.items()) == list(now.items()) and enough:
            if not settled:  # as if nothing had been selected, and nobody asked about the proposals
                records = {id_: _shown_again(record) for id_, record in proposals_of.items()}
            taken |= {id_: records[id_] for id_ in ids} | records
            if same and not settled and any(_settling(old, index)):
                return Reuse(index + 1, taken, {}, answered=False)  # what follows saw something else
            if settled and layer.name == stopped:
                answered = ended > index + 1 and _answered(old) == _answered(new)
                return _with_answer(Reuse(index + 1, taken, {}, answered, stopped=True), proposals)
            continue
        by_hand = {id_ for id_, record in proposals_of.items() if record["proposer"] not in before}
        valid = {f"{layer.name}/{id_}" for id_ in now if before.get(id_) == now[id_]} | by_hand
        kept = {
            id_: _shown_again(record)
            for id_, record in proposals_of.items()
            if id_ in valid and record["status"] == "ok"
        }
        return Reuse(index, taken, kept, answered=False)
    answered = (
        ended > len(old.layers) and len(old.layers) == len(new.layers) and _answered(old) == _answered(new)
    )
    return _with_answer(Reuse(len(new.layers), taken, {}, answered=answered), proposals)


def _with_answer(reuse: Reuse, proposals: Mapping[str, Proposal]) -> Reuse:
    """Return what is taken over with the calls that led to the answer, if that is."""
    if not reuse.answered:
        return reuse
    asked = {id_: record for id_, record in proposals.items() if record["layer"] == "aggregator"}
    return replace(reuse, proposals=reuse.proposals | asked)


def _shown_again(record: Proposal) -> Proposal:
    """Return a proposal that a new selection may show again."""
    copy = record.copy()
    copy.pop("left_out", None)
    return copy


def _settling(spec: MoASpec, index: int) -> tuple[Any, ...]:
    """Return all that decides what happens once a layer has joined; each part is false if nothing does."""
    layer, last = spec.layers[index], index + 1 == len(spec.layers)
    stop = spec.stop
    if stop is not None and last and stop.by != "agreement":  # the last layer is not judged
        stop = None
    parts = [layer.select, layer.residual, stop]
    slots = [part.model for part in parts if part is not None]
    asked = [_slot(spec, slot) for slot in slots if slot is not None]
    return layer.select, layer.residual, (stop, last) if stop is not None else None, asked


def same_passages(old: MoASpec, new: MoASpec) -> bool:
    """Tell whether what `old` retrieved for everybody is what `new` would retrieve."""
    return _sources(old, old.retrieve) == _sources(new, new.retrieve)


def _asked(spec: MoASpec, layer: LayerSpec) -> dict[str, Any]:
    """Map each proposer's id to all that decides what it is asked."""
    shared = _sources(spec, spec.retrieve)
    sight = _sight(spec, layer.references)
    return {member.id: (shared, sight, _way(spec, member)) for member in spec.members(layer)}


def _answered(spec: MoASpec) -> tuple[Any, ...]:
    """Return all that decides what the aggregator is asked, and what is taken as its answer."""
    ways = [_way(spec, member) for member in spec.aggregators()]
    shared = _sources(spec, spec.retrieve)
    aggregator = spec.aggregator
    reducing = (
        aggregator.reduce,
        aggregator.extract,
        aggregator.weights,
        aggregator.window,
        aggregator.on_error,
    )
    return shared, _sight(spec, aggregator.references), aggregator.citations, reducing, ways


def _sight(spec: MoASpec, references: ReferencesSpec) -> tuple[Any, ...]:
    summarizer = references.summarizer
    return references, _slot(spec, summarizer) if summarizer is not None else None


def _slot(spec: MoASpec, slot: str) -> dict[str, Any]:
    return spec.models[slot].model_dump(exclude={"price"})


def _way(spec: MoASpec, member: Member) -> tuple[Any, ...]:
    slot = None if member.model is None else _slot(spec, member.model)
    kind = (slot, member.runnable, member.spec)
    steps = member.max_steps if member.tools else 0
    sampling = (member.system, member.temperature, member.max_tokens)
    return (*kind, member.tools, steps, _sources(spec, member.retrieve), *sampling)


def _sources(spec: MoASpec, names: Sequence[str]) -> list[Any]:
    """Return what decides which passages retrievers give; how long they may take does not."""
    waiting = {"timeout", "on_error"}
    return [(name, spec.retrievers[name].model_dump(exclude=waiting)) for name in names]
