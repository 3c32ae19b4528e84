"""Figures in the style of the paper, every point with its interval; matplotlib (extra `eval`) draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moa_graph.errors import MoAError
from moa_graph.evaluation.selection import Selection, Spot
from moa_graph.evaluation.statistics import Interval
from moa_graph.extras import needing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SUFFIXES", "Curve", "Point", "draw_curves", "draw_selection", "save"]

SUFFIXES = (".png", ".svg")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which the colour-blind can tell apart."""
_MARKS = "osD^vP"
_GREY = "#9a9a9a"


@dataclass(frozen=True)
class Point:
    """Hold a value, its name, and where it stands: a number of something, or an interval such as a cost.

    `cut` counts the questions for which a proposer was cut or not asked: the value is biased by them.
    """

    value: Interval
    at: int | Interval
    label: str = ""
    cut: int = 0


Curve = tuple[str, Sequence[Point]]
"""A name for the legend, and its points from left to right."""


def _figure(columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of its own: nothing of matplotlib's global state is touched, no window opens."""
    with needing("eval"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 -- of the extra `eval`
        from matplotlib.figure import Figure  # noqa: PLC0415 -- see above

    figure = Figure(figsize=(6.4 * columns, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, columns, number + 1) for number in range(columns)]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(visible=True, axis="y", color="#e6e6e6")
        each.set_axisbelow(True)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG; raise MoAError for another suffix, OSError if it cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise MoAError(f"{path}: the suffix must be {' or '.join(SUFFIXES)}")
    # Without the date equal figures are equal files, but for the ids of SVG.
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
    figure.savefig(path, format=path.suffix.lower()[1:], dpi=160, metadata=metadata)


def draw_curves(
    curves: Sequence[Curve], *, title: str, across: str, upward: str, joined: bool = True
) -> Figure:
    """Draw values in percent with their intervals as error bars; raise MoAError where there is no point.

    `across` and `upward` name the axes, `joined` connects the points of a curve.
    """
    places = [point.at for _, points in curves for point in points]
    if not places:
        raise MoAError("there is nothing to draw: no run has what this figure shows")
    figure, [axes] = _figure()
    counted = [place for place in places if isinstance(place, int)]
    labels = []
    for number, (name, points) in enumerate(curves):
        # Curves over the same numbers would hide each other's bars.
        shift = 0.05 * (number - (len(curves) - 1) / 2) if counted else 0.0
        across_at = [at + shift for at in _apart([point.at for point in points])]
        heights = [100 * point.value.value for point in points]
        axes.errorbar(
            across_at,
            heights,
            yerr=_bars([point.value.times(100) for point in points]),
            xerr=None if counted else _bars([_certain(point.at) for point in points]),
            # Between two runs at one place a line would say nothing.
            linestyle="-" if joined and len({point.at for point in points}) == len(points) else "none",
            label=name,
            **_style(number),
        )
        labels += [(p.label, x, y) for p, x, y in zip(points, across_at, heights, strict=True) if p.label]
    if counted:
        axes.set_xticks(sorted(set(counted)))
    elif axes.get_xlim()[0] < 0:
        axes.set_xlim(left=0)  # no cost is below 0
    _lettering(axes, title, across, upward)
    _label(axes, labels)
    return figure


def _apart(places: Sequence[int | Interval]) -> list[float]:
    """Return where points stand across: those at one number of something side by side."""
    many, seen, across = Counter(places), Counter[Any](), []
    for place in places:
        aside = 0.08 * (seen[place] - (many[place] - 1) / 2) if isinstance(place, int) else 0.0
        across.append(_certain(place).value + aside)
        seen[place] += 1
    return across


def _label(axes: Axes, labels: Sequence[tuple[str, float, float]]) -> None:
    """Write labels beside points, from the top down, each below those that it would cover."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # sizes are known once all is laid out
    written: list[Any] = []
    for text, x, y in sorted(labels, key=lambda label: -label[2]):
        note = axes.annotate(text, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=8)
        box = note.get_window_extent().padded(2)
        while any(box.overlaps(other) for other in written):
            note.xyann = (6, note.xyann[1] - 2)
            box = note.get_window_extent().padded(2)
        written.append(box)


def _style(number: int) -> dict[str, Any]:
    return {"color": _COLOURS[number % len(_COLOURS)], "marker": _MARKS[number % len(_MARKS)], "capsize": 3}


def _certain(at: int | Interval) -> Interval:
    return at if isinstance(at, Interval) else Interval(at, at, at)


def _bars(intervals: Sequence[Interval]) -> list[list[float]]:
    """Return how far the intervals reach below and above their values; a hair below is rounding."""
    below = [max(0.0, each.value - each.low) for each in intervals]
    return [below, [max(0.0, each.high - each.value) for each in intervals]]


def _lettering(axes: Axes, title: str, across: str, upward: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(across)
    axes.set_ylabel(upward)
    # Below the axes it covers no bar.
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=3)


def draw_selection(selection: Selection) -> Figure:
    """Draw the teams of a selection between diversity and quality, on the questions held out.

    The left side shows the mean score of a team's members, the right one, where answers are recorded, the
    accuracy of its vote. Grey are random teams; the line is the policy `score` over λ from 0 to 2.
    Raises MoAError for teams of one, which have no diversity.
    """
    if not selection.spots:
        raise MoAError("a team of one has no diversity to draw; choose two at least")
    sides = ["mean", "vote"] if selection.held_out.votes else ["mean"]
    figure, axes = _figure(len(sides))
    what = {"mean": f"mean {selection.measure} of the members, %", "vote": "accuracy of the vote, %"}
    for side, each in zip(sides, axes, strict=True):
        grey = [spot for spot in selection.spots if not spot.label]
        each.scatter(*_coordinates(grey, side), s=9, color=_GREY, label=f"{len(grey)} random teams")
        each.plot(
            *_coordinates(selection.front, side), color="#444444", linewidth=1, label="score, λ from 0 to 2"
        )
        for number, spot in enumerate(spot for spot in selection.spots if spot.label):
            _draw_spot(each, spot, side, number)
        across = f"diversity (1 − agreement of {selection.likeness})"
        _lettering(each, f"teams of {selection.k}, questions held out", across, what[side])
    return figure


def _value(spot: Spot, side: str) -> Interval:
    interval: Interval = getattr(spot, side)
    return interval.times(100)


def _coordinates(spots: Iterable[Spot], side: str) -> tuple[list[float], list[float]]:
    pairs = [(spot.diversity, _value(spot, side).value) for spot in spots]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _draw_spot(axes: Axes, spot: Spot, side: str, number: int) -> None:
    value = _value(spot, side)
    # Hollow ones of different sizes hide neither each other nor the random teams where all are equal.
    style = {**_style(number), "markerfacecolor": "none", "markersize": 6 + 3 * number}
    axes.errorbar([spot.diversity], [value.value], yerr=_bars([value]), label=spot.label, **style)
