"""Which models to take as proposers: the policies, and what teams of models reached on recorded questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Literal, get_args

from moa_graph.errors import MoAError
from moa_graph.evaluation.results import Results
from moa_graph.selecting.answers import vote
from moa_graph.selecting.likeness import similarities

__all__ = ["POLICIES", "Likeness", "Policy", "Teams", "choose"]

Policy = Literal["top", "score", "coverage", "vote"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
Likeness = Literal["answers", "texts", "scores"]


@dataclass(frozen=True)
class Teams:
    """Know what each model, and each team of models, reached on some questions."""

    results: Results

    @property
    def likeness(self) -> Likeness:
        """Say what agreement is measured by: answers where there are any, then texts, then scores."""
        if self.results.answers is not None:
            return "answers"
        return "texts" if self.results.texts is not None else "scores"

    @property
    def votes(self) -> bool:
        """Tell whether a team can vote: only extracted answers can be equal."""
        return self.results.answers is not None

    @cached_property
    def means(self) -> dict[str, float]:
        """Return each model's accuracy or win rate."""
        return {model: self.results.mean(model) for model in self.results.models}

    @cached_property
    def _agreements(self) -> dict[tuple[str, str], float]:
        table: dict[tuple[str, str], float] = {}
        by_text = _of_texts(self.results) if self.likeness == "texts" else {}
        for one, other in combinations(self.results.models, 2):
            value = by_text[one, other] if by_text else _likeness(self.results, one, other)
            table[one, other] = table[other, one] = value
        return table

    def agreement(self, one: str, other: str) -> float:
        """Return how far two models agree, from 0 to 1.

        The share of questions to which both gave the same answer (who gave none agrees with nobody); else
        the mean cosine similarity of their texts, where both wrote one; else 1 less the mean difference of
        their scores. Raises MoAError where texts are compared and two models have none on one question.
        """
        return self._agreements[one, other]

    def agreement_of(self, team: Sequence[str]) -> float | None:
        """Return the mean agreement of a team's pairs; None for a team of one."""
        pairs = [self.agreement(one, other) for one, other in combinations(team, 2)]
        return fmean(pairs) if pairs else None

    def mean_of(self, team: Sequence[str]) -> list[float]:
        """Return the mean score of a team's members on each question."""
        return [fmean(scores) for scores in self._scores(team)]

    def best_of(self, team: Sequence[str]) -> list[float]:
        """Return the best score of a team's members on each question: whether somebody gets it right."""
        return [max(scores) for scores in self._scores(team)]

    def vote_of(self, team: Sequence[str]) -> list[float]:
        """Return on each question the score of the answer that a team's plurality votes for; 0 for none.

        Ties go to the member named first. Raises MoAError where answers are not recorded.
        """
        answers, scores = self.results.answers, self.results.scores
        if answers is None:
            raise MoAError("a vote needs `answers`, which are not recorded here")
        reached = []
        for place, given in enumerate(zip(*(answers[model] for model in team), strict=True)):
            result = vote(given)
            reached.append(scores[team[result.first]][place] if result is not None else 0.0)
        return reached

    def _scores(self, team: Sequence[str]) -> zip[tuple[float, ...]]:
        return zip(*(self.results.scores[model] for model in team), strict=True)


def _likeness(results: Results, one: str, other: str) -> float:
    if results.answers is not None:
        pairs = zip(results.answers[one], results.answers[other], strict=True)
        return fmean(mine is not None and mine == theirs for mine, theirs in pairs)
    scores = zip(results.scores[one], results.scores[other], strict=True)
    return 1 - fmean(abs(mine - theirs) for mine, theirs in scores)


def _of_texts(results: Results) -> dict[tuple[str, str], float]:
    """Return the mean similarity of each two models' texts, over the questions where both wrote one."""
    texts = results.texts or {}
    found: dict[tuple[str, str], list[float]] = {pair: [] for pair in combinations(results.models, 2)}
    for place in range(len(results.ids)):
        there = [model for model in results.models if texts[model][place]]
        table = similarities([texts[model][place] or "" for model in there])
        for (first, one), (second, other) in combinations(enumerate(there), 2):
            found[one, other].append(table[first][second])
    for (one, other), values in found.items():
        if not values:
            raise MoAError(
                f"{one} and {other} have no texts on one question: whether they agree is unknown",
                hint="Choose among models whose texts are recorded (--among), or record answers.",
            )
    return {pair: fmean(values) for pair, values in found.items()}


def choose(teams: Teams, k: int, policy: Policy, *, trade_off: float = 0.5) -> list[str]:
    """Return the k models that a policy takes, in the order in which it takes them.

    `top`: the best ones. The others are greedy, one model after another: `score` by its score minus
    `trade_off` times its mean agreement with those already taken, `coverage` by the questions that somebody
    then gets right (of win rates: the mean of the best one), `vote` by the accuracy of the plurality vote.
    Ties go to the better model, then to the one named first. The two criteria, performance and diversity,
    are those of Wang et al. (2024, arXiv 2406.04692), which gives no formula: these are ours.
    Raises MoAError if there are fewer than k models, or if what the policy needs is not recorded.
    """
    models = teams.results.models
    if not 1 <= k <= len(models):
        raise MoAError(f"cannot choose {k} of {len(models)} models")
    gain = _gains(teams, trade_off)[policy]
    team: list[str] = []
    while len(team) < k:
        left = [model for model in models if model not in team]
        # Sums in another order differ in the last digits: rounded, equal ones are equal.
        team.append(max(left, key=lambda model: (round(gain(team, model), 12), teams.means[model])))
    return team


def _gains(teams: Teams, trade_off: float) -> dict[Policy, Callable[[list[str], str], float]]:
    """Return for each policy how much a model is worth to a team."""

    def score(team: list[str], model: str) -> float:
        shared = fmean(teams.agreement(model, member) for member in team) if team else 0.0
        return teams.means[model] - trade_off * shared

    return {
        "top": lambda _, model: teams.means[model],
        "score": score,
        "coverage": lambda team, model: fmean(teams.best_of([*team, model])),
        "vote": lambda team, model: fmean(teams.vote_of([*team, model])),
    }
