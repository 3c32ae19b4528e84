"""Plain YAML scalars, as the core schema of YAML 1.2 reads them: no dates, no yes and no, no octal 017."""

from __future__ import annotations

import re

__all__ = ["read_scalar"]

_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 40
"""Characters; Python refuses to read whole numbers of thousands of digits, and nobody writes them."""


def read_scalar(text: str) -> str | int | float | bool | None:
    """Return the value of a scalar without quotes; raise ValueError for a number that is too large.

    Infinity and NaN are returned as floats: the caller refuses them.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if not _WHOLE.fullmatch(text) and not _BASED.fullmatch(text):
        return float(text) if _FLOAT.fullmatch(text) else text
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("a whole number that is too large")
    return int(text, 0) if _BASED.fullmatch(text) else int(text)
