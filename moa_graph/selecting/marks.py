r"""Where a text announces its answer: "The answer is", "Answer:", "####", `\boxed{}`."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

__all__ = ["Announced", "announced", "boxed", "last_of", "unmarked"]

Found = TypeVar("Found")

_LONGEST = 300
_MOST = 50
"""Announcements that are looked at, from the end: hostile texts have thousands."""

_MARK = re.compile(
    r"""
      (?P<boxed>\\f?boxed\b)
    | (?P<firm>\#\#\#\#(?=[ ]?\\?[$€£]?[-+]?\\?[$€£]?[\d.,/]{1,40}[ ]?\\?%?[ ]*$))  # else it is a heading
    | \b(?:answers?|(?:correct|right|best)\s(?:option|choice))\b
        (?: [^\n:=]{0,60}?(?:\bis\b|\bare\b|(?P<colon>[:=]))
          | \W{0,6}\n
          | (?=\s[-+$(]{0,3}\d)
        )
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_PREFIX = re.compile(
    r"(?:(?:so|thus|hence|therefore|and),?\s)?(?:(?:the|my|our|a)\s)?(?:(?:final|correct|right|best)\s)?"
    r"answer\W{0,3}(?:\s?(?:is|are)\b\W{0,3}|:)\s?",
    re.IGNORECASE,
)


class Announced(NamedTuple):
    """Hold what follows an announcement on its line; whether that must be an answer; where it ends."""

    text: str
    firm: bool
    end: int


def announced(text: str) -> Iterator[Announced]:
    """Yield what follows each announcement of an answer, the last one first.

    It is firm after a colon, after `####` and in a box: after "the answer is" there may be "helpful".
    """
    for mark in _last_marks(text):
        if mark["boxed"]:
            content = _braced(text, mark.end())
            if content is not None:
                yield Announced(content, firm=True, end=mark.end())
        else:
            after = _line(text, mark.end())
            yield Announced(after, firm=bool(mark["colon"] or mark["firm"]), end=mark.end())


def boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{}` of a text that is closed; None if there is none."""
    marks = (mark for mark in _last_marks(text) if mark["boxed"])
    return next((content for mark in marks if (content := _braced(text, mark.end())) is not None), None)


def last_of(found: Iterator[Found]) -> Found | None:
    """Return the last of what an iterator yields; None if it yields nothing."""
    return next(iter(deque(found, maxlen=1)), None)


def unmarked(line: str) -> str:
    """Return a line without the words that announce an answer, such as "The final answer is"."""
    match = _PREFIX.match(line)
    return line[match.end() :] if match else line


def _line(text: str, start: int) -> str:
    """Return the first line of text that begins there; of a long one whole words, lest a number is cut."""
    window = text[start : start + _LONGEST]
    line = window.lstrip(" \t\r\n*_\"'#>")
    first, broken, _ = line.partition("\n")
    whole = broken or start + len(window) == len(text)
    return first if whole or text[start + len(window)].isspace() else first.rpartition(" ")[0]


def _last_marks(text: str) -> list[re.Match[str]]:
    return list(deque(_MARK.finditer(text), maxlen=_MOST))[::-1]


def _braced(text: str, start: int) -> str | None:
    """Return what stands between the braces that open at `start`, or the one word there is without any."""
    window = text[start : start + _LONGEST].lstrip()
    if not window.startswith("{"):
        return window.split(maxsplit=1)[0].rstrip("$.") if window else None
    depth = 0
    for position, character in enumerate(window):
        escaped = position > 0 and window[position - 1] == "\\"
        depth += 0 if escaped else (character == "{") - (character == "}")
        if depth == 0:
            return window[1:position]
    return None
