"""The points of the figures, computed from the records of runs of `moa eval`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Literal, get_args

from moa_graph.errors import MoAError
from moa_graph.evaluation.evaluated import READ_ALIKE, readings_apart
from moa_graph.evaluation.figures import Curve, Point
from moa_graph.evaluation.measured import MeasuredRun, accuracy
from moa_graph.evaluation.statistics import mean_interval

__all__ = ["FIGURES", "FigureName", "Shape", "curves_of"]

FigureName = Literal["by-layer", "by-proposers", "single-multiple", "cost-quality"]
FIGURES: tuple[FigureName, ...] = get_args(FigureName)


@dataclass(frozen=True)
class Shape:
    """Say how a figure is lettered: its measure, its title, what its axis across shows; how it is drawn."""

    title: str
    across: str
    joined: bool = True
    measure: Literal["accuracy", "win rate"] = "accuracy"


def curves_of(figure: FigureName, runs: Sequence[MeasuredRun]) -> tuple[Shape, list[Curve]]:
    """Return the shape of a figure and its curves: accuracies or win rates, 0 to 1 with 95 % intervals.

    `by-layer`: each run's proposals, layer after layer, then its answer; `Point.cut` counts the questions for
    which a proposer of the layer was cut or not asked; of win rates, which proposals do not
    have, the answers of runs of different depth. `by-proposers`: the answers of runs of different width.
    `single-multiple`: the same, runs that ask one model several times in the first layer apart from those of
    different models, and from those of one proposer or none. `cost-quality`: accuracy or win rate over USD a
    question; runs whose cost is not wholly known are left out.
    Intervals are Wilson's for shares of questions, by bootstrap for means of several proposals, of ties and
    of costs. Raises MoAError for runs over different questions, and for accuracies of answers that were read
    in different ways.
    """
    judged = runs[0].preferences is not None
    _check_same_questions(runs)
    if not judged:
        _check_read_alike(runs)
    shape, compute = (_BY_DEPTH if judged else {}).get(figure, _COMPUTED[figure])
    measure: Literal["accuracy", "win rate"] = "win rate" if judged else "accuracy"
    shape = replace(shape, title=shape.title.format(measure), measure=measure)
    return shape, [(name, points) for name, points in compute(runs) if points]


def _check_same_questions(runs: Sequence[MeasuredRun]) -> None:
    if len({run.run.digest for run in runs if run.run.digest is not None}) > 1:
        raise MoAError("the runs are over different questions", hint="Evaluate all of them on one dataset.")
    for one, other in pairwise(runs):
        if one.ids != other.ids:
            both = len(one.ids & other.ids)
            raise MoAError(
                f"the runs are over different questions: {one.name} over {len(one.ids)}, {other.name} over "
                f"{len(other.ids)}, of which {both} are in both",
                hint="Evaluate all of them on the same items.",
            )


def _check_read_alike(runs: Sequence[MeasuredRun]) -> None:
    known = [run for run in runs if run.run.how is not None]
    for one, other in pairwise(known):
        if readings := readings_apart(one.run, other.run):
            raise MoAError(
                f"right means something else in each run: the answers of {one.name} were read by "
                f"{readings[0]}, those of {other.name} by {readings[1]}",
                hint=READ_ALIKE,
            )


def _by_layer(runs: Sequence[MeasuredRun]) -> list[Curve]:
    return [(run.name, _layers(run)) for run in runs]


def _layers(run: MeasuredRun) -> list[Point]:
    points = []
    for depth, layer in enumerate(run.layers, 1):
        reached = [
            proposals for item in run.items if (proposals := [p for p in item.proposals if p.layer == layer])
        ]
        scores = [[float(p.correct) for p in each if p.correct is not None] for each in reached]
        judged = [fmean(known) for known in scores if known]
        asked = run.proposers(layer)
        cut = sum(not asked <= {p.id for p in each if p.ended} for each in reached)
        # A run may stop early: then this layer is of the questions that went on, and says of how many. What a
        # single one of them gave is no accuracy.
        fewer = f"n={len(judged)}" if len(judged) < len(run.items) else ""
        label = ", ".join(filter(None, [fewer, f"{cut} cut" if cut else ""]))
        if judged and fewer != "n=1":
            points.append(Point(accuracy(judged), depth, label, cut))
    return [*points, Point(run.answers, len(run.layers) + 1, "answer")]


def _by_depth(runs: Sequence[MeasuredRun]) -> list[Curve]:
    depths = sorted(((run.depth + 1, run) for run in runs), key=lambda each: each[0])
    return [("answer", [Point(run.answers, depth, run.name) for depth, run in depths])]


def _by_proposers(runs: Sequence[MeasuredRun]) -> list[Curve]:
    return [("answer", _by_width(runs))]


def _single_multiple(runs: Sequence[MeasuredRun]) -> list[Curve]:
    alone = [run for run in runs if len(run.first) <= 1]
    single = [run for run in runs if run not in alone and len(run.models) == 1]
    return [
        ("one model, sampled", _by_width(single)),
        ("different models", _by_width([run for run in runs if run not in [*alone, *single]])),
        ("at most one proposer", _by_width(alone)),
    ]


def _by_width(runs: Sequence[MeasuredRun]) -> list[Point]:
    widths = sorted(((len(run.first), run) for run in runs), key=lambda each: each[0])
    return [Point(run.answers, width, run.name) for width, run in widths]


def _cost_quality(runs: Sequence[MeasuredRun]) -> list[Curve]:
    points = []
    for run in runs:
        costs = [float(item.cost) for item in run.items if item.cost is not None]
        if len(costs) == len(run.items):
            points.append(Point(run.answers, mean_interval(costs), run.name))
    return [("answer", points)]


_Computed = dict[FigureName, tuple[Shape, Callable[[Sequence[MeasuredRun]], list[Curve]]]]

_COMPUTED: _Computed = {
    "by-layer": (Shape("{} by layer", "layer; the last point is the answer"), _by_layer),
    "by-proposers": (Shape("{} by number of proposers", "proposers"), _by_proposers),
    "single-multiple": (
        Shape("{}: one proposer model against several", "proposers", joined=False),
        _single_multiple,
    ),
    "cost-quality": (Shape("cost against {}", "USD a question", joined=False), _cost_quality),
}
_BY_DEPTH: _Computed = {
    "by-layer": (Shape("{} by number of layers", "layers; the aggregator is the last one"), _by_depth)
}
"""What is computed otherwise of win rates: a judge reads answers, not proposals."""
