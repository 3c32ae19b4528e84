"""The kinds of single values in a spec, and what all its classes share."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.json_schema import WithJsonSchema

__all__ = [
    "LIST",
    "MAPPING",
    "NUMBER",
    "SHAPES",
    "WORD",
    "Attempts",
    "Duration",
    "Name",
    "Strict",
    "Temperature",
    "Text",
    "Tokens",
    "parse_duration",
    "shape_of",
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s{0,9}(ms|s|m|h)")
_LONGEST_DURATION = 7 * 24 * 3600


def parse_duration(value: Any) -> float:
    """Read `30s`, `500ms`, `2m`, `1h` or a number of seconds; return seconds.

    Raises ValueError for anything else, for zero and for negative values.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("not a duration such as 30s, 500ms, 2m, or a number of seconds")
        value = float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(  # noqa: TRY004  (pydantic turns only a ValueError into a fault)
            "not a duration such as 30s, 500ms, 2m, or a number of seconds"
        )
    if not 0 < value <= _LONGEST_DURATION:
        raise ValueError("a duration must be longer than 0 and at most 7 days")
    return float(value)


def _write_duration(seconds: float) -> float | str:
    return f"{seconds:.0f}s" if seconds == int(seconds) else seconds


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(_write_duration, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": _LONGEST_DURATION},
                {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?\s{0,9}(ms|s|m|h)$"},
            ],
            "description": "A duration: 30s, 500ms, 2m, 1h, or a number of seconds.",
        }
    ),
]

_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=_NAME_PATTERN)]
"""A name of a slot, layer or proposer: letters, digits, `.`, `_`, `-`; never `/` or `:`."""


Temperature = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
Attempts = Annotated[int, Field(ge=1, le=20)]
Tokens = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """Refuse unknown keys and other types than those that are said; never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


WORD, NUMBER, LIST, MAPPING = "<word>", "<number>", "<list>", "<mapping>"
SHAPES = frozenset({WORD, NUMBER, LIST, MAPPING})
"""Tags of values that may have one of several shapes; pydantic puts them into the places of faults."""


def shape_of(value: Any) -> str | None:
    """Return the tag of a value's shape, None for what has none of them."""
    if isinstance(value, str):
        return WORD
    if isinstance(value, list | tuple):
        return LIST
    if isinstance(value, dict | BaseModel):
        return MAPPING
    return NUMBER if isinstance(value, int | float) and not isinstance(value, bool) else None
