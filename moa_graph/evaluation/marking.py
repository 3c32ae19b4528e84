"""What of a spec can change an answer, as a digest: a price, a name or a timeout cannot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from moa_graph.spec.schema import MoASpec

__all__ = ["answering_mark"]

_OF_SPEC = frozenset({"name", "description", "limits", "defaults"})
_OF_CALLS = frozenset({"price", "api_key_env", "timeout", "attempts"})


def answering_mark(spec: MoASpec) -> str:
    """Return the SHA-256 of what can change an answer of a spec.

    Left out are names and descriptions, prices, limits of a run, time and attempts of a call, and the
    variable of a key.
    """
    data = _answering(spec.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _answering(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = _without(spec, _OF_SPEC)
    kept["models"] = {name: _without(slot, _OF_CALLS) for name, slot in spec.get("models", {}).items()}
    kept["layers"] = [_layer(layer) for layer in spec.get("layers", ())]
    kept["aggregator"] = _without(spec["aggregator"], _OF_CALLS)
    return kept


def _layer(layer: Mapping[str, Any]) -> dict[str, Any]:
    kept = _without(layer, _OF_CALLS)
    kept["proposers"] = [_proposer(proposer) for proposer in layer["proposers"]]
    return kept


def _proposer(proposer: Mapping[str, Any]) -> dict[str, Any]:
    kept = _without(proposer, _OF_CALLS)
    if kept.get("spec"):
        kept["spec"] = _answering(kept["spec"])
    return kept


def _without(data: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}
