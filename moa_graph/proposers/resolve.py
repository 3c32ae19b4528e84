"""From a member of a spec to what proposes: the only place that knows the kinds of proposers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.runnables import Runnable

from moa_graph.proposers import Proposer
from moa_graph.proposers.call import Caller
from moa_graph.proposers.sources import ModelSource, Source
from moa_graph.resources import Resources
from moa_graph.spec.schema import LayerSpec, Member, MoASpec

__all__ = ["Build", "aggregator_callers", "proposers_of"]

Build = Callable[[MoASpec, Resources], Runnable[Any, Any]]
"""Make a nested spec's graph; handed in, because graphs are made of proposers."""


def proposers_of(resources: Resources, layer: LayerSpec, build: Build) -> list[Proposer]:
    """Return the proposers of a layer in spec order."""
    spec = resources.spec
    return [
        Caller(
            layer=layer.name,
            member=member,
            role="proposer",
            source=_source(member, resources, build),
            pool=resources.models,
            placement=layer.references.placement,
            max_output_chars=spec.limits.max_output_chars,
        )
        for member in spec.members(layer)
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
            cite=spec.aggregator.citations != "none",
        )
        for member in spec.aggregators()
        if (slot := member.model) is not None
    ]


def _source(member: Member, resources: Resources, build: Build) -> Source:
    if member.model is not None:
        return ModelSource(resources.models, member, member.model)
    raise AssertionError
