"""Read one line of an exported thread as JSON, strictly: the file may be anybody's."""

from __future__ import annotations

import json
from typing import Any, NoReturn

__all__ = ["Refused", "parse_line"]

_MAX_DEPTH = 64
_MAX_NUMBER = 2**53


class Refused(ValueError):
    """Say what is wrong with a line."""


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line; raise Refused for what is none, or what no store could hold."""
    try:
        data = json.loads(
            line.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_number,
            parse_int=_integer,
            parse_float=_float,
        )
    except Refused:
        raise
    except UnicodeDecodeError:
        raise Refused("this is not UTF-8") from None
    except RecursionError:
        raise Refused("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Refused(f"this is no JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise Refused('a line is a JSON object with a "type"')
    _check_plain(data)
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Refused(f"the key {twice[:40]!r} stands there twice")
    return data


def _no_number(text: str) -> NoReturn:
    raise Refused(f"{text} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > _MAX_NUMBER:
        raise Refused("a number is too large")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
        raise Refused("a number is too large")
    return value


def _check_plain(data: Any) -> None:
    """Refuse what no store could hold: deep nesting, NUL, lone surrogates."""
    level: list[Any] = [data]
    for _ in range(_MAX_DEPTH):
        following: list[Any] = []
        for value in level:
            if isinstance(value, str):
                if "\0" in value or not _is_unicode(value):
                    raise Refused("a text holds NUL or half a surrogate pair")
            elif isinstance(value, dict):
                following += [*value, *value.values()]
            elif isinstance(value, list):
                following += value
        if not following:
            return
        level = following
    raise Refused("nested too deeply")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
