"""What a judge's verdicts say of pairs of answers, taken together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moa_graph.evaluation.purse import Reached
from moa_graph.evaluation.verdicts import SIDES, Choice, Verdict
from moa_graph.evaluation.winrates import WinRate, win_rate
from moa_graph.text import clean

__all__ = ["Judgement", "Pair", "summarize"]

_WORTH: dict[Choice, float] = {"answer": 1.0, "tie": 0.5, "baseline": 0.0}


@dataclass(frozen=True)
class Pair:
    """Hold one item: a question, the answer to be judged, and the baseline's answer.

    NUL and lone surrogates, which no request can carry, become U+FFFD.
    """

    id: str
    question: str
    answer: str
    baseline: str

    def __post_init__(self) -> None:
        for name, text in vars(self).copy().items():
            object.__setattr__(self, name, clean(text)[0])


@dataclass(frozen=True)
class Judgement:
    """Hold what a judge said of all pairs.

    `preferences` are per pair as in `win_rate`: 1 and 0 if both orders agree on a winner, 0.5 if both call
    it a tie or disagree, None if a verdict is lacking; `win` is None where all are. `inconsistent` counts
    the pairs whose orders disagree, among those `win` counts. `first` and `second` count the verdicts for
    the answer in that place: a fair judge has as many of either. `unparsable`, `failed` and `unasked` count
    verdicts, two of which make a pair; `unread` is the first reply without a verdict, `reason` says why the
    first one failed. `cost` is USD, None where a price is unknown. `ceiling` is there where one kept
    verdicts from being asked for.
    """

    preferences: dict[str, float | None]
    win: WinRate | None
    inconsistent: int
    first: int
    second: int
    unparsable: int
    failed: int
    unasked: int
    calls: int
    cost: float | None
    unread: str | None = None
    reason: str | None = None
    ceiling: Reached | None = None

    @property
    def lacking(self) -> int:
        """Return the number of verdicts that are not there."""
        return self.unparsable + self.failed + self.unasked

    @property
    def inconsistent_share(self) -> float | None:
        """Return the share of judged pairs whose verdict depends on the order; None where none was judged."""
        return self.inconsistent / self.win.items if self.win else None


def summarize(pairs: Sequence[Pair], verdicts: Iterable[Verdict]) -> Judgement:
    """Return what verdicts say of pairs; of several for one order the newest counts, all are paid for."""
    verdicts = list(verdicts)
    newest = {(verdict.id, verdict.first): verdict for verdict in verdicts}
    statuses = Counter(verdict.status for verdict in newest.values())
    preferences: dict[str, float | None] = {}
    inconsistent = 0
    for pair in pairs:
        said = [newest.get((pair.id, side)) for side in SIDES]
        choices = [verdict.choice for verdict in said if verdict and verdict.choice]
        preferences[pair.id] = None
        if len(choices) == len(SIDES):
            agreed = choices[0] == choices[1]
            preferences[pair.id] = _WORTH[choices[0]] if agreed else 0.5
            inconsistent += not agreed
    won = [verdict.choice == verdict.first for verdict in newest.values() if verdict.choice in SIDES]
    costs = [verdict.cost for verdict in verdicts]
    judged = any(preference is not None for preference in preferences.values())
    return Judgement(
        preferences=preferences,
        win=win_rate(list(preferences.values())) if judged else None,
        inconsistent=inconsistent,
        first=sum(won),
        second=len(won) - sum(won),
        unparsable=statuses["unparsable"],
        failed=statuses["failed"],
        unasked=len(SIDES) * len(pairs) - len(newest),
        calls=sum(verdict.calls for verdict in verdicts),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        unread=next((verdict.reply for verdict in newest.values() if verdict.status == "unparsable"), None),
        reason=next((verdict.error for verdict in newest.values() if verdict.status == "failed"), None),
    )
