"""Faults between parts: slots referred to, names, quorums, limits.

The checks read raw data, not the finished spec, so that these faults are said beside those of structure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moa_graph.spec.document import Document, Path, as_mapping, as_sequence, show
from moa_graph.spec.providers import check_model
from moa_graph.spec.schema import (
    FREE_PROVIDERS,
    LOCAL_PROVIDERS,
    RESERVED_LAYER_NAMES,
    default_layer_name,
)

__all__ = ["check_references"]

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


@dataclass(frozen=True)
class _Use:
    """One place that refers to a slot."""

    path: Path
    slot: str
    max_tokens: Any


def check_references(document: Document) -> None:
    """Note every fault between the parts of a document; wrong types are left to the check of structure."""
    data = as_mapping(document.data)
    slots = as_mapping(data.get("models"))
    uses = list(_uses(data))
    for slot, model in slots.items():
        check_model(document, ("models", slot), as_mapping(model).get("model"))
        _check_slot(document, ("models", slot), as_mapping(model))
    _check_slots_exist(document, uses, slots)
    _check_layers(document, as_sequence(data.get("layers")))
    _check_fallbacks(document, as_mapping(data.get("aggregator")))
    limits = as_mapping(data.get("limits"))
    if isinstance(max_cost := limits.get("max_cost"), int | float) and max_cost > 0:
        _check_prices(document, uses, slots)
    _check_calls(document, limits.get("max_calls"), as_sequence(data.get("layers")))


def _uses(data: dict[str, Any]) -> Iterator[_Use]:
    for number, layer in enumerate(as_sequence(data.get("layers"))):
        for index, proposer in enumerate(as_sequence(as_mapping(layer).get("proposers"))):
            path: Path = ("layers", number, "proposers", index)
            if isinstance(proposer, str):
                yield _Use(path, proposer, None)
            elif isinstance(slot := as_mapping(proposer).get("model"), str):
                yield _Use((*path, "model"), slot, proposer.get("max_tokens"))
    aggregator = as_mapping(data.get("aggregator"))
    if isinstance(slot := aggregator.get("model"), str):
        yield _Use(("aggregator", "model"), slot, aggregator.get("max_tokens"))
    for index, slot in enumerate(as_sequence(aggregator.get("fallbacks"))):
        if isinstance(slot, str):
            yield _Use(("aggregator", "fallbacks", index), slot, aggregator.get("max_tokens"))


def _check_slots_exist(document: Document, uses: list[_Use], slots: dict[str, Any]) -> None:
    if not slots:
        return  # said already: there are none
    names = list(slots)
    expected = "one of " + ", ".join(show(slot) for slot in names[:20])
    for use in uses:
        if use.slot not in slots and not document.has_fault(use.path):
            message = f"there is no slot {show(use.slot)} under `models`"
            suggestion = document.suggest(use.slot, names)
            document.fault(use.path, message, expected=expected, suggestion=suggestion)


def _provider(model: dict[str, Any]) -> str:
    return str(model.get("model", "")).partition(":")[0]


def _check_slot(document: Document, path: Path, model: dict[str, Any]) -> None:
    provider = _provider(model)
    if provider in LOCAL_PROVIDERS:
        for key in ("base_url", "api_key_env"):
            if model.get(key) is not None:
                document.fault((*path, key), f"`{provider}:` calls no server, so it has no `{key}`")
    elif model.get("base_url") is not None and model.get("api_key_env") is None:
        document.fault(
            (*path, "api_key_env"),
            "a slot with `base_url` must say `api_key_env`",
            expected="the NAME of the variable that holds this server's key, or `none`",
            at=document.keys.get((*path, "base_url")),
        )
    for key in as_mapping(model.get("params")):
        if key == "model" and provider == "replay":
            continue  # which recorded model to replay
        here = (*path, "params", key)
        if key in _SET_ELSEWHERE:
            expected = f"{_SET_ELSEWHERE[key]} instead"
            message = f"{show(key)} cannot be set in `params`"
            document.fault(here, message, expected=expected, at=document.keys.get(here))
        elif key in _SET_BY_RUN:
            message = f"{show(key)} cannot be set in `params`: the run itself sets it"
            document.fault(here, message, at=document.keys.get(here))


def _check_layers(document: Document, layers: list[Any]) -> None:
    seen: dict[str, int] = {}
    for number, layer in enumerate(layers):
        if not isinstance(layer, dict):
            continue
        path: Path = ("layers", number)
        name = layer.get("name", default_layer_name(number))
        if isinstance(name, str):
            if name in RESERVED_LAYER_NAMES:
                document.fault(
                    (*path, "name"), f"{show(name)} is taken", expected="another name for the layer"
                )
            elif name in seen:
                message = f"{show(name)} is the name of layers[{seen[name]}] already"
                document.fault((*path, "name"), message, expected="a name of its own for each layer")
            seen.setdefault(name, number)
        if number == 0 and "references" in layer:
            document.fault(
                (*path, "references"),
                "the first layer has nothing before it to refer to",
                expected="`references` in a later layer or in the aggregator",
                at=document.keys.get((*path, "references")),
            )
        _check_proposers(document, path, layer)


def _samples(proposer: Any) -> int:
    samples = as_mapping(proposer).get("samples", 1)
    return samples if isinstance(samples, int) and 1 <= samples <= 100 else 1


def _check_proposers(document: Document, path: Path, layer: dict[str, Any]) -> None:
    proposers = as_sequence(layer.get("proposers"))
    seen: dict[str, int] = {}
    for index, proposer in enumerate(proposers):
        spec = {"model": proposer} if isinstance(proposer, str) else as_mapping(proposer)
        stem, samples = spec.get("id") or spec.get("model"), _samples(proposer)
        if not isinstance(stem, str):
            continue
        ids = [stem] if samples == 1 else [f"{stem}-{number}" for number in range(1, samples + 1)]
        taken = next((id_ for id_ in ids if id_ in seen), None)
        if taken is not None:
            document.fault(
                (*path, "proposers", index),
                f"{show(taken)} is the id of proposers[{seen[taken]}] already",
                expected="an `id` of its own for each proposer of a layer",
                suggestion="give them an `id`, or ask one with `samples`",
            )
        seen.update({id_: index for id_ in ids if id_ not in seen})
    width, quorum = sum(map(_samples, proposers)), layer.get("quorum", 1)
    if isinstance(quorum, int) and proposers and quorum > width:
        message = f"a quorum of {quorum} from a layer of {width}"
        document.fault((*path, "quorum"), message, expected=f"at most {width}")


def _check_fallbacks(document: Document, aggregator: dict[str, Any]) -> None:
    seen = {aggregator.get("model")} - {None} if isinstance(aggregator.get("model"), str) else set()
    for index, slot in enumerate(as_sequence(aggregator.get("fallbacks"))):
        if isinstance(slot, str):
            if slot in seen:
                message = f"{show(slot)} has been tried before it comes to this"
                document.fault(("aggregator", "fallbacks", index), message, expected="another slot")
            seen.add(slot)


def _check_prices(document: Document, uses: list[_Use], slots: dict[str, Any]) -> None:
    """Ask for what a reservation before each call is computed from: price and longest output."""
    for use in uses:
        model = as_mapping(slots.get(use.slot))
        if not model or _provider(model) in FREE_PROVIDERS:
            continue
        path: Path = ("models", use.slot)
        if model.get("price") is None:
            message = "`limits.max_cost` needs the price of every slot in use"
            document.fault(
                (*path, "price"), message, expected="{input: …, output: …}, USD per million tokens"
            )
        if use.max_tokens is None and model.get("max_tokens", 2048) is None:
            message = "`limits.max_cost` needs the `max_tokens` of every slot in use"
            document.fault((*path, "max_tokens"), message, expected="a whole number")


def _check_calls(document: Document, max_calls: Any, layers: list[Any]) -> None:
    quorums = [as_mapping(layer).get("quorum", 1) for layer in layers]
    least = sum(quorum for quorum in quorums if isinstance(quorum, int)) + 1
    if isinstance(max_calls, int) and not isinstance(max_calls, bool) and max_calls < least:
        message = f"{max_calls} calls cannot give an answer: the quorums and the aggregator need {least}"
        document.fault(("limits", "max_calls"), message, expected=f"at least {least}")
