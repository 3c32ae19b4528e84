"""How two threads differ: their specs, their proposals, their answers; pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from itertools import groupby, takewhile
from typing import Literal

from moa_graph.runs.records import ThreadRecord
from moa_graph.runs.run import Run
from moa_graph.state import Proposal

__all__ = ["Change", "Comparison", "Piece", "compare", "word_diff"]

Piece = tuple[Literal["=", "-", "+"], str]
"""A part of two texts: in both, in the first only, in the second only."""

_WORD = re.compile(r"\s*(?:[\u2e80-\u9fff]|[^\W\u2e80-\u9fff]+|[^\w\s])|\s+")
"""A word with the space before it, so that what follows it (a comma) does not change it.

Of scripts that are written without spaces each sign is a word.
"""
_PASSAGE = re.compile(r"[^\n]*?(?:[.!?]\s+|[\u3002\uff01\uff1f])|[^\n]*\n+|[^\n]+\Z")
"""A sentence or a line, with the space after it."""
_MOST_WORK = 300_000
"""Pairs of equal words in two texts; what difflib does grows with them, at worst many times over."""


@dataclass(frozen=True)
class Change:
    """Hold a proposal that differs; None stands for the thread that does not have it."""

    id: str
    before: Proposal | None
    after: Proposal | None


@dataclass(frozen=True)
class Comparison:
    """Say how a thread differs from another one, by the last turn of each.

    `spec` is a unified diff, "" for equal ones; `same` counts the proposals that are equal; `questions` and
    `answers` are those of both threads.
    """

    spec: str
    questions: tuple[str, str]
    changes: list[Change]
    same: int
    answers: tuple[str | None, str | None]

    @property
    def equal(self) -> bool:
        """Tell whether there is no difference at all."""
        return (
            not self.spec
            and not self.changes
            and self.questions[0] == self.questions[1]
            and self.answers[0] == self.answers[1]
        )


def compare(records: tuple[ThreadRecord, ThreadRecord], runs: tuple[Run, Run]) -> Comparison:
    """Return how the second thread differs from the first."""
    old, new = ({proposal["id"]: proposal for proposal in run.proposals} for run in runs)
    shared = [id_ for id_ in old if id_ in new and _gist(old[id_]) == _gist(new[id_])]
    ids = [id_ for id_ in {**old, **new} if id_ not in shared]
    return Comparison(
        spec=_spec_diff(*records),
        questions=(runs[0].question, runs[1].question),
        changes=[Change(id_, old.get(id_), new.get(id_)) for id_ in ids],
        same=len(shared),
        answers=(runs[0].answer, runs[1].answer),
    )


def word_diff(old: str, new: str) -> list[Piece]:
    """Return the pieces of two texts in order, whitespace included.

    Those in both and in the first make up `old`, those in both and in the second `new`. Long texts that
    have little in common are compared by sentences and lines, and by words within those that differ.
    """
    return [
        (kind, "".join(text for _, text in pieces))
        for kind, pieces in groupby(_diff(old, new), lambda piece: piece[0])
    ]


def _gist(proposal: Proposal) -> tuple[str, str, str]:
    # Of a failed call only that it failed counts: its text reaches nobody.
    text = proposal["text"] if proposal["status"] == "ok" else ""
    return proposal["status"], proposal["requested_model"], text


def _spec_diff(old: ThreadRecord, new: ThreadRecord) -> str:
    lines = unified_diff(
        old.spec.splitlines(),
        new.spec.splitlines(),
        fromfile=f"thread {old.thread}",
        tofile=f"thread {new.thread}",
        lineterm="",
        n=2,
    )
    return "\n".join(lines)


def _diff(old: str, new: str) -> Iterator[Piece]:
    words = _WORD.findall(old), _WORD.findall(new)
    if _is_cheap(*words):
        yield from _pieces(*words)
        return
    passages = _PASSAGE.findall(old), _PASSAGE.findall(new)
    whole: list[Piece] = [("-", old), ("+", new)]
    found = list(_pieces(*passages)) if _is_cheap(*passages) else whole
    for both, group in groupby(found, lambda piece: piece[0] == "="):
        pieces = list(group)
        words = _words(pieces, "-"), _words(pieces, "+")
        if not both and _is_cheap(*words):
            yield from _pieces(*words)
        else:
            yield from pieces


def _words(pieces: Sequence[Piece], kind: str) -> list[str]:
    return _WORD.findall("".join(text for each, text in pieces if each == kind))


def _pieces(old: Sequence[str], new: Sequence[str]) -> Iterator[Piece]:
    start, stop = _ends(old, new)
    left, right = old[start : len(old) - stop], new[start : len(new) - stop]
    pieces: list[Piece] = [("=", "".join(old[:start]))]
    for kind, i, i_end, j, j_end in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(("=", "".join(left[i:i_end])))
        else:
            pieces += [("-", "".join(left[i:i_end])), ("+", "".join(right[j:j_end]))]
    pieces.append(("=", "".join(old[len(old) - stop :])))
    yield from (piece for piece in pieces if piece[1])


def _ends(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """Return how many parts both begin with, and how many of the rest both end with."""
    start = _alike(old, new)
    return start, _alike(old[start:][::-1], new[start:][::-1])


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))


def _is_cheap(old: Sequence[str], new: Sequence[str]) -> bool:
    start, stop = _ends(old, new)
    counts = Counter(new[start : len(new) - stop])
    return sum(counts[part] for part in old[start : len(old) - stop]) <= _MOST_WORK
