"""Numbers in texts that models write: LaTeX fractions, thousands, currencies, powers of ten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Context, Decimal
from fractions import Fraction

__all__ = ["canonical_number", "numbers_in", "whole_number"]

_DIGITS = 12
"""Significant digits that count in a number that is not whole: floats of different origin differ beyond."""

_LONGEST = 300
_TIDY = str.maketrans({"−": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "×": "*", "·": "*"})
_SPACING = re.compile(r"\{,\}|(?<=\d)\\[,!;:](?=\d)")

_CURRENCY = re.compile(r"^\\?[$€£]\s?|\s?\\?[$€£%]$")

_FEW = rf"\d{{1,{_LONGEST}}}"
_PLAIN = rf"(?:\d{{1,3}}(?:,\d{{3}}){{1,99}}(?!\d)|{_FEW}(?!\d))(?:\.{_FEW})?|\.{_FEW}"
_NUMBER = re.compile(
    rf"""
    (?<![A-Za-z_^.\d])(?<![_^]\{{)                      # neither within a word, nor an index or an exponent
    (?P<sign>(?<![\w)\]}}])[-+]\s?\\?[$€£]?\s?)?
    (?:
        (?P<whole>\d{{1,9}})?\s?\\[dtc]?frac\s?(?:\{{\s?(?P<over>-?\d{{1,30}})\s?\}}|(?P<over1>\d))
            \s?(?:\{{\s?(?P<under>\d{{1,30}})\s?\}}|(?P<under1>\d))
      | \d{{1,4}}(?:/\d{{1,4}}){{2,9}}                      # a date
      | (?P<plain>{_PLAIN})
        (?: [eE](?P<exponent>[-+]?\d{{1,3}})(?!\w)
          | \s?(?:\*|\\times|\\cdot)\s?10\s?\^\s?\{{?(?P<ten>[-+]?\d{{1,3}})(?!\d)\}}?
          | \s?\^\s?\{{?(?P<power>-?\d{{1,2}})(?!\d)\}}?
          | \s?/\s?(?P<divisor>\d{{1,30}})(?![\d/.])
        )?
    )
    """,
    re.VERBOSE,
)


def numbers_in(text: str) -> Iterator[str]:
    """Yield the numbers of a text in order, each in its canonical form (see `canonical_number`)."""
    for match in _NUMBER.finditer(_tidy(text)):
        value = _value(match)
        if value is not None:
            yield canonical_number(value)


def whole_number(text: str) -> str | None:
    """Return the canonical form of a text that is one number and nothing else, with or without currency."""
    match = _NUMBER.fullmatch(_CURRENCY.sub("", _tidy(text).strip()))
    value = _value(match) if match else None
    return None if value is None else canonical_number(value)


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


def _tidy(text: str) -> str:
    text = text.translate(_TIDY)
    return _SPACING.sub(lambda match: "," if match[0] == "{,}" else "", text)


def _value(match: re.Match[str]) -> Fraction | None:
    over, under = match["over"] or match["over1"], match["under"] or match["under1"] or match["divisor"]
    if under is not None and int(under) == 0:
        return None
    if over is None and match["plain"] is None:
        return None
    if over is not None:
        value = int(match["whole"] or 0) + Fraction(int(over), int(under))
    else:
        value = Fraction(match["plain"].replace(",", ""))
        value *= Fraction(10) ** int(match["exponent"] or match["ten"] or 0)
        if match["power"] is not None:
            if value == 0:
                return None
            value **= int(match["power"])
        value /= int(under or 1)
    return -value if (match["sign"] or "").startswith("-") else value
