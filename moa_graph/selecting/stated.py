"""The one number that a text states as its answer; nothing where that is several numbers, or a formula."""

from __future__ import annotations

import re

from moa_graph.selecting.marks import announced
from moa_graph.selecting.numbers import Number, last_number, numbers_in, tidied

__all__ = ["read_number", "stated_number"]

_LONGEST = 300
_SENTENCE = re.compile(r"[.;]\s|[.,;](?=\s?\")|,\s(?!\W{0,4}\d)|\s(?:because|since|when|where|which|but)\b")
_AFTER_NUMBER = re.compile(
    r"\s(?:for|with|out of|of|after|in|per|within|at|from|by|to get)\s|\s\((?![A-Za-z]\b)"
    r"|\s-{1,3}\s(?=[a-z]{2})"
)
_NEARLY = re.compile(r"≈|\\approx")
_RESULT = re.compile(r"=|\b(?:is|are|equals)\b|\bi\.\s?e\.,?|\bthat is,?")
_SEVERAL = re.compile(r"=[^=]*(?:\b(?:and|or)\b|,)[^=]*=")
_DELIMITERS = re.compile(
    r"\\[()\[\]]|(?<!\\)\$|\\left|\\right|\\(?:text|mathrm|textbf|mathbf)(?=\s?\{)|\*\*"
    r"|\^\s?\{?\s?\\circ\s?\}?|°"
)
_SPELT = re.compile(
    r"\b(?:root|logarithm|log|ln|sin|cos|tan|half|twice|double|sqrt|factorial|squared|cubed|plus|times|divided|mod"
    r"|modulo|choose|more than|less than|between)\b"
)
_FORMULA = re.compile(r"\\(?:d?frac|sqrt|pi|cdot|times|log|ln|sin|cos|tan|binom|infty|pm)(?![a-z])|[√π∞]")
_LEADING = re.compile(r"(?:[\w)}\]]\s?[-+*/^]|[*/^])\s?\(?$|\w\($")
_TRAILING = re.compile(
    r"(?:[}\)\]\s]*)(?:[*/^!]\s?[\w(\\]|\s?[-+]\s?(?:[b-zB-HJ-Z](?!\w)|[(\\]))"  # goes on with an operator
    r"|[^\W\d_]\w*\d"  # such as 0x1F
    r"|\s?(?![mghslLVWJNKCF](?!\w))(?!\s[aAI]\s)[A-Za-z](?![\w'’.])(?!\")"  # a variable, not a unit
    r"|\s?(?:[ijkxyznabc])(?!\w)"
)


def read_number(text: str) -> str | None:
    """Return the number that is announced last, else the last one; None where it is not clear.

    None, too, where "Answer: infinitely many" is all that is announced, whatever numbers stand before.
    """
    text = tidied(text)
    for after in announced(text):
        clear, number = _stated(after.text)
        if number is not None or not clear:
            return number
        if (
            after.firm
            and re.search(r"[^\W_]", after.text)
            and next(numbers_in(text[after.end :]), None) is None
        ):
            return None
    return last_number(text)


def stated_number(text: str) -> str | None:
    """Return the number that a text of its own states, such as a gold answer; None if it is unclear."""
    long = len(text) > _LONGEST or "\n" in text.strip()
    if long or next(announced(text), None) is not None:
        return read_number(text)
    return _stated(tidied(text))[1]


def _stated(text: str) -> tuple[bool, str | None]:
    """Return whether a text is clear, and the one number in it: of "3 + 4 = 7, for 2 people" that is 7."""
    text = _DELIMITERS.sub(" ", text).strip()
    sentence = _SENTENCE.split(text, maxsplit=1)[0]
    numbers = False
    for part in (sentence, text):
        for narrowed in _narrowed(part):
            found = [*numbers_in(narrowed)]
            numbers |= bool(found)
            if found and (number := _only(narrowed, found)) is not None:
                return True, number
        if numbers:
            break
    else:
        return True, None
    explained = _RESULT.split(text)  # "5 more than 7, i.e. 12"
    if len(explained) > 1 and part is sentence and not _SEVERAL.search(text):
        last = _narrow(explained[-1])
        if (number := _only(last, [*numbers_in(last)])) is not None:
            return True, number
    return False, None


def _narrowed(part: str) -> list[str]:
    """Return what stands behind the last sign of equality, in the order in which it should be tried."""
    if _SEVERAL.search(part):
        return [part]
    pieces = _RESULT.split(part)
    tried = (each for piece in (part, *pieces[:0:-1]) for each in (piece, *_NEARLY.split(piece)))
    return [_narrow(each) for each in dict.fromkeys(tried)]


def _narrow(part: str) -> str:
    """Return a part without what is said about its first number: "17 (see step 3)", "9 of 12"."""
    first = next(numbers_in(part), None)
    cut = _AFTER_NUMBER.search(part, first.end) if first is not None else None
    return part[: cut.start()] if cut else part


def _only(part: str, found: list[Number]) -> str | None:
    """Return the value that all numbers of a part have, if it is no formula and no tuple."""
    if len({number.value for number in found}) != 1 or part.count("(") > part.count(")"):
        return None
    if _SPELT.search(part) or part.count("[") > part.count("]"):
        return None
    for number in found:
        before, after = part[: number.start], part[number.end :]
        if _FORMULA.search(before) or _FORMULA.search(after):
            return None
        if _LEADING.search(before) or _TRAILING.match(after) or _operator(part, number):
            return None
    return found[0].value


def _operator(part: str, number: Number) -> bool:
    """Tell whether the sign of a number is an operator, as in "A - 1"."""
    return re.match(r"[-+]\s", part[number.start :]) is not None and bool(part[: number.start].strip())
