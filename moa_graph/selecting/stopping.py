"""When the layers that are left are not needed: rules over what the layers gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from moa_graph.selecting.answers import extract, vote
from moa_graph.selecting.asking import read_enough, read_residual
from moa_graph.selecting.likeness import between
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.spec.primitives import StopSpec
from moa_graph.state import Proposal, is_proposal, is_shown

__all__ = [
    "Agreement",
    "agreed",
    "asks_judge",
    "enough",
    "likeness_to_before",
    "nothing_changed",
    "shortened",
    "unchanged",
]


def enough(stop: StopSpec, layers: Sequence[str], records: Mapping[str, Proposal]) -> str | None:
    """Return why the layers after these, which ran, are not needed; None if they are.

    `records` are all of the run so far, with that of the judge, if one was asked.
    """
    if len(layers) < stop.min_layers:
        return None
    reason = _reason(stop, layers, records)
    over = stop.max_layers is not None and len(layers) >= stop.max_layers
    return f"max_layers = {stop.max_layers}" if reason is None and over else reason


def asks_judge(stop: StopSpec | None, number: int) -> bool:
    """Tell whether a judge decides after so many layers."""
    return (
        stop is not None
        and stop.by == "judge"
        and stop.min_layers <= number
        and (stop.max_layers is None or number < stop.max_layers)
    )


class Agreement:
    """Watch the records of one layer for enough equal answers; each text is read once.

    `stop` is None where none are looked for.
    """

    def __init__(self, stop: StopSpec | None) -> None:
        self._stop = stop if stop is not None and stop.by == "agreement" else None
        self._read: dict[str, str | None] = {}

    def among(self, records: Iterable[Proposal]) -> str | None:
        """Return the answer that enough of the records agree on, None while there is none.

        Those that `select` leaves out count as well: they have agreed, and the rest was not waited for.
        """
        stop = self._stop
        if stop is None or stop.extract is None or stop.agree is None:
            return None
        texts = [record["text"] for record in records if is_proposal(record) and record["status"] == "ok"]
        for text in texts:
            if text not in self._read:
                self._read[text] = extract(text, stop.extract)
        return agreed([self._read[text] for text in texts], stop.agree)


def _reason(stop: StopSpec, layers: Sequence[str], records: Mapping[str, Proposal]) -> str | None:
    """Return why another layer would change nothing."""
    visible = [record for record in records.values() if is_shown(record)]
    shown = [[record for record in visible if record["layer"] == name] for name in layers]
    match stop.by:
        case "agreement":
            last = [each for each in records.values() if each["layer"] == layers[-1]]
            answer = Agreement(stop).among(last)
            return None if answer is None else f"{stop.agree} proposals agree on {shortened(answer)}"
        case "no_change":
            votes = [_vote(proposals, stop.extract) for proposals in shown]
            if unchanged(votes, stop.layers):
                return f"the vote stays {shortened(str(votes[-1]))} after {stop.layers + 1} layers"
        case "similarity":
            *_, before, now = [[], *shown]
            likeness = likeness_to_before(_texts(now), _texts(before))
            if before and stop.threshold is not None and likeness >= stop.threshold:
                return f"the layer is {likeness:.2f} like the one before"
        case "residual":
            if nothing_changed(records, layers, stop.layers):
                return f"nothing changed in {stop.layers} layer{'s' * (stop.layers > 1)}"
        case "judge":
            said = records.get(f"{layers[-1]}/@judge")
            if said is not None and said["status"] == "ok" and read_enough(said["text"]):
                return "the judge says that it is enough"
    return None


def _vote(records: Sequence[Proposal], how: ExtractSpec | None) -> str | None:
    found = vote([extract(record["text"], how) for record in records]) if how is not None else None
    return found.answer if found else None


def _texts(records: Sequence[Proposal]) -> dict[str, str]:
    return {record["proposer"]: record["text"] for record in records}


def shortened(answer: str) -> str:
    """Return an answer as a sentence may quote it."""
    return answer if len(answer) <= 60 else answer[:59] + "…"


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
    writers = list(before)
    found = []
    for writer, row in zip(now, between(list(now.values()), list(before.values())), strict=True):
        found.append(row[writers.index(writer)] if writer in before else max(row))
    return sum(found) / len(found)
