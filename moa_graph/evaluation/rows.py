"""The rows of a dataset's file (JSONL, JSON, CSV or Parquet), each with the place where it stands."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from moa_graph.errors import MoAError
from moa_graph.extras import needing

__all__ = ["Row", "read_rows", "refuse"]

Row = tuple[str, Mapping[str, Any]]
"""A row's place, such as `questions.jsonl:7`, and its fields."""

_Found = Iterator[Row | str]
"""Rows, and faults as lines that begin with their place."""

_SHOWN_FAULTS = 20


def read_rows(path: Path) -> list[Row]:
    """Read a dataset's file; its suffix says what it is.

    Raises MoAError with file:line of every fault, ModelNotReady for Parquet without the extra `eval`.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise MoAError(
            f"{path}: its suffix does not say what it is", hint=f"Use one of {', '.join(_READERS)}."
        )
    try:
        found = list(reader(path))
    except OSError as error:
        raise MoAError(f"{path}: cannot be read: {error.strerror or error}") from error
    refuse([fault for fault in found if isinstance(fault, str)])
    if not found:
        raise MoAError(f"{path}: there are no rows in it")
    return [row for row in found if not isinstance(row, str)]


def refuse(faults: list[str]) -> None:
    """Raise MoAError if there are faults; the first ones are shown, the others counted."""
    if faults:
        rest = len(faults) - _SHOWN_FAULTS
        more = [f"… and {rest} more"] if rest > 0 else []
        raise MoAError("\n".join([*faults[:_SHOWN_FAULTS], *more]), hint="Nothing was asked.")


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MoAError(f"{path}:{line}: not UTF-8 text", hint="Nothing was asked.") from error


def _jsonl(path: Path) -> _Found:
    # Not splitlines: a text inside JSON may hold U+2028 as it is.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            yield _object(line, f"{path}:{number}")


def _object(line: str, place: str) -> Row | str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"{place}: not JSON: {error.msg} (column {error.colno})"
    except RecursionError:
        return f"{place}: nested too deeply"
    return (place, value) if isinstance(value, dict) else f"{place}: not a JSON object"


def _json(path: Path) -> _Found:
    try:
        values = json.loads(_text(path))
    except json.JSONDecodeError as error:
        yield f"{path}:{error.lineno}: not JSON: {error.msg} (column {error.colno})"
        return
    except RecursionError:
        yield f"{path}: nested too deeply"
        return
    if not isinstance(values, list):
        yield f"{path}: not a list of JSON objects"
        return
    for number, value in enumerate(values, 1):
        place = f"{path}: item {number}"
        yield (place, value) if isinstance(value, dict) else f"{place}: not a JSON object"


def _csv(path: Path) -> _Found:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    begins = 1
    header: list[str] | None = None
    try:
        for cells in reader:
            place, begins = f"{path}:{begins}", reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = cells
                if len(set(header)) < len(header) or "" in header:
                    yield f"{place}: the first line must name every column, each by a name of its own"
                    return
            elif len(cells) != len(header):
                yield f"{place}: {len(cells)} cells, but there are {len(header)} columns"
            else:
                yield place, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        yield f"{path}:{begins}: {error}"


def _parquet(path: Path) -> _Found:
    with needing("eval"):
        import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415 -- no types; of an extra
        from pyarrow import parquet  # noqa: PLC0415 -- see above
    content = path.read_bytes()
    try:
        values = parquet.read_table(pa.BufferReader(content)).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        yield f"{path}: not a Parquet file that can be read: {error}"
        return
    for number, value in enumerate(values, 1):
        yield f"{path}: row {number}", value


_READERS: dict[str, Callable[[Path], _Found]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
