"""Tokens and cost. An unknown price gives an unknown cost, never 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from typing_extensions import TypedDict

from moa_graph.spec.schema import PriceSpec

__all__ = ["Usage", "add_usage", "cost_of", "estimate_tokens", "total_cost"]

_CHARS_PER_TOKEN = 4
"""A rule of thumb for English text; used before a request, and where a provider reports nothing."""


class Usage(TypedDict):
    """Count the tokens of one or more calls; `estimated` where any part was not reported by a provider."""

    input_tokens: int
    output_tokens: int
    source: Literal["provider", "estimated"]


def estimate_tokens(text: str) -> int:
    """Return a rough number of tokens: one per four ASCII characters, rounded up, one per other character."""
    ascii_chars = len(text.encode("ascii", "ignore"))
    return -(-ascii_chars // _CHARS_PER_TOKEN) + len(text) - ascii_chars


def add_usage(usages: Iterable[Usage | None]) -> Usage:
    """Add up usages; None counts nothing."""
    known = [usage for usage in usages if usage is not None]
    estimated = any(usage["source"] == "estimated" for usage in known)
    return {
        "input_tokens": sum(usage["input_tokens"] for usage in known),
        "output_tokens": sum(usage["output_tokens"] for usage in known),
        "source": "estimated" if estimated else "provider",
    }


def cost_of(usage: Usage | None, price: PriceSpec | None) -> float | None:
    """Return USD for a usage: tokens × USD per million tokens / 1e6; None if either is unknown."""
    if usage is None or price is None:
        return None
    dollars = usage["input_tokens"] * price.input + usage["output_tokens"] * price.output
    return dollars / 1e6


def total_cost(records: Iterable[Mapping[str, object]]) -> float | None:
    """Add up the `cost` of records; None as soon as a record with a `usage` has an unknown cost.

    Records without usage add nothing: their requests were refused, or never arrived.
    """
    total = 0.0
    for record in records:
        cost = record["cost"]
        if isinstance(cost, int | float):
            total += cost
        elif record["usage"] is not None:
            return None
    return total
