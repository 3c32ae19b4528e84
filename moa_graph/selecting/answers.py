"""Answers: read from texts, compared, counted."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moa_graph.errors import MoAError
from moa_graph.selecting.choices import read_choice
from moa_graph.selecting.fields import read_field
from moa_graph.selecting.marks import unmarked
from moa_graph.selecting.mathematics import canonical_mathematics, same_mathematics
from moa_graph.selecting.searching import last_match
from moa_graph.selecting.stated import read_number, stated_number
from moa_graph.spec.extracting import LETTERS, Equality, ExtractSpec, path_steps
from moa_graph.text import clean

__all__ = ["Vote", "equal", "extract", "normalise", "vote"]

_LONGEST = 50_000
"""Characters at the end of a text that are read; the answer stands there."""

_NO_ANSWER = re.compile(r"(?:```\w*|\$\$|\\\]|\\end\{\w+\*?\}|[-*_=]{3,}|[\]})]+)\s*")
_EDGES = " \t\r\n*_`\"'“”\u2018\u2019«».,;:!"


@dataclass(frozen=True)
class Vote:
    """Hold the outcome of a vote: the answer, and the indices of those who gave it, in order.

    `votes` are those for the answer and `total` all that were cast, weights counted.
    """

    answer: str
    winners: list[int]
    votes: float
    total: float

    @property
    def first(self) -> int:
        """Return the index of the first who gave the answer."""
        return self.winners[0]


def extract(text: str, how: ExtractSpec) -> str | None:
    """Read the answer of a text in canonical form: two are the same if and only if the results are equal.

    None where there is no such answer: the text abstains. Raises MoAError for a spec that lacks what it
    needs.
    """
    return _guarded(_extracted, text, how)


def _extracted(text: str, how: ExtractSpec) -> str | None:
    if how.by == "number":
        return read_number(text[-_LONGEST:])
    if how.by == "choice":
        return read_choice(text[-_LONGEST:], how.choices or LETTERS)
    found = _found(text, how)
    return None if found is None else _normalised(found, how)


def normalise(answer: str, how: ExtractSpec) -> str | None:
    """Return an answer that stands alone, such as a gold answer, in canonical form; None if it is none."""
    return _guarded(_normalised, answer, how)


def _normalised(answer: str, how: ExtractSpec) -> str | None:
    if how.by == "choice":
        return read_choice(answer, how.choices or LETTERS)
    return _CANONICAL[how.compares](answer)


def _guarded(read: Callable[[str, ExtractSpec], str | None], text: str, how: ExtractSpec) -> str | None:
    """Return a cleaned answer, or None where it cannot be read: a hostile text is no reason to end a run."""
    try:
        answer = read(text, how)
    except (ValueError, ArithmeticError, RecursionError):  # such as a number of too many digits
        return None
    return None if answer is None else clean(answer)[0]


def equal(one: str | None, other: str | None, how: ExtractSpec) -> bool:
    """Tell whether two answers that stand alone are the same; what is no answer equals nothing.

    Of mathematical ones one may leave out the unit of measure: "12 cm" is a gold "12", but no "12 m".
    """
    if one is None or other is None:
        return False
    canonical = normalise(one, how)
    gold = normalise(other, how)
    if canonical is None or gold is None:
        return False
    return canonical == gold or (how.compares == "math" and same_mathematics(canonical, gold))


def vote(answers: Sequence[str | None], weights: Sequence[float] | None = None) -> Vote | None:
    """Return the plurality of answers in canonical form; None if all abstain.

    None abstains, and so does whoever has no weight; a tie goes to the answer of the earliest. `weights`,
    one for each answer, are 1 if none are given (Wang et al. 2022, arXiv 2203.11171: self-consistency by
    majority).
    """
    cast = [1.0] * len(answers) if weights is None else list(weights)
    winners: dict[str, list[int]] = {}
    for index, (answer, _) in enumerate(zip(answers, cast, strict=True)):
        if answer is not None and cast[index]:
            winners.setdefault(answer, []).append(index)
    if not winners:
        return None
    votes = {answer: math.fsum(cast[index] for index in indices) for answer, indices in winners.items()}
    answer = max(votes, key=votes.__getitem__)  # the first of several: they stand in the order they came
    total = math.fsum(cast[index] for indices in winners.values() for index in indices)
    return Vote(answer, winners[answer], votes[answer], total)


def _found(text: str, how: ExtractSpec) -> str | None:
    if how.by == "last-line":
        return _last_line(text[-_LONGEST:])
    needed = how.pattern if how.by == "regex" else how.path
    if needed is None:
        key = "pattern" if how.by == "regex" else "path"
        raise MoAError(f"`{how.by}` needs `{key}`", hint=f"Say {{by: {how.by}, {key}: …}}.")
    return _match(text, needed) if how.by == "regex" else read_field(text[-_LONGEST:], path_steps(needed))


def _last_line(text: str) -> str | None:
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next((line for line in lines if line and not _NO_ANSWER.fullmatch(line)), None)


def _match(text: str, pattern: str) -> str | None:
    """Return the first group of the last match, or all of it where there is no group."""
    last = last_match(text, pattern)
    if last is None:
        return None
    return next((group for group in last.groups() if group is not None), None) if last.groups() else last[0]


def _folded(text: str) -> str | None:
    """Return words without case, spacing, emphasis and final points, and without what announces them."""
    words, before = unicodedata.normalize("NFKC", text).replace("**", "").strip(_EDGES), ""
    while words != before:  # "Final answer: the answer is 5"
        words, before = unmarked(words).strip(_EDGES), words
    return re.sub(r"\s+", " ", words).casefold() or None


def _exact(text: str) -> str | None:
    return text


_CANONICAL: dict[Equality, Callable[[str], str | None]] = {
    "number": stated_number,
    "folded": _folded,
    "exact": _exact,
    "math": canonical_mathematics,
}
