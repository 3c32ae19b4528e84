"""Multiple choice: which of the letters or words a text decides for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from moa_graph.selecting.marks import announced, last_of

__all__ = ["read_choice"]

_BEFORE = (
    r"[\W_]*(?:\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{[\W_]*)?(?:\b(?:option|choice|answer)\b[\W_]*)?"
)


class _Patterns(NamedTuple):
    """Hold where a choice may stand, from the surest place to the weakest."""

    begins: re.Pattern[str]
    bracketed: re.Pattern[str]
    named: re.Pattern[str]
    alone: re.Pattern[str]
    anywhere: re.Pattern[str] | None


def read_choice(text: str, choices: Sequence[str]) -> str | None:
    """Return the choice that a text decides for, as it is spelt in `choices`; None if it is not clear.

    What is announced ("The answer is (B)") counts first, the last line next, then the last one in
    brackets or bold, and of words the last one anywhere. Case counts for single letters that stand among
    others: "a" is a word.
    """
    patterns = _patterns(tuple(choices))
    found = _announced(text, patterns)
    if found is None:
        lines = [line for line in text.splitlines() if re.search(r"\w", line)]
        last = lines[-1] if lines else ""
        places = [(patterns.alone, last), (patterns.named, text), (patterns.bracketed, text)]
        places += [(patterns.anywhere, text)] if patterns.anywhere else []
        found = next(
            (match["choice"] for pattern, where in places if (match := last_of(pattern.finditer(where)))),
            None,
        )
    if found is None:
        return None
    return next(choice for choice in choices if choice.strip().casefold() == found.casefold())


def _announced(text: str, patterns: _Patterns) -> str | None:
    for after, _, _ in announced(text):
        match = patterns.begins.match(after) or patterns.alone.match(after)
        if match is not None:
            return match["choice"]
        for pattern in filter(None, (patterns.named, patterns.bracketed, patterns.anywhere)):
            if (match := pattern.search(after)) is not None:
                return match["choice"]
    return None


@lru_cache(maxsize=64)
def _patterns(choices: tuple[str, ...]) -> _Patterns:
    words = sorted((choice.strip() for choice in choices), key=len, reverse=True)
    either = "|".join(re.escape(word) for word in words)
    one = f"(?P<choice>{either})"
    letters = all(len(word) == 1 for word in words)
    strict = re.NOFLAG if letters else re.IGNORECASE
    any_case = re.IGNORECASE
    return _Patterns(
        begins=re.compile(rf"{_BEFORE}{one}(?!\w|[’']\w)", strict),
        bracketed=re.compile(rf"(?:[(\[{{\"']|\*\*)\s?{one}\s?(?:[)\]}}\"']|[.:)]?\*\*)", any_case),
        named=re.compile(rf"(?i:\b(?:option|choice|answer)\b)[\W_]{{0,4}}{one}(?!\w|[’']\w)", strict),
        alone=re.compile(rf"^[\W_]*{one}(?:[\W_]*$|\s?[).:]\s)", any_case),
        anywhere=None if letters else re.compile(rf"(?<!\w){one}(?!\w)", any_case),
    )
