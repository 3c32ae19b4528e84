"""What two runs that are compared are called."""

from __future__ import annotations

from pathlib import Path

from moa_graph.cli.text import one_line

__all__ = ["run_names"]


def run_names(run: str, other: str) -> tuple[str, str]:
    """Return the names of two runs: of their folders or files where these differ, else as they were given."""
    names = Path(run).name, Path(other).name
    given = names if names[0] != names[1] and all(names) else (run, other)
    first, second = (one_line(name, 60) for name in given)
    return (first, second) if first != second else (f"{first} (1)", f"{second} (2)")
