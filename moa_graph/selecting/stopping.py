"""When the layers that are left are not needed: rules over what the layers gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from moa_graph.selecting.asking import read_residual
from moa_graph.selecting.likeness import similarities
from moa_graph.state import Proposal

__all__ = ["agreed", "likeness_to_before", "nothing_changed", "unchanged"]


def agreed(answers: Sequence[str | None], least: int) -> str | None:
    """Return the answer that at least `least` gave, None if there is none; who gave none agrees to nothing.

    Stopping when samples agree is adaptive consistency (Aggarwal et al. 2023, arXiv 2305.11860).
    """
    counts = Counter(answer for answer in answers if answer is not None)
    answer, count = max(counts.items(), key=lambda item: item[1], default=(None, 0))
    return answer if count >= least else None


def unchanged(votes: Sequence[str | None], layers: int) -> bool:
    """Tell whether the last `layers` votes are what the vote before them was; no vote is no answer."""
    last = votes[-layers - 1 :]
    return len(last) == layers + 1 and last[0] is not None and len(set(last)) == 1


def nothing_changed(records: Mapping[str, Proposal], layers: Sequence[str], count: int) -> bool:
    """Tell whether whoever compared each of the last `count` layers with the one before found nothing.

    The adaptive termination of RMoA (arXiv 2505.24442).
    """
    said = [records.get(f"{layer}/@residual") for layer in layers[-count:]]
    silent = [each for each in said if each and each["status"] == "ok" and not read_residual(each["text"])]
    return len(silent) == count


def likeness_to_before(now: Mapping[str, str], before: Mapping[str, str]) -> float:
    """Return how alike two layers are, 0 to 1: the mean of the TF-IDF cosines of their texts.

    A proposer is compared with itself; one who did not write before with whom it is closest to.
    """
    if not now or not before:
        return 0.0
    matrix = similarities([*now.values(), *before.values()])
    writers = list(before)
    found = []
    for index, writer in enumerate(now):
        row = matrix[index][len(now) :]
        found.append(row[writers.index(writer)] if writer in before else max(row))
    return sum(found) / len(found)
