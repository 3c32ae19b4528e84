"""Choose some of several proposals by how alike they are, or at random: pure and deterministic."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

__all__ = ["at_random", "diverse", "majority_cluster", "shuffled"]

Similarity = Sequence[Sequence[float]]
"""How alike each two proposals are: a symmetric table, as `selecting.likeness` returns it."""

_ALIKE = 0.1
"""Members of a majority are at least so alike: recorded answers to one question are from 0.2 on by TF-IDF."""


def diverse(similarity: Similarity, keep: int) -> list[int]:
    """Return the `keep` indices that are least alike, found greedily: max-min diversity.

    The first is the one that is least like all others together; then, again and again, comes the one whose
    greatest similarity to those chosen is the smallest; ties go to the earlier one. Source: the greedy
    selection of RMoA (Xie et al. 2025, arXiv 2505.24442), there over embeddings; the rule is that of
    Gonzalez (1985) for spread-out points. Where to begin is our choice: it depends on no order.
    """
    left = list(range(len(similarity)))
    if keep >= len(left):
        return left
    nearest = [sum(row) - row[index] for index, row in enumerate(similarity)]
    chosen: list[int] = []
    while len(chosen) < keep:
        index = min(left, key=nearest.__getitem__)
        left.remove(index)
        nearest = [
            max(near, value) if chosen else value
            for near, value in zip(nearest, similarity[index], strict=True)
        ]
        chosen.append(index)
    return sorted(chosen)


def majority_cluster(similarity: Similarity, *, apart: float = 0.6) -> list[int]:
    """Return the indices of the bigger one of two clusters; all of them where there is no clear majority.

    Clusters grow by average linkage: the two that are most alike on average are joined, again and again. Once
    one of them has more than half of the proposals, it takes in the next until that is clearly apart: less
    than `apart` times as like the cluster as its members are like one another. What is left then is dropped,
    whether or not it agrees in itself, so that two who deceive in different ways are both found. How alike
    members are is what three of four of their pairs reach, and at least 0.1: single links among texts that
    have nothing in common make no majority. So nothing is lost of texts that are all alike or split into
    halves, and hardly anything of many that are all different; of five, chance may leave three. Embeddings,
    which rate all texts on one subject as alike, need a higher `apart` than TF-IDF.

    Source: the filter of Wolf et al. (2025, arXiv 2503.05856: "This Is Your Doge, If It Please You"), which
    keeps the bigger of two k-means or spectral clusters of embeddings. Linkage needs no random start; the
    bound is ours, for two clusters alone would halve texts that are all alike.
    """
    clusters = {index: [index] for index in range(len(similarity))}
    alike = {(one, other): similarity[one][other] for one, other in combinations(clusters, 2)}
    while alike:
        # Of several that are as like each other it is the earliest.
        one, other = pair = max(alike, key=lambda pair: (alike[pair], -pair[0], -pair[1]))
        biggest = max(clusters[one], clusters[other], key=len)
        if 2 * len(biggest) > len(similarity) and _apart(similarity, biggest, alike[pair], apart):
            return biggest
        joined = sorted(clusters.pop(one) + clusters.pop(other))
        alike = {each: value for each, value in alike.items() if not {one, other}.intersection(each)}
        number = 2 * len(similarity) - len(clusters)  # later than all that there were
        alike |= {(each, number): _between(similarity, cluster, joined) for each, cluster in clusters.items()}
        clusters[number] = joined
    return [index for cluster in clusters.values() for index in cluster]


def at_random(count: int, keep: int, seed: str) -> list[int]:
    """Return `keep` of `count` indices, drawn by a seed: the same ones in every process.

    Whoever is kept among `keep` is kept among more, too. Source: the dropout of references of Wolf et
    al. (2025, arXiv 2503.05856), who go through every subset; one drawn at random is our short form.
    """
    return sorted(shuffled(count, seed)[: max(keep, 0)])


def shuffled(count: int, seed: str) -> list[int]:
    """Return a permutation of `count` indices, drawn by a seed: the same one in every process."""
    # No random.Random: what its methods draw may change from one Python to the next.
    return sorted(
        range(count),
        key=lambda index: hashlib.sha256(f"{seed}/{index}".encode(errors="surrogatepass")).digest(),
    )


def _apart(similarity: Similarity, members: Sequence[int], other: float, apart: float) -> bool:
    """Tell whether members are alike, and clearly more so than they are like someone who is `other`."""
    within = _within(similarity, members)
    return within >= _ALIKE and other < apart * within


def _within(similarity: Similarity, indices: Sequence[int]) -> float:
    """Return the lower quartile of how alike two members are."""
    pairs = sorted(similarity[one][other] for one, other in combinations(indices, 2))
    return pairs[len(pairs) // 4]


def _between(similarity: Similarity, some: Sequence[int], others: Sequence[int]) -> float:
    return fmean(similarity[one][other] for one in some for other in others)
