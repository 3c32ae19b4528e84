"""What an evaluation found: accuracies with their intervals, beside what it took and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from typing_extensions import TypedDict

from moa_graph.evaluation.scoring import ENDED, Record
from moa_graph.evaluation.statistics import Interval, mean_interval, share_interval
from moa_graph.extras import needing
from moa_graph.usage import Usage, add_usage

__all__ = ["ProposerSummary", "Summary", "check_ready", "summarize"]


class ProposerSummary(TypedDict):
    """Sum up a proposer over the items in which it was asked.

    `accuracy` is over the `judged` ones, a failed proposal counting as wrong; `unread` counts proposals from
    which no answer could be read. `unasked` counts the items with proposals for which it was cut or not
    asked: where there are any, the accuracy is biased.
    """

    id: str
    model: str
    proposals: int
    failed: int
    unread: int
    judged: int
    unasked: int
    accuracy: Interval | None


class Summary(TypedDict):
    """Sum up an evaluation.

    `accuracy` is over all `judged` items that ended, failed ones counting as wrong; `accuracy_of_answered`
    leaves those out. It is None where nothing could be judged. `calls`, `item_cost` (USD) and `item_seconds`
    are means over the items that ended; `cost` is all that was paid, None where a cost is unknown.
    Intervals of accuracies are Wilson's, those of means by bootstrap.
    """

    items: int
    answered: int
    failed: int
    left: int
    judged: int
    judged_of_answered: int
    correct: int
    unread: int
    accuracy: Interval | None
    accuracy_of_answered: Interval | None
    proposers: list[ProposerSummary]
    calls: Interval | None
    item_cost: Interval | None
    item_seconds: Interval | None
    cost: float | None
    usage: Usage
    failures: dict[str, int]


def check_ready() -> None:
    """Raise ModelNotReady where intervals could not be computed: now, not when all is paid for."""
    with needing("eval"):
        import numpy  # noqa: F401, ICN001, PLC0415 -- of the extra `eval`; only whether it is there


def summarize(records: Sequence[Record], *, items: int, cost: float | None, extracting: bool) -> Summary:
    """Return the summary of the records of `items` items; `extracting` tells that answers were read."""
    judged = [record["correct"] for record in records if record["correct"] is not None]
    answered = [record for record in records if record["status"] == "answered"]
    costs: list[Any] = [record["cost"] for record in records]
    errors = Counter(record["error"]["type"] for record in records if record["error"] is not None)
    return {
        "items": items,
        "answered": len(answered),
        "failed": len(records) - len(answered),
        "left": items - len(records),
        "judged": len(judged),
        "judged_of_answered": sum(record["correct"] is not None for record in answered),
        "correct": sum(judged),
        "unread": sum(record["extracted"] is None for record in answered) if extracting else 0,
        "accuracy": _share(judged),
        "accuracy_of_answered": _share(
            [record["correct"] for record in answered if record["correct"] is not None]
        ),
        "proposers": _proposers(records, extracting=extracting),
        "calls": _mean(record["calls"] for record in records),
        "item_cost": None if None in costs else _mean(costs),
        "item_seconds": _mean(record["seconds"] for record in records),
        "cost": cost,
        "usage": add_usage(record["usage"] for record in records),
        "failures": dict(errors.most_common()),
    }


def _share(correct: Sequence[bool]) -> Interval | None:
    return share_interval(sum(correct), len(correct)) if correct else None


def _mean(values: Iterable[float]) -> Interval | None:
    known = [float(value) for value in values]
    return mean_interval(known) if known else None


def _proposers(records: Sequence[Record], *, extracting: bool) -> list[ProposerSummary]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    with_proposals = sum(bool(record["proposals"]) for record in records)
    for record in records:
        for proposal in record["proposals"]:
            found.setdefault(proposal["id"], []).append(proposal)
    summaries = []
    for id_, proposals in found.items():
        ok = [proposal for proposal in proposals if proposal["status"] == "ok"]
        judged = [proposal["correct"] for proposal in proposals if proposal["correct"] is not None]
        summaries.append(
            ProposerSummary(
                id=id_,
                model=proposals[0]["model"],
                proposals=len(ok),
                failed=sum(proposal["status"] == "failed" for proposal in proposals),
                unread=sum(proposal["extracted"] is None for proposal in ok) if extracting else 0,
                judged=len(judged),
                unasked=with_proposals - sum(each["status"] in ENDED for each in proposals),
                accuracy=_share(judged),
            )
        )
    return summaries
