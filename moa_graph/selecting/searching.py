"""The last match of a regular expression, in as much of the end of a text as can be searched swiftly."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from math import prod
from typing import NamedTuple

from moa_graph.selecting.marks import last_of
from moa_graph.spec.patterns import shape_of

__all__ = ["last_match"]

_LONGEST = 10_000
_SHORTEST = 100
_MOST_STEPS = 50_000_000
"""What a search may go through in the worst case: some tenths of a second, in which nothing else runs."""

_RUN = re.compile(r"(.)\1{200,}", re.DOTALL)
_FLAGS = re.compile(r"\(\?([aims]+)")


class _Search(NamedTuple):
    """Hold a pattern, and what tells how long a search for it can take."""

    pattern: re.Pattern[str]
    head: re.Pattern[str] | None
    runs: list[re.Pattern[str]]
    ways: int


def last_match(text: str, pattern: str) -> re.Match[str] | None:
    """Return the last match in the last 10,000 characters, or in fewer; None if there is none.

    A search takes at most as long as there are beginnings, ways through the alternatives, and lengths of each
    repetition: all are counted, and the window is halved until they are few. None, too, where the last
    hundred characters are still too many.
    """
    search = _search(pattern)
    # What a model repeats without end is shortened: a search goes back over it again and again.
    window = _RUN.sub(lambda run: run[1] * 200, text[-_LONGEST:])
    while _steps(search, window) > _MOST_STEPS:
        if len(window) <= _SHORTEST:
            return None
        window = window[-max(len(window) // 2, _SHORTEST) :]
    return last_of(search.pattern.finditer(window))


def _steps(search: _Search, window: str) -> int:
    beginnings = len(window) + 1
    if search.head is not None:
        beginnings = 1 + sum(1 for _ in search.head.finditer(window))
    lengths = prod(1 + max(map(len, run.findall(window)), default=0) for run in search.runs)
    return beginnings * search.ways * lengths


@lru_cache(maxsize=64)
def _search(pattern: str) -> _Search:
    shape = shape_of(pattern)
    flags = "".join(sorted({flag for found in _FLAGS.findall(pattern) for flag in found}))
    heading = f"(?{flags})" if flags else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "possible nested set": those who wrote the pattern were told
        head = re.compile(f"{heading}(?={shape.head})") if shape.head else None
        runs = [re.compile(f"{heading}{repeated}+") for repeated in shape.repeated]
        return _Search(re.compile(pattern), head, runs, shape.ways)
