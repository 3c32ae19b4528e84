"""Regular expressions in a spec: refused where a search could take for ever."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

__all__ = ["LONGEST_PATTERN", "pattern_problem"]

LONGEST_PATTERN = 300
_MOST_REPETITIONS = 8
_VERBOSE_OR_COMMENT = re.compile(r"\(\?(?:#|[a-z]*x)")
_TOKEN = re.compile(
    r"""
      (?P<flags>\(\?[a-zA-Z]+\))
    | (?P<back>\\[1-9]|\(\?P=\w+\))
    | (?P<open>\((?:\?(?:P<\w+>|<?[=!]|[:>]|[a-zA-Z-]+:|\(\w+\)))?)
    | (?P<close>\))
    | (?P<either>\|)
    | (?P<repeat>(?:[*+?]|\{(?:(?P<times>\d+)|\d*,\d*)\})[?+]?)
    | (?P<atom>\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass
class _Group:
    """Hold whether what was read can match one text in several ways: all of a group, and its last piece."""

    varies: bool = False
    last_varies: bool = False


def pattern_problem(pattern: str) -> str:
    """Say why a regular expression cannot stand in a spec; empty when it can.

    Python's search goes back and tries again, and nothing interrupts it. Whatever can take exponential time
    is refused: a repetition of what repeats, has alternatives or refers back. What is left takes polynomial
    time, so those who search bound the text as well.
    """
    if len(pattern) > LONGEST_PATTERN:
        return f"longer than {LONGEST_PATTERN} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set" and the like: it compiles all the same
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"not a regular expression: {error}"
    if _VERBOSE_OR_COMMENT.search(pattern):
        return "verbose patterns and comments are not read here"
    return _explosion(pattern)


def _explosion(pattern: str) -> str:
    groups = [_Group()]
    repetitions = 0
    for token in _TOKEN.finditer(pattern):
        group = groups[-1]
        match token.lastgroup:
            case "open":
                groups.append(_Group())
            case "close":
                inner = groups.pop()
                groups[-1].last_varies = inner.varies
                groups[-1].varies |= inner.varies
            case "either":
                group.varies = True
            case "repeat":
                optional = token[0].startswith("?")
                if group.last_varies and not optional and token["times"] not in ("0", "1"):
                    return "a repetition of what repeats or has alternatives can take for ever to search"
                varies = token["times"] is None
                group.last_varies |= varies
                group.varies |= varies
                repetitions += varies and not optional
            case "back":
                group.last_varies = group.varies = True
            case _:
                group.last_varies = False
    return f"more than {_MOST_REPETITIONS} repetitions" if repetitions > _MOST_REPETITIONS else ""
