"""From a member of a spec to what proposes: the only place that knows the kinds of proposers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from moa_graph.compiled import CompiledMoA
from moa_graph.proposers import Proposer
from moa_graph.proposers.call import Caller
from moa_graph.proposers.nested import NestedSource
from moa_graph.proposers.runnable import RunnableSource
from moa_graph.proposers.sources import ModelSource, Source
from moa_graph.resources import Resources
from moa_graph.spec.schema import LayerSpec, Member

__all__ = ["Build", "aggregator_callers", "proposers_of"]

Build = Callable[[Resources], CompiledMoA]
"""Make a nested spec's graph; handed in, because graphs are made of proposers."""


def proposers_of(resources: Resources, layer: LayerSpec, build: Build) -> list[Proposer]:
    """Return the proposers of a layer in spec order."""
    spec = resources.spec
    members = spec.members(layer)
    graphs = {
        id(inner.spec): build(inner)
        for where, inner in resources.nested.items()
        if where.startswith(f"{layer.name}/")
    }
    return [
        Caller(
            layer=layer.name,
            member=member,
            role="proposer",
            source=_source(member, resources, graphs),
            pool=resources.models,
            placement=layer.references.placement,
            max_output_chars=spec.limits.max_output_chars,
            retrievers=resources.retrievers,
        )
        for member in members
    ]


def aggregator_callers(resources: Resources) -> list[Caller]:
    """Return the aggregator and its fallbacks, in the order in which they are tried."""
    spec = resources.spec
    return [
        Caller(
            layer="aggregator",
            member=member,
            role="aggregator",
            source=ModelSource(resources.models, member, slot),
            pool=resources.models,
            placement=spec.aggregator.references.placement,
            max_output_chars=spec.limits.max_output_chars,
            retrievers=resources.retrievers,
            citations=spec.aggregator.citations,
        )
        for member in spec.aggregators()
        if (slot := member.model) is not None
    ]


def _source(member: Member, resources: Resources, graphs: Mapping[int, CompiledMoA]) -> Source:
    """Return what is asked; `graphs` are those of the specs inside, by the specs' identities."""
    if member.spec is not None:
        return NestedSource(graphs[id(member.spec)])
    if member.runnable is not None:
        return RunnableSource(resources.registered.runnables, member.runnable, member.price)
    asked = ModelSource(resources.models, member, member.model or "")
    if not member.tools:
        return asked
    from moa_graph.proposers.agent import AgentSource  # noqa: PLC0415 - who has no agent imports none

    return AgentSource(asked, resources.registered.tools)
