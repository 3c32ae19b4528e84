"""A mixture of in-process models: `mixture({"draft": {"a": model, "b": model}}, {"z": model})`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from moa_graph.graph import MoAGraph, build_graph
from moa_graph.spec.schema import MoASpec

__all__ = ["mixture"]

Models = Mapping[str, BaseChatModel]


def mixture(
    layers: Mapping[str, Models],
    aggregator: Models,
    *,
    layer: Mapping[str, Mapping[str, Any]] | None = None,
    slots: Mapping[str, Mapping[str, Any]] | None = None,
    **parts: Any,
) -> MoAGraph:
    """Return the uncompiled graph; the first of `aggregator` is the aggregator, the others its fallbacks.

    `layer` adds to single layers by name, `slots` to single slots (named "layer-proposer", or as in
    `aggregator`); `parts` are other parts of the spec. Put what belongs to the aggregator under `final`.
    """
    models: dict[str, BaseChatModel] = {}
    specs = []
    for name, members in layers.items():
        proposers = []
        for id_, model in members.items():
            models[f"{name}-{id_}"] = model
            proposers.append({"model": f"{name}-{id_}", "id": id_})
        specs.append({"name": name, "proposers": proposers, **(layer or {}).get(name, {})})
    first, *fallbacks = aggregator
    models.update(aggregator)
    spec = MoASpec.model_validate(
        {
            "moa": 1,
            "name": "test",
            "models": {slot: {"model": f"host:{slot}", **(slots or {}).get(slot, {})} for slot in models},
            "layers": specs,
            "aggregator": {"model": first, "fallbacks": fallbacks, **parts.pop("final", {})},
            **parts,
        }
    )
    return build_graph(spec, models=models)
