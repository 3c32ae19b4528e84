"""The points of the figures, computed from the records of runs of `moa eval`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from moa_graph.errors import MoAError, SpecError
from moa_graph.evaluation.columns import Proposed, checked
from moa_graph.evaluation.comparing import read_run
from moa_graph.evaluation.figures import Curve, Point
from moa_graph.evaluation.statistics import Interval, mean_interval, share_interval
from moa_graph.spec.loading import load_spec
from moa_graph.spec.schema import MoASpec

__all__ = ["FIGURES", "FigureName", "JudgedRun", "Shape", "curves_of", "read_judged"]

FigureName = Literal["by-layer", "by-proposers", "single-multiple", "cost-quality"]
FIGURES: tuple[FigureName, ...] = get_args(FigureName)


class _Item(BaseModel):
    """What a figure needs of a record of `moa eval`; `moa_graph.evaluation.scoring` says what it holds."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str | int
    correct: bool | None
    cost: float | int | None = None
    proposals: list[Proposed] = []


@dataclass(frozen=True)
class JudgedRun:
    """Hold a run of `moa eval` by the name of its folder: the questions whose answers are judged.

    `dataset` is the digest of what was asked, `spec` what was run, where that is known.
    """

    name: str
    items: list[_Item]
    dataset: str | None = None
    spec: MoASpec | None = None

    @property
    def layers(self) -> list[str]:
        """Return the layers in order, as far as any question went."""
        return list(dict.fromkeys(each.layer for item in self.items for each in item.proposals))

    @property
    def first(self) -> list[Proposed]:
        """Return the first layer's proposals, of the question that has most of them."""
        first = self.layers[:1]
        return max(([each for each in item.proposals if each.layer in first] for item in self.items), key=len)

    @property
    def models(self) -> set[str]:
        """Return what the first layer's proposers ask, each of it once; their temperatures do not matter."""
        if self.spec is None or not self.spec.layers:
            return {each.model for each in self.first}
        slots = self.spec.models
        return {
            # One model with other parameters is another one: `embedded:extractive` ranks in several ways.
            f"{slot.model} {slot.base_url or ''} {json.dumps(slot.params, sort_keys=True)}"
            if (slot := slots.get(each.model or ""))
            else f"proposer {each.stem}"
            for each in self.spec.layers[0].proposers
        }

    @property
    def ids(self) -> frozenset[str]:
        """Return the ids of its questions."""
        return frozenset(str(item.id) for item in self.items)

    @property
    def accuracy(self) -> list[float]:
        """Return 1 for each question with the right answer, else 0."""
        return [float(item.correct is True) for item in self.items]


def read_judged(path: Path) -> JudgedRun:
    """Read the records of a run of `moa eval`: its folder, or the file in it.

    Raises MoAError for what cannot be read, and for a run in which no answer is judged.
    """
    run = read_run(path)
    items = [checked(_Item, record, f"{path}: {id_}") for id_, record in run.records.items()]
    items = [item for item in items if item.correct is not None]
    if not items:
        raise MoAError(f"{path}: no answer in it is judged", hint="Evaluate with gold answers.")
    name = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    return JudgedRun(name, items, run.digest, _spec_of(path))


def _spec_of(path: Path) -> MoASpec | None:
    """Return the spec that `moa eval` keeps in its folder; None without one that can be read."""
    file = path / ".spec.yaml"
    with suppress(SpecError):
        return load_spec(file) if file.is_file() else None
    return None


@dataclass(frozen=True)
class Shape:
    """Say how a figure is lettered: its title, what its axis across shows, whether its points are joined."""

    title: str
    across: str
    joined: bool = True


def curves_of(figure: FigureName, runs: Sequence[JudgedRun]) -> tuple[Shape, list[Curve]]:
    """Return the shape of a figure and its curves: accuracies of 0 to 1 with 95 % intervals.

    `by-layer`: each run's proposals, layer after layer, then its answer. `by-proposers`: the answers of runs
    of different width. `single-multiple`: the same, runs that ask one model several times in the first layer
    apart from those of different models, and from those of one proposer or none.
    `cost-quality`: accuracy over USD a question; runs whose cost is not wholly known are left out.
    Intervals are Wilson's for shares of questions, by bootstrap for means of several proposals and of costs.
    Raises MoAError for runs over different questions.
    """
    _check_same_questions(runs)
    shape, compute = _COMPUTED[figure]
    return shape, [(name, points) for name, points in compute(runs) if points]


def _check_same_questions(runs: Sequence[JudgedRun]) -> None:
    if len({run.dataset for run in runs if run.dataset is not None}) > 1:
        raise MoAError("the runs are over different questions", hint="Evaluate all of them on one dataset.")
    for one, other in pairwise(runs):
        if one.ids != other.ids:
            both = len(one.ids & other.ids)
            raise MoAError(
                f"the runs are over different questions: {one.name} over {len(one.ids)}, {other.name} over "
                f"{len(other.ids)}, of which {both} are in both",
                hint="Evaluate all of them on the same items.",
            )


def _accuracy(values: Sequence[float]) -> Interval:
    """Return a mean of what is right of each question: a share of questions, unless it is of proposals."""
    right = values.count(1.0)
    if right + values.count(0.0) == len(values):
        return share_interval(right, len(values))
    return mean_interval(values)


def _by_layer(runs: Sequence[JudgedRun]) -> list[Curve]:
    return [(run.name, _layers(run)) for run in runs]


def _layers(run: JudgedRun) -> list[Point]:
    points = []
    for depth, layer in enumerate(run.layers, 1):
        judged = [
            known
            for item in run.items
            if (
                known := [
                    float(p.correct) for p in item.proposals if p.layer == layer and p.correct is not None
                ]
            )
        ]
        # A run may stop early: then this layer is of the questions that went on, and says of how many. What a
        # single one of them gave is no accuracy.
        label = f"n={len(judged)}" if len(judged) < len(run.items) else ""
        if judged and label != "n=1":
            points.append(Point(_accuracy([fmean(known) for known in judged]), depth, label))
    return [*points, Point(_accuracy(run.accuracy), len(run.layers) + 1, "answer")]


def _by_proposers(runs: Sequence[JudgedRun]) -> list[Curve]:
    return [("answer", _by_width(runs))]


def _single_multiple(runs: Sequence[JudgedRun]) -> list[Curve]:
    alone = [run for run in runs if len(run.first) <= 1]
    single = [run for run in runs if run not in alone and len(run.models) == 1]
    return [
        ("one model, sampled", _by_width(single)),
        ("different models", _by_width([run for run in runs if run not in [*alone, *single]])),
        ("at most one proposer", _by_width(alone)),
    ]


def _by_width(runs: Sequence[JudgedRun]) -> list[Point]:
    widths = sorted(((len(run.first), run) for run in runs), key=lambda each: each[0])
    return [Point(_accuracy(run.accuracy), width, run.name) for width, run in widths]


def _cost_quality(runs: Sequence[JudgedRun]) -> list[Curve]:
    points = []
    for run in runs:
        costs = [float(item.cost) for item in run.items if item.cost is not None]
        if len(costs) == len(run.items):
            points.append(Point(_accuracy(run.accuracy), mean_interval(costs), run.name))
    return [("answer", points)]


_COMPUTED: dict[FigureName, tuple[Shape, Callable[[Sequence[JudgedRun]], list[Curve]]]] = {
    "by-layer": (Shape("accuracy by layer", "layer; the last point is the answer"), _by_layer),
    "by-proposers": (Shape("accuracy by number of proposers", "proposers"), _by_proposers),
    "single-multiple": (
        Shape("one proposer model against several", "proposers", joined=False),
        _single_multiple,
    ),
    "cost-quality": (Shape("cost against quality", "USD a question", joined=False), _cost_quality),
}
