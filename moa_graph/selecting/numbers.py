"""Numbers in texts that models write: LaTeX fractions, thousands, currencies, powers of ten."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterator
from decimal import Context, Decimal
from fractions import Fraction
from typing import NamedTuple

__all__ = ["Number", "canonical_number", "last_number", "numbers_in", "tidied", "whole_number"]

_DIGITS = 12
"""Significant digits that count in a number that is not whole: floats of different origin differ beyond."""

_LONGEST = 300
_MOST_BITS = 4_000
_MOST_TENS = 400
"""Powers beyond are not read: they take long to compute, and Python refuses to write them."""

_MOST = 50
_TIDY = str.maketrans(
    {"−": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "×": "*", "·": "*", "\u2044": "/"}
)
_SPACING = re.compile(r"\{,\}|(?<=\d),\\!\s?(?=\d)|(?<=\d)\\[,!;:](?=\d)")
_RAISED = re.compile(r"[⁺⁻]?[⁰¹²³⁴-⁹]{1,9}")
_SPLIT = re.compile(r"[¼-¾⅐-⅞]")

_CURRENCY = re.compile(r"^\\?[$€£]\s?|\s?\\?[$€£%]$")

_FEW = rf"\d{{1,{_LONGEST}}}"
_PLAIN = (
    rf"(?:[1-9]\d{{0,2}}(?P<apart>[ '’])\d{{3}}(?:(?P=apart)\d{{3}}){{0,99}}(?![\d,/]|\.\d{{1,9}}[,.]\d)"
    rf"|\d{{1,3}}(?:,\d{{3}}){{1,99}}(?!\d)|{_FEW}(?!\d))(?:\.{_FEW})?|\.{_FEW}"
)
_WORDS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_WORD = "|".join(_WORDS)
_NUMBER = re.compile(
    rf"""
    (?<![A-Za-z_^.\d])(?<![_^]\{{)                      # neither within a word, nor an index or an exponent
    (?P<sign>(?<![\w)\]}}])[-+]\s?\\?[$€£]?\s?|(?i:(?:minus|negative)\s\\?[$€£]?))?
    (?:
        (?P<whole>\d{{1,9}})?\s?\\[dtc]?frac\s?(?:\{{\s?(?P<over>-?\d{{1,30}})\s?\}}|(?P<over1>\d))
            \s?(?:\{{\s?(?P<under>\d{{1,30}})\s?\}}|(?P<under1>\d))
      | \d{{1,4}}(?:/\d{{1,4}}){{2,9}}                      # a date
      | (?P<mixed>\d{{1,9}})[ ](?P<part>\d{{1,9}})/(?P<parts>\d{{1,9}})(?![\d/.])
      | (?P<unclear>
            (?: 0,\d | \d{{1,40}}(?:[.,]\d{{1,40}}){{0,40}}(?:,(?!\d{{3}}(?!\d))\d|\.\d{{1,40}}[.,]\d) )
            [\d.,]{{0,99}}(?<=\d)
        )
      | (?P<plain>{_PLAIN})
        (?: [eE](?P<exponent>[-+]?\d{{1,3}})(?!\w)
          | \s?(?:\*|\\times|\\cdot)\s?10\s?\^\s?\{{?(?P<ten>[-+]?\d{{1,3}})(?!\d)\}}?
          | \s?\^\s?\{{?(?P<power>-?\d{{1,2}})(?!\d)\}}?
          | \s?/\s?(?P<divisor>\d{{1,30}})(?![\d/.])
          | (?P<words>(?:[ ](?i:{_WORD})s?\b){{1,3}})
        )?
    )
    """,
    re.VERBOSE,
)
_NEGATED = re.compile(
    r"(?:\bnot|n['’]t|\bno longer|\bnever|\brather than|\binstead of)[\s$\\(*]{1,4}$", re.IGNORECASE
)


class Number(NamedTuple):
    """Hold where a number stands in a tidied text, and its canonical form: None where it cannot be read."""

    value: str | None
    start: int
    end: int


def numbers_in(text: str) -> Iterator[Number]:
    """Yield the numbers of a tidied text in order, each in canonical form; "not 12" holds none.

    None is the value of what may be read in several ways ("3,14") or is no number (`1/0`, a huge power).
    """
    return (_read(match) for match in _NUMBER.finditer(text) if not _negated(match))


def last_number(text: str) -> str | None:
    """Return the last number of a text; None if there is none, or it may be read in several ways."""
    matches = deque(_NUMBER.finditer(tidied(text)), maxlen=_MOST)
    while matches:
        match = matches.pop()
        number = _read(match)
        if not _negated(match) and (number.value is not None or match["unclear"]):
            return number.value
    return None


def whole_number(text: str) -> str | None:
    """Return the canonical form of a text that is one number and nothing else, with or without currency."""
    match = _NUMBER.fullmatch(_CURRENCY.sub("", tidied(text).strip()))
    return _read(match).value if match else None


def canonical_number(value: Fraction) -> str:
    """Write a number so that equal numbers are equal texts: whole ones exactly, others to 12 digits.

    `1/2`, `0.50` and `.5` are `0.5`; `55/6` and `9.166666666666666` are `9.16666666667`.
    """
    if value.denominator == 1:
        return str(value.numerator)
    whole = len(str(abs(value.numerator) // value.denominator))
    context = Context(prec=max(_DIGITS, whole + 1))
    rounded = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    written = f"{rounded:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def tidied(text: str) -> str:
    """Return a text with one spelling of minus signs, spaces, superscripts and fractions such as ½."""
    text = _RAISED.sub(lambda raised: f"^{{{unicodedata.normalize('NFKC', raised[0])}}}", text)
    text = _SPLIT.sub(lambda split: f" {unicodedata.normalize('NFKC', split[0])}", text).translate(_TIDY)
    return _SPACING.sub(lambda match: "," if "," in match[0][:2] and match[0] != "\\," else "", text)


def _negated(match: re.Match[str]) -> bool:
    return _NEGATED.search(match.string, max(0, match.start() - 20), match.start()) is not None


def _read(match: re.Match[str]) -> Number:
    value = _value(match)
    return Number(None if value is None else canonical_number(value), match.start(), match.end())


def _value(match: re.Match[str]) -> Fraction | None:
    over = match["over"] or match["over1"] or match["part"]
    under = match["under"] or match["under1"] or match["parts"] or match["divisor"]
    if (under is not None and int(under) == 0) or (over is None and match["plain"] is None):
        return None
    value: Fraction | None
    if over is not None:
        if match["mixed"] and int(over) >= int(under):
            return None
        value = int(match["whole"] or match["mixed"] or 0) + Fraction(int(over), int(under))
    else:
        value = _scaled(Fraction(re.sub("[ ,'’]", "", match["plain"])) / int(under or 1), match)
    return -value if value is not None and match["sign"] and match["sign"][0] != "+" else value


def _scaled(value: Fraction, match: re.Match[str]) -> Fraction | None:
    """Return a value with its power, or its power of ten; None for what is too big to be an answer."""
    tens = int(match["exponent"] or match["ten"] or 0)
    if match["words"]:
        tens = sum(_WORDS[word.casefold().rstrip("s")] for word in match["words"].split())
    if abs(tens) > _MOST_TENS:
        return None
    value *= Fraction(10) ** tens
    if match["power"] is None:
        return value
    power = int(match["power"])
    bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    return None if value == 0 or bits * abs(power) > _MOST_BITS else value**power
