"""Faults between the parts of a spec: slots referred to, names, quorums.

The checks read raw data, not the finished spec, so that these faults are said beside those of structure.
"""

from __future__ import annotations

from typing import Any

from moa_graph.spec.bounds import check_bounds, uses_of
from moa_graph.spec.document import Path, as_mapping, as_sequence, show
from moa_graph.spec.kinds import check_kind, ids_of, samples_of
from moa_graph.spec.parts import Part, raw_proposers
from moa_graph.spec.providers import check_model, provider_of
from moa_graph.spec.relations import check_primitives
from moa_graph.spec.retrieving import check_known, check_retrieval
from moa_graph.spec.schema import RESERVED_LAYER_NAMES, default_layer_name
from moa_graph.spec.slots import LOCAL_PROVIDERS

__all__ = ["check_part"]

_SET_ELSEWHERE = {
    **dict.fromkeys(("model", "model_name", "model_provider"), "`model` of the slot"),
    **dict.fromkeys(("base_url", "openai_api_base", "api_base"), "`base_url` of the slot"),
    **dict.fromkeys(("api_key", "openai_api_key"), "`api_key_env` of the slot"),
    "temperature": "`temperature` of the slot",
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "`max_tokens` of the slot"),
    **dict.fromkeys(("timeout", "request_timeout", "stream_chunk_timeout"), "`timeout` in `defaults`"),
    "max_retries": "`attempts` in `defaults`",
    "n": "`samples` of a proposer",
}
_SET_BY_RUN = frozenset(
    {
        "callbacks",
        "disable_streaming",
        "http_async_client",
        "http_client",
        "stream",
        "stream_options",
        "stream_usage",
        "streaming",
        "use_responses_api",
    }
)


def check_part(part: Part) -> None:
    """Note every fault between the parts of a spec; wrong types are left to the check of structure."""
    slots = as_mapping(part.data.get("models"))
    for slot, model in slots.items():
        check_model(part, ("models", slot), as_mapping(model).get("model"))
        _check_slot(part, ("models", slot), as_mapping(model))
    if slots:  # else it is said already that there are none
        for use in uses_of(part):
            check_known(part, use.path, use.slot, "slot", "models")
    for path, proposer in part.proposers():
        check_kind(part, path, proposer)
    _check_layers(part)
    _check_fallbacks(part, as_mapping(part.data.get("aggregator")))
    check_retrieval(part)
    check_primitives(part)
    check_bounds(part)


def _check_slot(part: Part, path: Path, model: dict[str, Any]) -> None:
    provider = provider_of(model)
    if provider in LOCAL_PROVIDERS:
        for key in ("base_url", "api_key_env"):
            if model.get(key) is not None:
                part.fault((*path, key), f"`{provider}:` calls no server, so it has no `{key}`")
    elif model.get("base_url") is not None and model.get("api_key_env") is None:
        part.fault(
            (*path, "api_key_env"),
            "a slot with `base_url` must say `api_key_env`",
            expected="the NAME of the variable that holds this server's key, or `none`",
            at=part.key((*path, "base_url")),
        )
    for key in as_mapping(model.get("params")):
        if key == "model" and provider == "replay":
            continue  # which recorded model to replay
        here = (*path, "params", key)
        if key in _SET_ELSEWHERE:
            expected = f"{_SET_ELSEWHERE[key]} instead"
            message = f"{show(key)} cannot be set in `params`"
            part.fault(here, message, expected=expected, at=part.key(here))
        elif key in _SET_BY_RUN:
            message = f"{show(key)} cannot be set in `params`: the run itself sets it"
            part.fault(here, message, at=part.key(here))


def _check_layers(part: Part) -> None:
    seen: dict[str, int] = {}
    for number, layer in enumerate(as_sequence(part.data.get("layers"))):
        if not isinstance(layer, dict):
            continue
        path: Path = ("layers", number)
        name = layer.get("name", default_layer_name(number))
        if isinstance(name, str):
            if name in RESERVED_LAYER_NAMES:
                part.fault((*path, "name"), f"{show(name)} is taken", expected="another name for the layer")
            elif name in seen:
                message = f"{show(name)} is the name of layers[{seen[name]}] already"
                part.fault((*path, "name"), message, expected="a name of its own for each layer")
            seen.setdefault(name, number)
        _check_proposers(part, path, layer)


def _check_proposers(part: Part, path: Path, layer: dict[str, Any]) -> None:
    seen: dict[str, int] = {}
    width = 0
    for index, proposer in raw_proposers(layer):
        here: Path = (*path, "proposers", index)
        samples = samples_of(proposer)
        width += samples
        temperatures = as_mapping(proposer).get("temperature")
        if isinstance(temperatures, list) and 0 < len(temperatures) != samples:
            message = f"{len(temperatures)} temperatures for {samples} samples"
            part.fault((*here, "temperature"), message, expected="one for each sample")
        ids = ids_of(part, here, proposer)
        taken = next((id_ for id_ in ids if id_ in seen), None)
        if taken is not None:
            part.fault(
                here,
                f"{show(taken)} is the id of proposers[{seen[taken]}] already",
                expected="an `id` of its own for each proposer of a layer",
                suggestion="give them an `id`, or ask one with `samples`",
            )
        seen.update({id_: index for id_ in ids if id_ not in seen})
    quorum = layer.get("quorum", 1)
    if isinstance(quorum, int) and width and quorum > width:
        message = f"a quorum of {quorum} from a layer of {width}"
        part.fault((*path, "quorum"), message, expected=f"at most {width}")


def _check_fallbacks(part: Part, aggregator: dict[str, Any]) -> None:
    seen = {aggregator.get("model")} - {None} if isinstance(aggregator.get("model"), str) else set()
    for index, slot in enumerate(as_sequence(aggregator.get("fallbacks"))):
        if isinstance(slot, str):
            if slot in seen:
                message = f"{show(slot)} has been tried before it comes to this"
                part.fault(("aggregator", "fallbacks", index), message, expected="another slot")
            seen.add(slot)
