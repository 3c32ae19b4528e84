"""Columns, trees and times, as plain text for terminals and pipes."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from moa_graph.runs.summaries import Summary

__all__ = ["columns", "family", "local_time"]


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return rows as lines with their cells below each other; columns in `right` are flush right."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for place, cell in enumerate(row):
            space = " " * (widths[place] - _width(cell))
            cells.append(space + cell if place in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def family(found: Sequence[Summary], origin: str | None = None) -> Iterator[tuple[int, Summary]]:
    """Yield threads with their forks below them, each with its depth; only those below `origin` if given."""
    by_id = {summary.thread: summary for summary in found}
    children: dict[str | None, list[Summary]] = {}
    for summary in found:
        parent = by_id.get(summary.forked_from or "")
        # A thread that is younger than its fork is another one that took the name of the origin.
        known = parent is not None and parent.created < summary.created
        children.setdefault(summary.forked_from if known else None, []).append(summary)
    left = [(0, summary) for summary in reversed(children.get(origin, []))]
    while left:
        depth, summary = left.pop()
        yield depth, summary
        left += [(depth + 1, child) for child in reversed(children.get(summary.thread, []))]


def local_time(when: str) -> str:
    """Return an ISO 8601 time on this machine's clock, to the second; "" for none."""
    return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else ""


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF")
        for sign in text
    )
