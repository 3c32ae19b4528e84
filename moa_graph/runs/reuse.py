"""What of a thread is still valid under another spec; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moa_graph.spec.schema import LayerSpec, Member, MoASpec
from moa_graph.state import Proposal

__all__ = ["Reuse", "reusable", "same_passages"]


@dataclass(frozen=True)
class Reuse:
    """Say what a fork takes over: whole layers, proposals of the layer after them, and the answer.

    `ended` is the number of layers that need not run, `proposals` are theirs; `kept` are those of the layer
    after them, which then asks only for the rest.
    """

    ended: int
    proposals: dict[str, Proposal]
    kept: dict[str, Proposal]
    answered: bool


def reusable(
    old: MoASpec,
    new: MoASpec,
    proposals: Mapping[str, Proposal],
    finished: Mapping[str, Proposal],
    ended: int,
) -> Reuse:
    """Return what stays valid of a turn of `old` when it goes on under `new`.

    `proposals` are those of its first `ended` steps, `finished` those of the layer after them, with the
    records of calls that failed: that layer has ended if all have spoken, and are enough now. A proposal
    is valid if the same proposer, asked in the same way, saw the same references and passages; how long a
    layer waits, how often it tries and how many proposals it asks for change no proposal.
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
        enough = sum(record["status"] == "ok" for record in records.values()) >= layer.quorum
        ids = [f"{layer.name}/{id_}" for id_ in now]
        spoken = index < ended or records.keys() >= set(ids)
        if spoken and same and list(before.items()) == list(now.items()) and enough:
            taken |= {id_: records[id_] for id_ in ids} | records
            continue
        by_hand = {id_ for id_, record in records.items() if record["proposer"] not in before}
        valid = {f"{layer.name}/{id_}" for id_ in now if before.get(id_) == now[id_]} | by_hand
        kept = {id_: record for id_, record in records.items() if id_ in valid and record["status"] == "ok"}
        return Reuse(index, taken, kept, answered=False)
    answered = (
        ended > len(old.layers) and len(old.layers) == len(new.layers) and _answered(old) == _answered(new)
    )
    return Reuse(len(new.layers), taken, {}, answered=answered)


def same_passages(old: MoASpec, new: MoASpec) -> bool:
    """Tell whether what `old` retrieved for everybody is what `new` would retrieve."""
    return _sources(old, old.retrieve) == _sources(new, new.retrieve)


def _asked(spec: MoASpec, layer: LayerSpec) -> dict[str, Any]:
    """Map each proposer's id to all that decides what it is asked."""
    shared = _sources(spec, spec.retrieve)
    return {member.id: (shared, layer.references, _way(spec, member)) for member in spec.members(layer)}


def _answered(spec: MoASpec) -> tuple[Any, ...]:
    """Return all that decides what the aggregator is asked, and what is taken as its answer."""
    ways = [_way(spec, member) for member in spec.aggregators()]
    shared = _sources(spec, spec.retrieve)
    return shared, spec.aggregator.references, spec.aggregator.citations, ways


def _way(spec: MoASpec, member: Member) -> tuple[Any, ...]:
    slot = None if member.model is None else spec.models[member.model].model_dump(exclude={"price"})
    kind = (slot, member.runnable, member.spec)
    steps = member.max_steps if member.tools else 0
    sampling = (member.system, member.temperature, member.max_tokens)
    return (*kind, member.tools, steps, _sources(spec, member.retrieve), *sampling)


def _sources(spec: MoASpec, names: Sequence[str]) -> list[Any]:
    """Return what decides which passages retrievers give; how long they may take does not."""
    waiting = {"timeout", "on_error"}
    return [(name, spec.retrievers[name].model_dump(exclude=waiting)) for name in names]
