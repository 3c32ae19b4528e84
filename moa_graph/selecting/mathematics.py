"""Mathematical answers in LaTeX, written so that the usual spellings of one answer are one text.

The idea is that of the MATH benchmark (Hendrycks et al. 2021, arXiv 2103.03874): spacing, sizes of
delimiters and the short forms of fractions and roots do not count, nor do units of no measure; nothing is
evaluated but plain numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from moa_graph.selecting.marks import boxed, unmarked
from moa_graph.selecting.numbers import whole_number
from moa_graph.selecting.units import UNIT, unit_of

__all__ = ["canonical_mathematics", "same_mathematics"]

_LONGEST = 2_000
_INLINE = re.compile(
    r"(?<!\\)\$\$?([^$\n]{1,300}?)(?<!\\)\$\$?|\\\((.{1,300}?)\\\)|\\\[(.{1,300}?)\\\]", re.DOTALL
)
_UNICODE = str.maketrans(
    {
        "−": "-",
        "π": r"\pi ",
        "∞": r"\infty ",
        "\u222a": r"\cup ",
        "∩": r"\cap ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
    }
    | {"√": r"\sqrt", "×": r"\cdot ", "·": r"\cdot ", "°": "", "\u00a0": " ", "²": "^2", "³": "^3"}
)
_WORDS = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\s?\{([^{}]*)\}"


def _unit(match: re.Match[str]) -> str:
    return unit_of(match[1], match["power"] or "")


_REWRITES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(pattern), to)
    for pattern, to in (
        (r"\\(?:left|right|[bB]ig[glr]?|displaystyle|limits|quad|qquad)(?![A-Za-z])\.?|\\[,!;: ]|~", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\le(?:q|qslant)(?![A-Za-z])", r"\\le"),
        (r"\\ge(?:q|qslant)(?![A-Za-z])", r"\\ge"),
        (r"\\neq(?![A-Za-z])", r"\\ne"),
        (r"\\times(?![A-Za-z])", r"\\cdot"),
        (r"\^\s?(?:\{\s?\\circ\s?\}|\\circ)|\\degrees?(?![A-Za-z])|\\?%|\\\$", ""),
        (rf"(?<=[\d}}])\s?{_WORDS}(?P<power>\s?\^\s?\{{?\d\}}?)?\s?$", _unit),
        (rf"{_WORDS}", r"\1"),
        (
            r"(?<=\d)\s([A-Za-z]{2,20}(?:\s[A-Za-z]{2,20}){0,3}|[mgLsh])(?P<power>\s?\^\s?\{?\d\}?)?\s?$",
            _unit,
        ),
        (r"^\s?[A-Za-z](?:_\{?\w+\}?)?(?:\([a-z]\))?\s?(?:=|\\in(?![A-Za-z]))(?=[^=]+$)", ""),
        (r"\\frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s?(\{[^{}]*\})\s?(\d)", r"\\frac\1{\2}"),
        (r"\\frac\s?(\d)\s?(?=\{)", r"\\frac{\1}"),
        (r"\\sqrt\s?(\w)", r"\\sqrt{\1}"),
        (r"([\^_])\s?\{(\w)\}", r"\1\2"),
        (r"\s", ""),
        (r"(?<![\d.])\.(?=\d)", "0."),
    )
]


def canonical_mathematics(text: str) -> str | None:
    r"""Return a mathematical answer in canonical spelling; None where nothing is left.

    Of a sentence, what stands in its last `\boxed{}` is taken, else its last formula between dollars.
    Numbers are written as `canonical_number` writes them, so `\frac12`, `1/2` and `0.5` are the same. What is
    counted is left out ("12 apples"), what is measured is kept: 12 inches are not 12 feet.
    """
    text = unmarked(_formula(text[-_LONGEST:]).strip())
    if (number := whole_number(text.strip(" $").rstrip("."))) is not None:
        return number
    text = re.sub(r"[ \t\r\n]+", " ", text.translate(_UNICODE)).strip("*` ")
    listed = re.search(r",(?:\s|\\ )", text) is not None
    for pattern, to in _REWRITES:
        text = pattern.sub(to, text)
        if to == " ":
            text = re.sub(r" +", " ", text).strip()
    text = text.strip("$").rstrip(".,;:")
    while text.startswith("{") and text.endswith("}") and "{" not in text[1:-1]:
        text = text[1:-1]
    number = whole_number(text)
    if number is not None and listed:
        return text.replace(",", ", ")  # "1, 234" is two numbers
    return number or text or None


def same_mathematics(one: str, other: str) -> bool:
    """Tell whether two answers in canonical spelling are the same, if one may leave out the unit."""
    first, second = one.partition(UNIT), other.partition(UNIT)
    return one == other or (first[0] == second[0] and bool(first[2]) != bool(second[2]))


def _formula(text: str) -> str:
    inner = boxed(text)
    if inner is not None:
        return inner
    formulas = [next(group for group in match.groups() if group) for match in _INLINE.finditer(text)]
    return formulas[-1] if formulas else text
