"""How many calls a question takes, and what it may cost at most."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from moa_graph.spec.schema import Member, MoASpec, PriceSpec

__all__ = ["QUESTION_TOKENS", "Estimate", "estimate"]

QUESTION_TOKENS = 1000
"""The length of the question, with its documents, that the bound is given for."""
_PROTOCOL_TOKENS = 150
"""The instruction of the Aggregate-and-Synthesize prompt has some 600 characters."""


@dataclass(frozen=True)
class Estimate:
    """Bound what one question takes.

    `calls` is the number of requests when all goes well, `max_calls` with every retry and fallback.
    `max_cost` is USD when all goes well and every call writes `max_tokens`; None where a price or a length is
    unknown, and then `unknown` says which.
    """

    calls: int
    max_calls: int
    max_cost: float | None
    unknown: str = ""


def estimate(
    spec: MoASpec,
    price: Callable[[str], PriceSpec | None],
    paid: Collection[str] = (),
    question_tokens: int = QUESTION_TOKENS,
) -> Estimate:
    """Return the bounds for a question of so many tokens; `price` gives a slot's price.

    `paid` are the ids ("layer/proposer") of the calls that need not be made any more.
    """
    layers = [spec.members(layer) for layer in spec.layers]
    aggregators = spec.aggregators()
    due = [
        [member for member in layer if f"{spec.layers[index].name}/{member.id}" not in paid]
        for index, layer in enumerate(layers)
    ]
    calls = sum(len(layer) for layer in due) + 1
    most = sum(member.attempts for layer in [*due, aggregators] for member in layer)
    if spec.limits.max_calls is not None:
        most = min(most, spec.limits.max_calls)
    costs, unknown = [], []
    steps = _steps([*layers, aggregators[:1]], spec)
    for members, (_, references) in zip([*due, aggregators[:1]], steps, strict=True):
        for member in members:
            cost, missing = _cost(member, references, spec, price(member.model), question_tokens)
            costs.append(cost)
            unknown += [missing] if missing and missing not in unknown else []
    if unknown:
        return Estimate(calls, most, None, "; ".join(unknown))
    total = sum(costs)
    if spec.limits.max_cost is not None:
        total = min(total, spec.limits.max_cost)
    return Estimate(calls, most, total)


def _steps(layers: list[list[Member]], spec: MoASpec) -> Iterator[tuple[list[Member], int | None]]:
    """Yield each layer with the tokens of references that its prompts may hold; None means unknown."""
    references: int | None = 0
    for members in layers:
        yield members, references
        lengths = [_max_tokens(member, spec) for member in members]
        known = [length for length in lengths if length is not None]
        references = sum(known) + _PROTOCOL_TOKENS if len(known) == len(lengths) else None


def _max_tokens(member: Member, spec: MoASpec) -> int | None:
    return member.max_tokens or spec.models[member.model].max_tokens


def _cost(
    member: Member, references: int | None, spec: MoASpec, price: PriceSpec | None, question_tokens: int
) -> tuple[float, str]:
    """Return USD of one call at its longest, or what is missing to know it."""
    if price is None:
        return 0.0, f"models.{member.model} has no price"
    if price.input == price.output == 0:
        return 0.0, ""
    output = _max_tokens(member, spec)
    if output is None or references is None:
        return 0.0, "a model without max_tokens has no bound"
    return ((question_tokens + references) * price.input + output * price.output) / 1e6, ""
