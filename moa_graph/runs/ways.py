"""All in a spec that decides what a call is asked, in forms that can be compared; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moa_graph.selecting.stopping import asks_judge
from moa_graph.spec.schema import LayerSpec, Member, MoASpec, ReferencesSpec
from moa_graph.state import Proposal

__all__ = ["answering", "asking", "asking_aide", "same_passages", "selecting", "stopping"]


def asking(spec: MoASpec, layer: LayerSpec) -> dict[str, Any]:
    """Map each proposer's id to all that decides what it is asked."""
    shared = _sources(spec, spec.retrieve)
    sight = _sight(spec, layer.references)
    return {member.id: (shared, sight, _way(spec, member)) for member in spec.members(layer)}


def answering(spec: MoASpec) -> tuple[Any, ...]:
    """Return all that decides what the aggregator is asked, and what is taken as its answer."""
    ways = [_way(spec, member) for member in spec.aggregators()]
    aggregator = spec.aggregator
    reducing = (aggregator.extract, aggregator.weights, aggregator.on_error)
    return _reading(spec), aggregator.citations, reducing, ways


def selecting(spec: MoASpec, layer: LayerSpec) -> tuple[Any, ...]:
    """Return all that decides what of a layer goes on; each part is false if nothing does."""
    slots = [part.model for part in (layer.select, layer.residual) if part is not None]
    return layer.select, layer.residual, [_slot(spec, slot) for slot in slots if slot is not None]


def stopping(spec: MoASpec, index: int) -> tuple[Any, ...] | None:
    """Return all that decides whether it is enough after a layer; None where nothing does."""
    stop = spec.stop
    if stop is None or index + 1 == len(spec.layers):
        return None
    return stop, _slot(spec, stop.model) if stop.model is not None else None


def asking_aide(spec: MoASpec, record: Proposal) -> Any:
    """Return all that decides what somebody is asked about proposals; None if the spec asks nobody so."""
    name, role = record["proposer"], record.get("role")
    layer = next((layer for layer in spec.layers if layer.name == record["layer"]), None)
    shared = _sources(spec, spec.retrieve)
    if role == "summarizer":
        references = layer.references if layer else spec.aggregator.references
        wanted = references.payload == "summary" and references.summarizer is not None
        return (shared, _slot(spec, references.summarizer or "")) if wanted else None
    if layer is None:
        ids = {member.id: member for member in spec.aggregators()}
        member = ids.get(name.partition(":")[2])
        return None if member is None else (_reading(spec), _way(spec, member))
    if role == "ranker" and (select := layer.select) is not None and select.model is not None:
        return select.by, select.instruction, shared, _slot(spec, select.model)
    if role == "comparer" and layer.residual is not None:
        chosen = selecting(spec, layer)  # which decides what both are about
        return layer.residual.instruction, shared, chosen
    number = spec.layers.index(layer) + 1
    if (
        role == "judge"
        and spec.stop is not None
        and asks_judge(spec.stop, number)
        and layer != spec.layers[-1]
    ):
        return spec.stop.instruction, _slot(spec, spec.stop.model or ""), shared, _chooser(spec, layer)
    return None


def same_passages(old: MoASpec, new: MoASpec) -> bool:
    """Tell whether what `old` retrieved for everybody is what `new` would retrieve."""
    return _sources(old, old.retrieve) == _sources(new, new.retrieve)


def _chooser(spec: MoASpec, layer: LayerSpec) -> Any:
    select = layer.select
    return select, _slot(spec, select.model) if select is not None and select.model is not None else None


def _reading(spec: MoASpec) -> tuple[Any, ...]:
    """Return all that decides what is shown to whoever writes or chooses the answer."""
    aggregator = spec.aggregator
    shared = _sources(spec, spec.retrieve)
    return shared, _sight(spec, aggregator.references), aggregator.reduce, aggregator.window


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
