"""Runs of `moa eval` with a measure of their answers: the accuracy, or what a judge said of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from moa_graph.errors import MoAError
from moa_graph.evaluation.columns import Proposed, checked
from moa_graph.evaluation.evaluated import EvaluatedRun, known_number, read_run
from moa_graph.evaluation.judgement import summarize
from moa_graph.evaluation.pairing import dataset_of, pair_up
from moa_graph.evaluation.placing import keys_of
from moa_graph.evaluation.statistics import Interval, mean_interval, share_interval
from moa_graph.evaluation.verdicts import VerdictFile
from moa_graph.evaluation.winrates import win_rate
from moa_graph.spec.schema import MoASpec

__all__ = ["Judged", "Match", "MeasuredRun", "accuracy", "read_measured", "read_preferred"]

Cost = Annotated[float | int | None, BeforeValidator(lambda cost: cost if known_number(cost) else None)]
"""USD; what is no number is unknown."""


class Judged(BaseModel):
    """What a figure needs of a record of `moa eval`; `moa_graph.evaluation.scoring` says what it holds."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str | int
    correct: bool | None
    cost: Cost = None
    proposals: list[Proposed] = []


@dataclass(frozen=True)
class MeasuredRun:
    """Hold the judged questions of a run of `moa eval`, by the name of its folder.

    `run` is what its folder says. `preferences` are those of a judge, by the questions' ids and as in
    `win_rate`; None where the answers are judged by gold ones.
    """

    name: str
    items: list[Judged]
    run: EvaluatedRun
    preferences: Mapping[str, float] | None = None

    @property
    def layers(self) -> list[str]:
        """Return the layers in order, as far as any question went."""
        return list(dict.fromkeys(each.layer for item in self.items for each in item.proposals))

    def proposers(self, layer: str) -> frozenset[str]:
        """Return the ids of a layer's proposers: those that the spec names, and all that proposed."""
        seen = {each.id for item in self.items for each in item.proposals if each.layer == layer}
        layers = [] if self.run.spec is None else self.run.spec.layers
        named = {f"{layer}/{id_}" for each in layers if each.name == layer for id_, _ in each.ids()}
        return frozenset(seen | named)

    @property
    def depth(self) -> int:
        """Return the number of layers before the answer, also of those that no question went to."""
        return len(self.layers if self.run.spec is None else self.run.spec.layers)

    @property
    def first(self) -> list[Proposed]:
        """Return the first layer's proposals, of the question that has most of them."""
        first = self.layers[:1]
        return max(([each for each in item.proposals if each.layer in first] for item in self.items), key=len)

    @property
    def models(self) -> set[str]:
        """Return what the first layer's proposers ask, each of it once; their temperatures do not matter."""
        spec = self.run.spec
        if spec is None or not spec.layers:
            return {each.model for each in self.first}
        slots = spec.models
        return {
            # One model with other parameters is another one: `embedded:extractive` ranks in several ways.
            f"{slot.model} {slot.base_url or ''} {json.dumps(slot.params, sort_keys=True)}"
            if (slot := slots.get(each.model or ""))
            else f"proposer {each.stem}"
            for each in spec.layers[0].proposers
        }

    @property
    def ids(self) -> frozenset[str]:
        """Return the ids of its questions."""
        return frozenset(str(item.id) for item in self.items)

    @property
    def answers(self) -> Interval:
        """Return how good the answers are: their accuracy, or their win rate where a judge compared them."""
        if self.preferences is not None:
            return win_rate([self.preferences[str(item.id)] for item in self.items]).rate
        return accuracy([float(item.correct is True) for item in self.items])


def accuracy(values: Sequence[float]) -> Interval:
    """Return a mean of what is right of each question: a share of questions, unless it is of proposals."""
    right = values.count(1.0)
    if right + values.count(0.0) == len(values):
        return share_interval(right, len(values))
    return mean_interval(values)


def read_measured(path: Path) -> MeasuredRun:
    """Read the records of a run of `moa eval`: its folder, or the file in it.

    Raises MoAError for what cannot be read, and for a run in which no answer is judged.
    """
    whole = _read(path)
    judged = replace(whole, items=[item for item in whole.items if item.correct is not None])
    if not judged.items:
        raise MoAError(f"{path}: no answer in it is judged", hint="Evaluate with gold answers.")
    return judged


def _read(path: Path) -> MeasuredRun:
    run = read_run(path)
    items = [checked(Judged, record, f"{path}: {id_}") for id_, record in run.records.items()]
    name = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    return MeasuredRun(name, items, run)


@dataclass(frozen=True)
class Match:
    """Say whose answers were judged against which, by whom, and where the verdicts are.

    `dataset` is the file with the questions, None for the one that the runs name.
    """

    baseline: Path
    judge: MoASpec
    verdicts: Sequence[Path]
    dataset: Path | None = None


def read_preferred(paths: Sequence[Path], match: Match) -> tuple[list[MeasuredRun], int]:
    """Read runs with what a judge said of their answers against a baseline's; nothing is asked.

    Taken are the questions on which every run has an answer and both verdicts; returned is beside the runs
    how many others they have. A verdict counts for the very judge, question and answers that it was given
    on. Raises MoAError as `pair_up` and `read_run`, where a run has no verdict, and where no question is
    judged in all of them.
    """
    runs = [_read(path) for path in paths]
    baseline = read_run(match.baseline)
    dataset = dataset_of([baseline, *(each.run for each in runs)], match.dataset)
    verdicts = [verdict for file in match.verdicts for verdict in VerdictFile(file).read()]
    judged: list[dict[str, float]] = []
    for path, each in zip(paths, runs, strict=True):
        pairs = pair_up(baseline, each.run, dataset).pairs
        keys = keys_of(match.judge, pairs)
        said = summarize(pairs, [verdict for verdict in verdicts if verdict.key in keys])
        judged.append({id_: value for id_, value in said.preferences.items() if value is not None})
        if not judged[-1]:
            raise MoAError(
                f"{path}: no pair of its answers and {match.baseline}'s has both verdicts of this judge",
                hint=f"Ask for them first: moa judge {match.baseline} {path} --model JUDGE --out FILE.",
            )
    common = frozenset.intersection(*map(frozenset, judged))
    if not common:
        raise MoAError(
            "no question is judged in all of the runs", hint="Judge all of them on the same items."
        )
    known = [
        replace(each, items=[item for item in each.items if str(item.id) in common], preferences=values)
        for each, values in zip(runs, judged, strict=True)
    ]
    return known, len(frozenset.union(*(each.ids for each in runs)) - common)
