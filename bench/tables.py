"""Figures with their intervals as cells of Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moa_graph.evaluation.statistics import can_be_told, difference_interval, mean_interval, sign_test

__all__ = ["count", "difference", "percent", "table"]

Values = Sequence[float]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def percent(values: Values, form: str = ".1f") -> str:
    """Return a share in percent with its interval."""
    return format(mean_interval(values).times(100), form)


def count(values: Values) -> str:
    """Return a mean of counts, with its interval where they vary."""
    return f"{values[0]:g}" if len(set(values)) == 1 else f"{mean_interval(values):.3f}"


def difference(old: Values, new: Values) -> str:
    """Return by how many points the share `new` is above `old`, in bold where a difference can be told.

    That is as in `moa compare`: the interval leaves out 0, and McNemar's test over the changed items agrees.
    """
    if old is new:
        return "–"
    interval = difference_interval(old, new)
    gained = sum(after > before for before, after in zip(old, new, strict=True))
    lost = sum(after < before for before, after in zip(old, new, strict=True))
    told = can_be_told(interval, len(old)) and sign_test(gained, lost) <= 1 - interval.level
    shown = f"{interval.times(100):+.1f}"
    return f"**{shown}**" if told else shown
