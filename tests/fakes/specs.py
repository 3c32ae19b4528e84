"""Specs from behaviour names: `moa_spec(server.base_url, [["ok@a", "500"], ["ok@c"]], "ok@z")`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from moa_graph.spec.schema import MoASpec

__all__ = ["moa_spec", "slot_of", "spec_document"]

Member = str | Mapping[str, Any]
Layer = Sequence[Member] | Mapping[str, Any]


def slot_of(model: str) -> str:
    """Return the slot's name for a model's name: `ok@a` gives `ok-a`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", model)


def spec_document(
    base_url: str,
    layers: Sequence[Layer],
    aggregator: Member,
    *,
    slot: Mapping[str, Any] | None = None,
    slots: Mapping[str, Mapping[str, Any]] | None = None,
    **parts: Any,
) -> dict[str, Any]:
    """Return a spec as plain data.

    A layer is a list of members or a mapping with `proposers` and whatever a layer may say. A member is a
    behaviour's name, or a mapping as a spec writes it whose `model` (and `fallbacks`, of the aggregator) are
    behaviours' names. A behaviour that occurs twice in a layer gets the ids `ok` and `ok-2`. `slot` adds to
    all slots (say, a price), `slots` to single ones by their model's name; `parts` are other parts of the
    spec, such as `limits`.
    """
    models: dict[str, dict[str, Any]] = {}

    def use(model: str) -> str:
        name = slot_of(model)
        models[name] = {
            "model": f"openai:{model}",
            "base_url": base_url,
            "api_key_env": "none",
            "temperature": None,
            **(slot or {}),
            **(slots or {}).get(model, {}),
        }
        return name

    def member(value: Member) -> dict[str, Any]:
        given = {"model": value} if isinstance(value, str) else dict(value)
        return given | {"model": use(given["model"])}

    def proposers(members: Sequence[Member]) -> list[dict[str, Any]]:
        seen: Counter[str] = Counter()
        result = []
        for given in map(member, members):
            stem = given.get("id", given["model"])
            seen[stem] += 1
            result.append(given | ({"id": f"{stem}-{seen[stem]}"} if seen[stem] > 1 else {}))
        return result

    def layer(value: Layer, number: int) -> dict[str, Any]:
        given = dict(value) if isinstance(value, Mapping) else {"proposers": value}
        return {"name": f"layer-{number}"} | given | {"proposers": proposers(given["proposers"])}

    final = member(aggregator)
    if "fallbacks" in final:
        final["fallbacks"] = [use(model) for model in final["fallbacks"]]
    return {
        "moa": 1,
        "name": "test",
        "layers": [layer(value, number) for number, value in enumerate(layers, 1)],
        "aggregator": final,
        "models": models,
        **parts,
    }


def moa_spec(base_url: str, layers: Sequence[Layer], aggregator: Member, **options: Any) -> MoASpec:
    """Return a spec whose models are behaviours of the fake server; see `spec_document` for the options."""
    return MoASpec.model_validate(spec_document(base_url, layers, aggregator, **options))
