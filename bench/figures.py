"""A figure that was measured: what it says, the goal it is held to, and whether it meets it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Figure", "no_more_than", "plain"]


@dataclass(frozen=True)
class Figure:
    """Hold one row of the table; `met` is None where nothing was promised."""

    what: str
    figure: str
    goal: str = ""
    met: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain data."""
        return asdict(self)


def plain(what: str, figure: str) -> Figure:
    """Return a row that is only told, not judged."""
    return Figure(what, figure)


def no_more_than(what: str, value: float, goal: float, shown: str, unit: str = "") -> Figure:
    """Return a row whose value must not exceed a goal."""
    return Figure(what, shown, f"≤ {goal:g}{unit}", value <= goal)
