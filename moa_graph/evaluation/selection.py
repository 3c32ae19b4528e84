"""Choose proposers on one half of recorded questions and test them on the other one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from moa_graph.errors import MoAError
from moa_graph.evaluation.policies import POLICIES, Likeness, Policy, Teams, choose
from moa_graph.evaluation.results import Measure, Results
from moa_graph.evaluation.statistics import Interval, difference_interval, mean_interval
from moa_graph.selecting.choosing import at_random

__all__ = ["FEW", "Row", "Selection", "Spot", "select", "split"]

FEW = 10
"""Questions below which an interval over them says next to nothing."""
_TRADE_OFFS = [step / 10 for step in range(21)]
"""The values of λ whose teams make the front."""


@dataclass(frozen=True)
class Row:
    """Hold what a team reached on the questions held out, with 95 % intervals over questions.

    `mean` is that of its members, `right` the share of questions that one of them at least gets right (of win
    rates: the mean of the best one), `vote` the accuracy of its plurality vote, `gain` how much that is above
    the best single model. None is what cannot be known. Within `range` lie the votes (or else the means) of
    95 % of the random teams.
    """

    name: str
    models: list[str]
    agreement: float | None
    mean: Interval
    right: Interval
    vote: Interval | None
    gain: Interval | None
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Spot:
    """Hold where a team stands between quality and diversity, on the questions held out.

    `diversity` is 1 less the mean agreement of its members; `label` is empty for a random team.
    """

    label: str
    diversity: float
    mean: Interval
    vote: Interval | None


def split(count: int, how: str) -> tuple[list[int], list[int]]:
    """Return the places to choose on and the places to test on: `even-odd`, or `random:SEED` for halves.

    Raises MoAError for any other word, and for fewer than two questions.
    """
    if count < 2:
        raise MoAError("one question cannot be split", hint="Choose on some questions, test on others.")
    if how == "even-odd":
        return list(range(0, count, 2)), list(range(1, count, 2))
    if not re.fullmatch(r"random:[0-9]+", how):
        raise MoAError(f"{how!r} is no split", hint="Say even-odd, or random:SEED with a whole number.")
    chosen = at_random(count, (count + 1) // 2, how)
    return chosen, sorted(set(range(count)) - set(chosen))


@dataclass(frozen=True)
class Selection:
    """Compare the policies: teams of k chosen on `known`, tested on `held_out`."""

    known: Teams
    held_out: Teams
    k: int
    trade_off: float = 0.5
    seeds: int = 200
    left_out: int = 0

    @property
    def warnings(self) -> list[str]:
        """Say why the table tells less than it seems to."""
        said = []
        if cut := self.known.results.cut:
            said.append(
                f"the table is biased: {cut} of {self._questions} questions are left out because a proposer "
                "was cut or not asked. Where agreement stopped a layer early, only the questions without "
                "early agreement are left: to choose by, evaluate a spec without `stop`"
            )
        if (tested := len(self.held_out.results.ids)) < FEW:
            questions = "1 question" if tested == 1 else f"{tested} questions"
            said.append(f"tested on {questions} only: its intervals say next to nothing")
        return said

    @property
    def _questions(self) -> int:
        return len(self.known.results.ids) + len(self.held_out.results.ids) + self.left_out

    @property
    def measure(self) -> Measure:
        """Say what a score is."""
        return self.known.results.measure

    @property
    def likeness(self) -> Likeness:
        """Say what agreement is measured by."""
        return self.known.likeness

    @cached_property
    def best(self) -> str:
        """Return the best single model of the questions to choose on."""
        return max(self.known.results.models, key=self.known.means.__getitem__)

    @cached_property
    def teams(self) -> dict[Policy, list[str]]:
        """Return the team of each policy that the recorded results are enough for."""
        return {
            policy: choose(self.known, self.k, policy, trade_off=self.trade_off)
            for policy in POLICIES
            if policy != "vote" or self.known.votes
        }

    @cached_property
    def random_teams(self) -> list[list[str]]:
        """Return teams drawn by `seeds` seeds, each in the order of the file."""
        models = self.known.results.models
        drawn = (at_random(len(models), self.k, f"team/{seed}") for seed in range(self.seeds))
        return [[models[place] for place in places] for places in drawn]

    @cached_property
    def rows(self) -> list[Row]:
        """Return the best single model, random teams, and then the policies."""
        named: dict[str, list[str]] = {"best single": [self.best], f"random-{self.k}": []}
        named |= dict(self.teams.items())
        return [self._row(name, team) if team else self._random(name) for name, team in named.items()]

    @cached_property
    def front(self) -> list[Spot]:
        """Return the teams of `score` for λ from 0 to 2 by rising diversity, those that are equal once."""
        teams = {
            tuple(team): None
            for trade_off in _TRADE_OFFS
            if len(team := choose(self.known, self.k, "score", trade_off=trade_off)) > 1
        }
        return sorted((self._spot("front", team) for team in teams), key=lambda spot: spot.diversity)

    @cached_property
    def spots(self) -> list[Spot]:
        """Return where the teams of the policies and the random ones stand; none for teams of one."""
        if self.k == 1:
            return []
        named = [self._spot(policy, team) for policy, team in self.teams.items()]
        return [*named, *(self._spot("", team) for team in self.random_teams)]

    def _row(self, name: str, team: Sequence[str]) -> Row:
        votes = self._votes(team)
        return Row(
            name,
            list(team),
            self.held_out.agreement_of(team),
            mean_interval(self.held_out.mean_of(team)),
            mean_interval(self.held_out.best_of(team)),
            mean_interval(votes) if votes and len(team) > 1 else None,
            self._gain(votes) if votes and len(team) > 1 else None,
        )

    def _random(self, name: str) -> Row:
        """Return what random teams reach on average: first over teams, then over questions."""
        teams, known = self.random_teams, self.held_out
        agreements = [value for team in teams if (value := known.agreement_of(team)) is not None]
        means = [known.mean_of(team) for team in teams]
        votes = [values for team in teams if (values := self._votes(team))]
        between = sorted(fmean(values) for values in votes or means)
        tail = round(0.025 * (len(between) - 1))
        return Row(
            name,
            [],
            fmean(agreements) if agreements else None,
            mean_interval(_averages(means)),
            mean_interval(_averages([known.best_of(team) for team in teams])),
            mean_interval(_averages(votes)) if votes else None,
            self._gain(_averages(votes)) if votes else None,
            (between[tail], between[-1 - tail]),
        )

    def _spot(self, label: str, team: Sequence[str]) -> Spot:
        agreement = self.held_out.agreement_of(team)
        votes = self._votes(team)
        # The random ones are many, and are drawn without intervals.
        known = mean_interval if label else _value
        diversity = 1 - (agreement if agreement is not None else 1.0)
        return Spot(label, diversity, known(self.held_out.mean_of(team)), known(votes) if votes else None)

    def _votes(self, team: Sequence[str]) -> list[float] | None:
        return self.held_out.vote_of(team) if self.held_out.votes else None

    def _gain(self, votes: Sequence[float]) -> Interval:
        return difference_interval(self.held_out.results.scores[self.best], votes)


def _averages(columns: Sequence[Sequence[float]]) -> list[float]:
    return [fmean(values) for values in zip(*columns, strict=True)]


def _value(values: Sequence[float]) -> Interval:
    mean = fmean(values)
    return Interval(mean, mean, mean)


def select(
    results: Results, k: int, *, trade_off: float = 0.5, how: str = "even-odd", seeds: int = 200
) -> Selection:
    """Prepare the selection of k proposers from recorded results, by the policies of `choose`.

    `how` splits the questions, as `split` says; `seeds` random teams stand beside the chosen ones. Raises
    MoAError for a k that there are not enough models for.
    """
    if not 1 <= k <= len(results.models):
        raise MoAError(f"cannot choose {k} of {len(results.models)} models")
    known, held_out = (Teams(results.at(places)) for places in split(len(results.ids), how))
    return Selection(known, held_out, k, trade_off, seeds, results.left_out)
