"""How alike texts are: the cosine of their TF-IDF weights or of their embeddings; pure Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from operator import mul
from typing import TypeVar

from moa_graph.errors import MoAError
from moa_graph.models.ranking import Bag
from moa_graph.models.sentences import terms

__all__ = ["bag_of", "between", "of_vectors", "similarities", "weights"]

T = TypeVar("T")


def similarities(texts: Sequence[str]) -> list[list[float]]:
    """Return how alike each two texts are, from 0 (no term in common) to 1: the cosine of TF-IDF weights.

    The table is symmetric with a diagonal of 1, and the same for the same texts. Terms are words that carry
    meaning, in scripts without spaces pairs of characters; frequent ones are damped and rare ones, among
    these texts, count more: (1 + ln tf) · (1 + ln((1 + n) / (1 + df))), after Salton and Buckley (1988). The
    smooth weight never vanishes: what all of a few proposals say is what they have in common. Equal texts
    are 1 alike, even blank ones; a blank one and another text 0.
    """
    directions = _directions(texts)

    def likeness(one: int, other: int) -> float:
        return 1.0 if texts[one] == texts[other] else _dot(directions[one], directions[other])

    return _table(range(len(texts)), likeness)


def between(some: Sequence[str], others: Sequence[str]) -> list[list[float]]:
    """Return how alike each of some texts is to each of others, as `similarities` of all of them has it."""
    directions = _directions([*some, *others])
    mine, theirs = directions[: len(some)], directions[len(some) :]
    return [
        [1.0 if one == other else _dot(own, its) for other, its in zip(others, theirs, strict=True)]
        for one, own in zip(some, mine, strict=True)
    ]


def of_vectors(vectors: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the cosine of each two embeddings, from -1 to 1; a vector of zeros is like no other one.

    The table is symmetric with a diagonal of 1. Raises MoAError for vectors of unequal length, or
    with numbers that are not finite.
    """
    if len({len(vector) for vector in vectors}) > 1:
        raise MoAError(
            "the embeddings are of different lengths", hint="Use one embedding model for all of the texts."
        )
    units = [_unit(vector) for vector in vectors]
    return _table(units, lambda one, other: _bounded(sum(map(mul, one, other))))


def bag_of(text: str) -> dict[str, float]:
    """Return the terms of a text and how often each occurs; of one without any, the words as they are."""
    return dict(Counter(terms(text) or text.casefold().split()))


def weights(bags: Sequence[Bag]) -> list[dict[str, float]]:
    """Return the TF-IDF weights of counted terms, as `similarities` defines them."""
    counts = Counter(term for bag in bags for term in bag)
    idf = {term: 1 + math.log((1 + len(bags)) / (1 + count)) for term, count in counts.items()}
    return [{term: (1 + math.log(count)) * idf[term] for term, count in bag.items()} for bag in bags]


def _directions(texts: Sequence[str]) -> list[dict[str, float]]:
    """Return the TF-IDF weights of texts as vectors of length 1; of a blank text there are none."""
    vectors = weights([bag_of(text) for text in texts])
    lengths = [math.hypot(*vector.values()) for vector in vectors]
    return [
        {term: weight / length for term, weight in vector.items()}
        for vector, length in zip(vectors, lengths, strict=True)
    ]


def _dot(one: Bag, other: Bag) -> float:
    if len(other) < len(one):
        one, other = other, one
    return _bounded(sum(weight * other[term] for term, weight in one.items() if term in other))


def _table(items: Sequence[T], likeness: Callable[[T, T], float]) -> list[list[float]]:
    table = [[1.0] * len(items) for _ in items]
    for row, one in enumerate(items):
        for column in range(row):
            table[row][column] = table[column][row] = likeness(one, items[column])
    return table


def _unit(vector: Sequence[float]) -> list[float]:
    # By the biggest number first: the squares of very big or small ones are beyond what a float holds.
    biggest = max((abs(number) for number in vector), default=0.0)
    if not all(map(math.isfinite, vector)):
        raise MoAError("an embedding has numbers that are not finite", hint="Look at the embedding model.")
    scaled = [number / biggest for number in vector] if biggest else [0.0] * len(vector)
    length = math.hypot(*scaled) or 1.0
    return [number / length for number in scaled]


def _bounded(value: float) -> float:
    # Rounding takes the cosine of equal directions a little above 1.
    return max(-1.0, min(1.0, value))
