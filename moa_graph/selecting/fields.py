"""One field of the JSON that a model wrote: in a fence, with text round it, or broken at the end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["read_field"]

_WORK = 2_000_000
"""Characters that may be read in vain: `{"a":{"a":…` without an end would take quadratic time."""

_OBJECT = re.compile(r'\{\s*"|\[')
_DECODER = json.JSONDecoder(strict=False, parse_constant=str)
_MISSING = object()

_COMMANDS = {
    "t": "tan tanh tau tbinom text textbf textit textrm tfrac theta therefore tilde times to triangle"
    " triangleq triangleleft triangleright",
    "r": "rangle rbrace rceil rfloor rho right rightarrow rightleftharpoons rm root rVert rvert rtimes",
    "n": "nabla natural ne nearrow neg neq newline nexists ngeq nleq nmid not notin nparallel nsubseteq nu"
    " nwarrow",
}
_REST = {first: "|".join(word[1:] for word in words.split()) for first, words in _COMMANDS.items()}
_LOST_BACKSLASH = re.compile(
    r"[\f\b](?=[a-z])" + "".join(rf"|\{first}(?=(?:{rest})(?![a-z]))" for first, rest in _REST.items())
)
"""What JSON took for an escape, where the rest of a command of LaTeX follows."""
_LETTER = {"\f": "f", "\b": "b", "\t": "t", "\r": "r", "\n": "n"}


def read_field(text: str, steps: Sequence[str | int]) -> str | None:
    """Return the field that `steps` lead to in the last JSON object of a text that has it; None if none does.

    Text is returned as it is, anything else as JSON; null is None. Where no object can be read, the last
    `"name": value` with the last name of the path is taken, however broken the rest is.
    """
    found: Any = _MISSING
    for value in _values(text, only_objects=isinstance(steps[0], str)):
        inner = _follow(value, steps)
        found = found if inner is _MISSING else inner
    if found is _MISSING:
        return _forgiving(text, steps[-1])
    if found is None:
        return None
    written = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, sort_keys=True)
    return _with_backslashes(written)


def _values(text: str, *, only_objects: bool) -> Iterator[Any]:
    position, work = 0, 0
    while work < _WORK and (match := _OBJECT.search(text, position)) is not None:
        position = match.start() + 1
        if match[0] == "[" and only_objects:
            continue
        try:
            value, position = _DECODER.raw_decode(text, match.start())
        except json.JSONDecodeError as error:
            work += error.pos - match.start()
        except (RecursionError, ValueError):  # a number of more digits than Python converts
            work = _WORK
        else:
            yield value


def _follow(value: Any, steps: Sequence[str | int]) -> Any:
    for step in steps:
        if isinstance(step, str):
            value = value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
        else:
            there = isinstance(value, list) and -len(value) <= step < len(value)
            value = value[step] if there else _MISSING
    return value


def _forgiving(text: str, name: str | int) -> str | None:
    if isinstance(name, int):
        return None
    keys = list(re.finditer(rf"[\"']?(?<!\w){re.escape(name)}[\"']?\s{{0,20}}:\s{{0,20}}", text))
    return _value_at(text, keys[-1].end()) if keys else None


_QUOTED = re.compile(r"(?P<quote>[\"'])(?P<inner>(?:\\.|(?!(?P=quote)\s*(?:[,}\]]|$))[^\\])*)", re.DOTALL)
_BARE = re.compile(r"[^\n,}\]]*")


def _value_at(text: str, start: int) -> str | None:
    """Return the value that begins there: quoted up to a quote that ends it, or bare up to a comma."""
    quoted = _QUOTED.match(text, start)
    if quoted is None:
        bare = _BARE.match(text, start)
        value = bare[0].strip() if bare else ""
        return None if value in ("", "null", "None") else value
    value = re.sub(r'\\(["\'/])', r"\1", quoted["inner"])
    return value.replace("\\\\", "\\").strip() or None


def _with_backslashes(text: str) -> str:
    r"""Return LaTeX whose single backslashes JSON took for escapes as it was meant: `\frac`, `\text`."""
    return _LOST_BACKSLASH.sub(lambda match: "\\" + _LETTER[match[0]], text)
