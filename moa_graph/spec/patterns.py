"""Regular expressions in a spec: refused where a search could take for ever, and measured for the search."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from functools import lru_cache

__all__ = ["LONGEST_PATTERN", "Shape", "pattern_problem", "shape_of"]

LONGEST_PATTERN = 300
_MOST_REPETITIONS = 8
_MOST_WAYS = 4_000
_FEW = 10
"""A repetition with a bound below is so many ways; any other is one without a bound."""

_ANY = "[\\s\\S]"
_NO_WIDTH = {"^", "$", r"\b", r"\B", r"\A", r"\Z"}
_VERBOSE_OR_COMMENT = re.compile(r"\(\?(?:#|[a-z]*x)")
_TOKEN = re.compile(
    r"""
      (?P<flags>\(\?[a-zA-Z]+\))
    | (?P<back>\\[1-9]|\(\?P=\w+\))
    | (?P<open>\((?:\?(?:P<\w+>|<?[=!]|[:>]|[a-zA-Z-]+:|\(\w+\)))?)
    | (?P<close>\))
    | (?P<either>\|)
    | (?P<repeat>(?:[*+?]|\{(?:(?P<times>\d+)|(?P<least>\d*),(?P<most>\d*))\})[?+]?)
    | (?P<atom>\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|0[0-7]{1,2}|.)
        |\[\^?\]?(?:\\.|[^\]\\])*\]|.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Shape:
    """Hold what bounds the time of a search.

    `ways` is how many there are through alternatives and optional pieces; `repeated` has a pattern of the
    single characters that each repetition without a bound can go over; `head` is of fixed length, and
    whatever matches begins with it.
    """

    ways: int
    repeated: tuple[str, ...]
    head: str


@dataclass
class _Group:
    """Hold what was read of a group: whether it can match one text in several ways, and its last piece."""

    varies: bool = False
    last_varies: bool = False
    branches: int = 1
    atoms: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)


def pattern_problem(pattern: str) -> str:
    """Say why a regular expression cannot stand in a spec; empty when it can.

    Python's search goes back and tries again, and nothing interrupts it. Whatever can take exponential time
    is refused: a repetition of what repeats, has alternatives or refers back, and thousands of ways through
    alternatives and optional pieces. What is left takes polynomial time: those who search bound the text by
    its `Shape`.
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
    reader = _Reader()
    reader.read(pattern)
    return reader.problem


@lru_cache(maxsize=64)
def shape_of(pattern: str) -> Shape:
    """Return what bounds the time of a search for a pattern that `pattern_problem` lets pass."""
    reader = _Reader()
    reader.read(pattern)
    return Shape(reader.ways, tuple(reader.repeated), "" if reader.groups[0].branches > 1 else reader.head)


class _Reader:
    """Read a regular expression from left to right, without nesting: all that counts adds up."""

    def __init__(self) -> None:
        self.groups = [_Group()]
        self.ways = 1
        self.repeated: list[str] = []
        self.head = ""
        self._in_head = True
        self._nested = False

    @property
    def problem(self) -> str:
        if self._nested:
            return "a repetition of what repeats or has alternatives can take for ever to search"
        if len(self.repeated) > _MOST_REPETITIONS:
            return f"more than {_MOST_REPETITIONS} repetitions"
        if self.ways > _MOST_WAYS:
            return f"more than {_MOST_WAYS:,} ways through its alternatives can take for ever to search"
        return ""

    def read(self, pattern: str) -> None:
        for token in _TOKEN.finditer(pattern):
            match token.lastgroup:
                case "flags":
                    pass
                case "repeat":
                    self._repeat(token)
                case "atom":
                    self._atom(token, pattern)
                case other:
                    self._in_head = False
                    self._structure(other)

    def _structure(self, kind: str | None) -> None:
        group = self.groups[-1]
        match kind:
            case "open":
                self.groups.append(_Group())
            case "close":
                self.groups.pop()
                self.ways *= group.branches
                outer = self.groups[-1]
                outer.last_varies, outer.last = group.varies, group.atoms
                outer.varies |= group.varies
                outer.atoms += group.atoms
            case "either":
                group.varies = True
                group.branches += 1
            case _:  # what it refers back to may be as long as the text
                group.last_varies = group.varies = True
                group.last = [_ANY]
                group.atoms.append(_ANY)
                self.repeated.append(_ANY)

    def _atom(self, token: re.Match[str], pattern: str) -> None:
        group, atom = self.groups[-1], token[0]
        group.last_varies = False
        group.last = [] if atom in _NO_WIDTH else [atom]
        group.atoms += group.last
        following = _TOKEN.match(pattern, token.end())
        repeat = following if following is not None and following.lastgroup == "repeat" else None
        if self._in_head and (repeat is None or repeat[0].startswith("+")):
            self.head += atom
        self._in_head &= repeat is None

    def _repeat(self, token: re.Match[str]) -> None:
        group, optional = self.groups[-1], token[0].startswith("?")
        if group.last_varies and not optional and token["times"] not in ("0", "1"):
            self._nested = True
        if token["times"] is not None:
            return
        group.last_varies = group.varies = True
        span = int(token["most"] or 0) - int(token["least"] or 0)
        if optional or 0 < span < _FEW:
            self.ways *= 2 if optional else span + 1
        else:
            self.repeated.append(f"(?:{'|'.join(dict.fromkeys(group.last))})" if group.last else _ANY)
