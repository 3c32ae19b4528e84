"""From a member of a spec to what proposes: the only place that knows the kinds of proposers."""

from __future__ import annotations

from moa_graph.models.pool import ModelPool
from moa_graph.proposers import Proposer
from moa_graph.proposers.call import ModelCaller
from moa_graph.spec.schema import LayerSpec, MoASpec

__all__ = ["aggregator_callers", "proposers_of"]


def proposers_of(spec: MoASpec, layer: LayerSpec, pool: ModelPool) -> list[Proposer]:
    """Return the proposers of a layer in spec order."""
    return [
        ModelCaller(
            layer=layer.name,
            member=member,
            role="proposer",
            pool=pool,
            placement=layer.references.placement,
            max_output_chars=spec.limits.max_output_chars,
        )
        for member in spec.members(layer)
    ]


def aggregator_callers(spec: MoASpec, pool: ModelPool) -> list[ModelCaller]:
    """Return the aggregator and its fallbacks, in the order in which they are tried."""
    return [
        ModelCaller(
            layer="aggregator",
            member=member,
            role="aggregator",
            pool=pool,
            placement=spec.aggregator.references.placement,
            max_output_chars=spec.limits.max_output_chars,
        )
        for member in spec.aggregators()
    ]
