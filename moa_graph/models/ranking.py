"""How well sentences answer a question: BM25, TF-IDF, biased TextRank; and a diverse choice of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

__all__ = ["RANKERS", "Bag", "Ranker", "RankerName", "choose", "cosine"]

Bag = Mapping[str, float]
"""Terms and their weights in one text: a sentence, the question, a proposal."""
Ranker = Callable[[Sequence[Bag], Bag], list[float]]
RankerName = Literal["bm25", "tfidf", "textrank"]

_GRAPH_SIZE = 200
"""TextRank compares all pairs: only this many sentences nearest to the question enter the graph."""
_JUMP = 0.5
"""How often TextRank's walk goes back to the question; 0.15, as for web pages, forgets what was asked."""
_RELEVANCE_FLOOR = 0.4
"""A sentence scoring below this part of the best one pads an answer without adding to it."""


def _idf(bags: Sequence[Bag]) -> dict[str, float]:
    counts = Counter(term for bag in bags for term in bag)
    return {term: math.log(1 + (len(bags) - count + 0.5) / (count + 0.5)) for term, count in counts.items()}


def _bm25(bags: Sequence[Bag], question: Bag) -> list[float]:
    """Score by Okapi BM25 with k1 = 1.5, b = 0.75 (Robertson and Zaragoza 2009); shortness is no merit."""
    k1, b = 1.5, 0.75
    idf = _idf(bags)
    lengths = [sum(bag.values()) for bag in bags]
    mean = sum(lengths) / len(lengths) or 1.0
    return [
        sum(
            idf[term] * bag[term] * (k1 + 1) / (bag[term] + k1 * (1 - b + b * max(1.0, length / mean)))
            for term in question
            if term in bag
        )
        for bag, length in zip(bags, lengths, strict=True)
    ]


def _weighted(bag: Bag, idf: Mapping[str, float]) -> dict[str, float]:
    return {term: count * idf.get(term, 0.0) for term, count in bag.items()}


def cosine(one: Bag, other: Bag) -> float:
    """Return the cosine of the angle between two weighted bags of terms; 0 if they share no term."""
    if len(other) < len(one):
        one, other = other, one
    product = sum(weight * other[term] for term, weight in one.items() if term in other)
    return product / (math.hypot(*one.values()) * math.hypot(*other.values())) if product else 0.0


def _tfidf(bags: Sequence[Bag], question: Bag) -> list[float]:
    """Score by the cosine of TF-IDF vectors; one shorter than the mean is taken to be as long as that."""
    idf = _idf(bags)
    vectors = [_weighted(bag, idf) for bag in bags]
    asked = _weighted(question, idf)
    lengths = [math.hypot(*vector.values()) for vector in vectors]
    mean = sum(lengths) / len(lengths)
    whole = math.hypot(*asked.values())
    return [
        sum(weight * vector[term] for term, weight in asked.items() if term in vector)
        / ((whole * max(length, mean)) or 1.0)
        for vector, length in zip(vectors, lengths, strict=True)
    ]


def _textrank(bags: Sequence[Bag], question: Bag) -> list[float]:
    """Score by TextRank (Mihalcea and Tarau 2004) whose random jumps favour sentences near the question."""
    near = _tfidf(bags, question)
    members = sorted(range(len(bags)), key=lambda index: -near[index])[:_GRAPH_SIZE]
    total = sum(near[index] for index in members)
    if not total:
        return [0.0] * len(bags)
    idf = _idf(bags)
    vectors = [_weighted(bags[index], idf) for index in members]
    links = [[cosine(one, other) if one is not other else 0.0 for other in vectors] for one in vectors]
    spread = [sum(row) or 1.0 for row in links]
    jump = [near[index] / total for index in members]
    rank = jump
    for _ in range(30):
        flow = [weight / out for weight, out in zip(rank, spread, strict=True)]
        rank = [
            _JUMP * start + (1 - _JUMP) * sum(map(float.__mul__, row, flow))
            for start, row in zip(jump, links, strict=True)
        ]
    scores = [0.0] * len(bags)
    for index, value in zip(members, rank, strict=True):
        # What shares no term with the question answers nothing, however central it is.
        scores[index] = value if near[index] else 0.0
    return scores


RANKERS: Mapping[RankerName, Ranker] = {"bm25": _bm25, "tfidf": _tfidf, "textrank": _textrank}


def choose(bags: Sequence[Bag], scores: Sequence[float], *, count: int, diversity: float) -> list[int]:
    """Return at most `count` indices by maximal marginal relevance (Carbonell, Goldstein 1998).

    The best comes first. `diversity` 0 looks at the scores alone, 1 only at the distance from what is
    chosen already. What scores far below the best is never chosen.
    """
    best = max(scores, default=0.0)
    left = [index for index, score in enumerate(scores) if score > 0 and score >= _RELEVANCE_FLOOR * best]
    nearest = dict.fromkeys(left, 0.0)
    chosen: list[int] = []
    while left and len(chosen) < count:
        # The first is always the most relevant one; ties go to the earlier sentence.
        weight = diversity if chosen else 0.0
        index = max(left, key=lambda i: (1 - weight) * scores[i] / best - weight * nearest[i])
        chosen.append(index)
        left.remove(index)
        for other in left:
            nearest[other] = max(nearest[other], cosine(bags[index], bags[other]))
    return chosen
