"""Multiple choice: which of the letters or words a text decides for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from moa_graph.selecting.marks import announced

__all__ = ["read_choice"]

_BEFORE = (
    r"[\W_]*(?:(?i:I\s(?:think|believe|guess|would\ssay)|probably|likely|clearly|it\sis|it[’']s)\b[\W_]*)?"
    r"(?:\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{[\W_]*)?(?i:\b(?:option|choice|answer)\b[\W_]*)?"
)
_CONCLUDES = (
    r"\b(?i:so|thus|hence|therefore|it\sis|it[’']s|must\sbe|should\sbe|choose|pick|select|go\swith|I\ssay)\b[\W_]{0,4}"
    r"(?i:(?:it\sis|it[’']s|it\smust\sbe|I\ssay|the|option|choice)\b[\W_]{0,4}){0,2}"
)

_NEAR = 40
_DENIED_BEFORE = re.compile(
    r"(?:\bnot|n[’']t|\bnever|\bneither|\bnor|\b(?:rul|eliminat|exclud|discard)\w{1,4}(?:\sout)?"
    r"|\brather than|\bthan|\binstead of|\bno longer|\bexcept)(?:\s(?:be|is|the|option|choice|answer)\b){0,3}"
    r"[\s(\[*\"“'$]{0,4}$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[)\]}*\"”'\s]{0,4}(?:(?:is|are|was|seems|looks|must be|would be|can be)\s"
    r"(?:\w{1,9}ly\s|also\s|thus\s|the\s)?"
    r"(?:not|wrong|incorrect|false|out|ruled|eliminated|excluded|impossible|invalid|less)\b"
    r"|\w{2,6}n[’']t\b|cannot\b|can[’']t\b|fails?\b|(?:does|do|did|can|could|would) not\b)",
    re.IGNORECASE,
)
_ARTICLE = re.compile(
    r"\s(?!(?:is|was|because|since|as|and|or|but|for|it|he|she|they|we|the|this|that|there|if|in|when|unless|by"
    r"|with|which|seems|looks|must|would|should|due)\b)[a-z]"
)
"""What follows the "no" of "no evidence", or the "A" of "A man": these are no choices."""


class _Patterns(NamedTuple):
    """Hold where a choice may stand, from the surest place to the weakest."""

    begins: re.Pattern[str]
    bracketed: re.Pattern[str]
    named: re.Pattern[str]
    concluded: re.Pattern[str]
    praised: re.Pattern[str]
    alone: re.Pattern[str]
    leads: re.Pattern[str]
    standing: re.Pattern[str]
    anywhere: re.Pattern[str] | None
    joined_before: re.Pattern[str]
    joined_after: re.Pattern[str]


class _Undecided(Exception):
    """Say that a text names two choices where it should decide."""


def read_choice(text: str, choices: Sequence[str]) -> str | None:
    """Return the choice that a text decides for, as it is spelt in `choices`; None if it is not clear.

    What is announced ("The answer is (B)") counts first, the last line next, unless it begins a list, then
    the last one that is concluded ("so B"), praised ("B is right"), named ("option B"), at the last line's
    beginning, in brackets or bold, and of words the last one anywhere. What is denied ("not A", "A is wrong")
    never counts, and neither does "A or B". Case counts for single letters that stand among others: "a" is a
    word.
    """
    patterns = _patterns(tuple(choices))
    try:
        found = _announced(text, patterns) or _concluded(text, patterns)
    except _Undecided:
        return None
    if found is None:
        return None
    return next(choice for choice in choices if choice.strip().casefold() == found.casefold())


def _announced(text: str, patterns: _Patterns) -> str | None:
    for after, _, _ in announced(text):
        at_once = (pattern.match(after) for pattern in (patterns.begins, patterns.alone, patterns.leads))
        later = (patterns.concluded, patterns.named, patterns.bracketed, patterns.anywhere)
        matches = chain(filter(None, at_once), *(pattern.finditer(after) for pattern in later if pattern))
        if (match := next((match for match in matches if _sound(match, patterns)), None)) is not None:
            return match["choice"]
    return None


def _concluded(text: str, patterns: _Patterns) -> str | None:
    lines = [line for line in text.splitlines() if re.search(r"\w", line)]
    last = lines[-1] if lines else ""
    begins_a_list = len({match["choice"] for match in patterns.standing.finditer(last)}) > 1
    places = [(patterns.alone, last), *([] if begins_a_list else [(patterns.leads, last)])]
    places += [(pattern, text) for pattern in (patterns.concluded, patterns.praised, patterns.named)]
    places += [(patterns.leads, last), (patterns.bracketed, text)]
    places += [(patterns.anywhere, text)] if patterns.anywhere else []
    for pattern, where in places:
        backwards = reversed([*pattern.finditer(where)])
        if (match := next((match for match in backwards if _sound(match, patterns)), None)) is not None:
            return match["choice"]
    return None


def _sound(match: re.Match[str], patterns: _Patterns) -> bool:
    """Tell whether a choice is meant and not denied; raise `_Undecided` where it is one of two."""
    text, start, end = match.string, match.start("choice"), match.end("choice")
    before, after = text[max(0, start - _NEAR) : start], text[end : end + _NEAR]
    if _DENIED_BEFORE.search(before) or _DENIED_AFTER.match(after):
        return False
    if match["choice"].casefold() in ("a", "no") and _ARTICLE.match(after):
        return False
    if patterns.joined_after.match(after) or patterns.joined_before.search(before):
        raise _Undecided
    return True


@lru_cache(maxsize=64)
def _patterns(choices: tuple[str, ...]) -> _Patterns:
    words = sorted((choice.strip() for choice in choices), key=len, reverse=True)
    letters = all(len(word) == 1 for word in words)
    # "I think" is no choice: the letter stands in brackets or at an end.
    spelt = [
        rf"(?:(?<=[(\[{{*]){word}|{word}(?=\s*(?:[)\]}}.:*\"',;]|\n|\Z)))"
        if word in ("I", "i")
        else re.escape(word)
        for word in words
    ]
    either = "|".join(spelt)
    one = f"(?P<choice>{either})"
    strict = re.NOFLAG if letters else re.IGNORECASE
    any_case = re.IGNORECASE
    joint = r"(?:,?\s?\b(?i:and|or)\b|\s?[/&]" + (r"|,)" if letters else ")")
    return _Patterns(
        begins=re.compile(rf"{_BEFORE}{one}(?!\w|[’']\w)", strict),
        bracketed=re.compile(rf"(?:[(\[{{\"']|\*\*)\s?{one}\s?(?:[)\]}}\"']|[.:)]?\*\*)", any_case),
        named=re.compile(rf"(?i:\b(?:option|choice|answer)\b)[\W_]{{0,4}}{one}(?!\w|[’']\w)", strict),
        concluded=re.compile(
            rf"(?:{_CONCLUDES}|\b(?i:not)\b[\W_]{{1,4}}(?:{either})[\W_]{{1,4}}(?i:but)\b[\W_]{{1,4}}){one}(?!\w|[’']\w|\s?=)",
            strict,
        ),
        praised=re.compile(
            rf"(?<!\w){one}[)\]}}*\"'\s]{{0,4}}\s(?i:is|must\sbe)\s(?i:the\s)?(?i:correct|right|best|true|answer)\b",
            strict,
        ),
        alone=re.compile(rf"^[\W_]*{one}[\W_]*$", any_case),
        leads=re.compile(rf"^[\W_]*{one}\s?[).:]\s", any_case),
        standing=re.compile(rf"(?<!\w){one}(?!\w|[’']\w)", strict),
        anywhere=None if letters else re.compile(rf"(?<!\w){one}(?!\w)", any_case),
        joined_before=re.compile(
            rf"(?<!\w)(?:{either})[)\]}}*\"'\s]{{0,4}}{joint}[(\[*\"'\s]{{0,4}}$", strict
        ),
        joined_after=re.compile(
            rf"[)\]}}*\"'\s]{{0,4}}{joint}\s{{0,2}}(?i:or\s|and\s)?[(\[*\"']{{0,2}}(?:{either})(?!\w|[’'])",
            strict,
        ),
    )
