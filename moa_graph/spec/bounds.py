"""Faults of limits: what bounds the cost must be known, and the calls must be enough for an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moa_graph.spec.document import Path, as_mapping, as_sequence
from moa_graph.spec.kinds import samples_of
from moa_graph.spec.parts import Part, raw_proposers
from moa_graph.spec.providers import provider_of
from moa_graph.spec.slots import FREE_PROVIDERS

__all__ = ["aides_of", "check_bounds", "uses_of"]


@dataclass(frozen=True)
class Use:
    """Name one place that refers to a slot."""

    path: Path
    slot: str
    max_tokens: Any


def uses_of(part: Part) -> Iterator[Use]:
    """Yield every place of a spec that refers to a slot; specs inside it have slots of their own."""
    for path, proposer in part.proposers():
        if isinstance(slot := proposer.get("model"), str):
            place = (*path, "model") if part.has((*path, "model")) else path
            yield Use(place, slot, proposer.get("max_tokens"))
    aggregator = as_mapping(part.data.get("aggregator"))
    if isinstance(slot := aggregator.get("model"), str):
        yield Use(("aggregator", "model"), slot, aggregator.get("max_tokens"))
    for index, slot in enumerate(as_sequence(aggregator.get("fallbacks"))):
        if isinstance(slot, str):
            yield Use(("aggregator", "fallbacks", index), slot, aggregator.get("max_tokens"))
    for path in aides_of(part):
        if isinstance(slot := part.at(path), str):
            yield Use(path, slot, None)


def aides_of(part: Part) -> Iterator[Path]:
    """Yield the places that name who is asked about proposals."""
    for number, _ in enumerate(as_sequence(part.data.get("layers"))):
        for key in ("select", "residual"):
            yield ("layers", number, key, "model")
        yield ("layers", number, "references", "summarizer")
    yield ("stop", "model")
    yield ("aggregator", "references", "summarizer")


def check_bounds(part: Part) -> None:
    """Note limits that cannot be kept, and those that leave no room for an answer."""
    limits = as_mapping(part.data.get("limits"))
    if isinstance(max_cost := limits.get("max_cost"), int | float) and max_cost > 0:
        _check_prices(part, "`limits.max_cost`")
    max_calls = limits.get("max_calls")
    if isinstance(max_calls, int) and not isinstance(max_calls, bool) and max_calls < (least := _least(part)):
        message = f"{max_calls} calls cannot give an answer: the quorums and the aggregator need {least}"
        part.fault(("limits", "max_calls"), message, expected=f"at least {least}")


def _check_prices(part: Part, limit: str) -> None:
    """Ask for what a reservation before each call is computed from: price and longest output."""
    slots = as_mapping(part.data.get("models"))
    for use in uses_of(part):
        model = as_mapping(slots.get(use.slot))
        if not model or provider_of(model) in FREE_PROVIDERS:
            continue
        path: Path = ("models", use.slot)
        if model.get("price") is None:
            message = f"{limit} needs the price of every slot in use"
            part.fault((*path, "price"), message, expected=_PRICE)
        if use.max_tokens is None and model.get("max_tokens", 2048) is None:
            message = f"{limit} needs the `max_tokens` of every slot in use"
            part.fault((*path, "max_tokens"), message, expected="a whole number")
    for path, proposer in part.proposers():
        if proposer.get("runnable") is not None and proposer.get("price") is None:
            message = f"{limit} needs the price of every runnable"
            part.fault((*path, "price"), message, expected=_PRICE)
    for inner in part.inside.values():
        whose = "the spec round it" if inner.document is part.document else part.document.file
        _check_prices(inner, limit if " of " in limit else f"{limit} of {whose}")


_PRICE = "{input: …, output: …}, USD per million tokens"


def _least(part: Part) -> int:
    """Return the fewest calls that give an answer: of each layer its quorum, the cheapest proposers first."""
    calls = 1
    for number, layer in enumerate(as_sequence(part.data.get("layers"))):
        quorum = as_mapping(layer).get("quorum", 1)
        if isinstance(quorum, int):
            calls += sum(sorted(_calls(part, number, as_mapping(layer)))[: max(quorum, 0)])
    return calls


def _calls(part: Part, number: int, layer: dict[str, Any]) -> Sequence[int]:
    calls = []
    for index, proposer in raw_proposers(layer):
        inner = part.inside.get(("layers", number, "proposers", index, "spec"))
        calls += [_least(inner) if inner else 1] * samples_of(proposer)
    return calls
