"""How similar answers are to their proposals, beside what unrelated texts have in common.

Measures as in Wang et al. (2024, arXiv 2406.04692, section 3.3, appendix A): BLEU, TF-IDF and Levenshtein.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Literal, get_args

from moa_graph.errors import MoAError
from moa_graph.evaluation.statistics import Interval, mean_interval
from moa_graph.extras import needing
from moa_graph.models.ranking import cosine
from moa_graph.selecting.likeness import bag_of, weights

__all__ = ["MEASURES", "Measure", "Overlap", "overlap"]

Measure = Literal["bleu", "tfidf", "levenshtein"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
_Similarity = Callable[[str, str], float]


@dataclass(frozen=True)
class Overlap:
    """Say how similar the answers are to one proposer's proposals, all from 0 to 1.

    `own` is the mean similarity to its proposals for the same questions, `other` that to its proposals for
    other questions, `excess` the mean difference, item by item. `percentile` is where `own` stands among
    `other` on average (ties count half): 0.5 is what chance gives, 1 is above all. `items` counts questions.
    """

    measure: Measure
    proposer: str
    items: int
    own: Interval
    other: Interval
    excess: Interval
    percentile: Interval


def overlap(
    answers: Sequence[str],
    proposals: Sequence[Mapping[str, str]],
    *,
    measures: Sequence[Measure] = MEASURES,
    others: int = 20,
    seed: int = 0,
) -> list[Overlap]:
    """Return for each measure and proposer how similar the answers are to what it proposed.

    `proposals[i]` are those for `answers[i]`, by proposer; who failed is left out. For each item, up to
    `others` proposals of the same proposer for other questions are drawn, by `seed`. BLEU is sacrebleu's
    for sentences (effective order), TF-IDF the cosine of weights over all of these texts, Levenshtein
    1 less the edits divided by the longer text's characters. Similar wording is no proof of cause.
    Raises MoAError for fewer than two items of a proposer, ModelNotReady without the extra `eval`.
    """
    if len(answers) != len(proposals):
        raise MoAError(f"there are {len(answers)} answers, but the proposals of {len(proposals)}")
    proposers = list(dict.fromkeys(proposer for known in proposals for proposer in known))
    said = {proposer: [known.get(proposer) for known in proposals] for proposer in proposers}
    found = []
    for measure in measures:
        similarity = _similarity(
            measure, [*answers, *(text for known in proposals for text in known.values())]
        )
        for proposer, texts in said.items():
            pairs = [(answer, text) for answer, text in zip(answers, texts, strict=True) if text is not None]
            if len(pairs) < 2:
                raise MoAError(
                    f"{proposer!r} has proposals for {len(pairs)} of the questions",
                    hint="At least two are needed: chance is measured on the other questions.",
                )
            found.append(_overlap(measure, proposer, pairs, similarity, (others, seed)))
    return found


def _overlap(
    measure: Measure,
    proposer: str,
    pairs: Sequence[tuple[str, str]],
    similarity: _Similarity,
    draw: tuple[int, int],
) -> Overlap:
    others, seed = draw
    # The same questions are drawn for every measure and proposer, so that their figures compare.
    generator = random.Random(seed)  # noqa: S311 -- a sample, no secret
    own, chance, places = list[float](), list[float](), list[float]()
    for item, (answer, text) in enumerate(pairs):
        rest = [index for index in range(len(pairs)) if index != item]
        drawn = generator.sample(rest, min(others, len(rest)))
        unrelated = sorted(similarity(answer, pairs[index][1]) for index in drawn)
        own.append(similarity(answer, text))
        chance.append(fmean(unrelated))
        below, at_most = bisect_left(unrelated, own[-1]), bisect_right(unrelated, own[-1])
        places.append((below + at_most) / 2 / len(unrelated))
    return Overlap(
        measure=measure,
        proposer=proposer,
        items=len(pairs),
        own=mean_interval(own),
        other=mean_interval(chance),
        excess=mean_interval([mine - theirs for mine, theirs in zip(own, chance, strict=True)]),
        percentile=mean_interval(places),
    )


def _similarity(measure: Measure, texts: Sequence[str]) -> _Similarity:
    if measure == "bleu":
        return _bleu()
    return _levenshtein() if measure == "levenshtein" else _tfidf(texts)


def _tfidf(texts: Sequence[str]) -> _Similarity:
    unique = list(dict.fromkeys(texts))
    vectors = dict(zip(unique, weights([bag_of(text) for text in unique]), strict=True))
    return lambda one, other: cosine(vectors[one], vectors[other])


def _bleu() -> _Similarity:
    with needing("eval"):
        from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415 -- of the extra `eval`

    bleu = BLEU(effective_order=True)
    return lambda answer, proposal: float(bleu.sentence_score(answer, [proposal]).score) / 100


def _levenshtein() -> _Similarity:
    with needing("eval"):
        from rapidfuzz.distance import Levenshtein  # noqa: PLC0415 -- of the extra `eval`

    return partial(Levenshtein.normalized_similarity)
