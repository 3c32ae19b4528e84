"""How many calls a question takes, and what it may cost at most."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from moa_graph.planning import CHARACTERS_PER_TOKEN, longest_text, steps
from moa_graph.spec.schema import Member, MoASpec, PriceSpec
from moa_graph.spec.slots import FREE_PROVIDERS

__all__ = ["QUESTION_TOKENS", "Estimate", "estimate"]

QUESTION_TOKENS = 1000
"""The length of the question, with its documents, that the bound is given for."""
_FREE = PriceSpec(input=0.0, output=0.0)

_Prices = Callable[[str], PriceSpec | None]


@dataclass(frozen=True)
class Estimate:
    """Bound what one question takes.

    `calls` is the number of requests when all goes well and no agent uses a tool, `max_calls` with every
    retry, every fallback and every step of the agents; the requests of nested specs are counted in both.
    `max_cost` is USD when all goes well and every call writes `max_tokens`; None where a price or a length
    is unknown, and then `unknown` says which. Retrieval costs nothing, but its passages make prompts longer.
    """

    calls: int
    max_calls: int
    max_cost: float | None
    unknown: str = ""


def estimate(
    spec: MoASpec,
    price: _Prices,
    paid: Collection[str] = (),
    question_tokens: int = QUESTION_TOKENS,
    ended: Collection[str] = (),
) -> Estimate:
    """Return the bounds for a question of so many tokens; `price` gives a slot's price.

    `paid` are the ids ("layer/proposer") of the calls that need not be made any more, `ended` the steps of
    which none need be. A spec that may stop early is bounded as if it did not.
    """
    given = question_tokens + _passages(spec, spec.retrieve)
    left = [step for step in steps(spec) if step.name not in ended]
    calls_left = [call for step in left for call in step.calls if call.id not in paid]
    bounds = [
        _bound(spec, call.member, price, None if call.references is None else given + call.references)
        for call in calls_left
    ]
    calls = sum(bound.calls for call, bound in zip(calls_left, bounds, strict=True) if call.expected)
    fallbacks = [member for step in left for member in step.fallbacks]
    most = sum(bound.max_calls for bound in bounds) + sum(member.attempts for member in fallbacks)
    if spec.limits.max_calls is not None:
        most = min(most, spec.limits.max_calls)
    unknown = dict.fromkeys(bound.unknown for bound in bounds if bound.max_cost is None)
    if unknown:
        return Estimate(calls, most, None, "; ".join(unknown))
    total = sum(bound.max_cost or 0.0 for bound in bounds)
    if spec.limits.max_cost is not None:
        total = min(total, spec.limits.max_cost)
    if math.isinf(total):
        return Estimate(calls, most, None, "what tools give back has no bound")
    return Estimate(calls, most, total)


def _passages(spec: MoASpec, names: Sequence[str]) -> int:
    """Return the tokens of all passages that retrievers may give, at the usual length of a token."""
    return sum(-(-spec.retrievers[name].max_chars // CHARACTERS_PER_TOKEN) for name in names)


def _bound(spec: MoASpec, member: Member, price: _Prices, prompt: int | None) -> Estimate:
    """Return what one member takes for a prompt of so many tokens; an infinite cost means no bound."""
    if prompt is not None:
        prompt += _passages(spec, member.retrieve)
    if member.spec is not None:
        return _of_spec(member.spec, member, prompt)
    if member.model is None:
        name, its_price, output = f"runnable {member.runnable}", member.price, None
    else:
        name, its_price, output = f"models.{member.model}", price(member.model), longest_text(member, spec)
    steps = member.max_steps if member.tools else 1
    most = steps * member.attempts
    if its_price is None:
        return Estimate(1, most, None, f"{name} has no price")
    if its_price.input == its_price.output == 0:
        return Estimate(1, most, 0.0)
    if member.model is None:
        return Estimate(1, most, None, f"{name} may write any length")
    if output is None or prompt is None:
        return Estimate(1, most, None, "a model without max_tokens has no bound")
    cost = (prompt * its_price.input + output * its_price.output) / 1e6
    return Estimate(1, most, math.inf if member.tools else cost)


def _of_spec(inner: MoASpec, member: Member, prompt: int | None) -> Estimate:
    def price(slot: str) -> PriceSpec | None:
        model = inner.models[slot]
        return _FREE if model.provider in FREE_PROVIDERS else model.price

    bound = estimate(inner, price, (), prompt or 0)
    most = bound.max_calls * member.attempts
    if bound.max_cost is None:
        return Estimate(bound.calls, most, None, f"{inner.name}: {bound.unknown}")
    if prompt is None and bound.max_cost > 0:
        return Estimate(bound.calls, most, None, "a model without max_tokens has no bound")
    return Estimate(bound.calls, most, bound.max_cost)
