"""What of a thread is still valid under another spec; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moa_graph.spec.schema import LayerSpec, Member, MoASpec
from moa_graph.state import Proposal

__all__ = ["Reuse", "reusable"]


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
    is valid if the same model, asked in the same way, saw the same references; how long a layer
    waits, how often it tries and how many proposals it asks for change no proposal.
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
        ended > len(old.layers)
        and len(old.layers) == len(new.layers)
        and [_way(old, member) for member in old.aggregators()]
        == [_way(new, member) for member in new.aggregators()]
        and old.aggregator.references == new.aggregator.references
    )
    return Reuse(len(new.layers), taken, {}, answered=answered)


def _asked(spec: MoASpec, layer: LayerSpec) -> dict[str, Any]:
    """Map each proposer's id to all that decides what it is asked."""
    return {member.id: (layer.references, _way(spec, member)) for member in spec.members(layer)}


def _way(spec: MoASpec, member: Member) -> tuple[Any, ...]:
    slot = spec.models[member.model].model_dump(exclude={"price"})
    return (slot, member.system, member.temperature, member.max_tokens)
