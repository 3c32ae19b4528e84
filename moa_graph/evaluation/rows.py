"""The rows of a dataset's file (JSONL, JSON, CSV or Parquet), each with the place where it stands."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from moa_graph.errors import MoAError
from moa_graph.extras import needing

__all__ = ["Found", "Row", "read_rows", "refuse"]

Row = tuple[str, Mapping[str, Any]]
"""A row's place, such as `questions.jsonl:7`, and its fields."""

Found = Row | str
"""A row, or a fault as a line that begins with its place."""

_Reader = Callable[[Path], Iterator[Found]]

_SHOWN_FAULTS = 20
_LONG_NUMBER = "it holds a whole number with more digits than can be read; write it as a text"


def read_rows(path: Path) -> list[Found]:
    """Read a dataset's file, faults standing where their rows would; its suffix says what it is.

    Raises MoAError for a file that cannot be read at all or has no rows, ModelNotReady for Parquet without
    the extra `eval`.
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
    if not found:
        raise MoAError(f"{path}: there are no rows in it")
    return found


def refuse(faults: Sequence[str], hint: str = "Nothing was asked.") -> None:
    """Raise MoAError if there are faults; the first ones are shown, the others counted."""
    if faults:
        rest = len(faults) - _SHOWN_FAULTS
        more = [f"… and {rest} more"] if rest > 0 else []
        raise MoAError("\n".join([*faults[:_SHOWN_FAULTS], *more]), hint=hint)


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MoAError(f"{path}:{line}: not UTF-8 text", hint="Nothing was asked.") from error


def _jsonl(path: Path) -> Iterator[Found]:
    # Not splitlines: a text inside JSON may hold U+2028 as it is.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            yield _object(line, f"{path}:{number}")


def _object(line: str, place: str) -> Found:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return f"{place}: not JSON: {error.msg} (column {error.colno})"
    except ValueError:
        return f"{place}: {_LONG_NUMBER}"
    except RecursionError:
        return f"{place}: nested too deeply"
    return (place, value) if isinstance(value, dict) else f"{place}: not a JSON object"


def _json(path: Path) -> Iterator[Found]:
    try:
        values = json.loads(_text(path))
    except json.JSONDecodeError as error:
        yield f"{path}:{error.lineno}: not JSON: {error.msg} (column {error.colno})"
        return
    except ValueError:
        yield f"{path}: {_LONG_NUMBER}"
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


def _csv(path: Path) -> Iterator[Found]:
    header: list[str] | None = None
    for place, cells in _cells(path, _text(path)):
        if isinstance(cells, str):
            yield f"{place}: {cells}"
        elif header is None:
            header = cells
            if len(set(header)) < len(header) or "" in header:
                yield f"{place}: the first line must name every column, each by a name of its own"
                return
        elif len(cells) != len(header):
            yield f"{place}: {len(cells)} cells, but there are {len(header)} columns"
        else:
            yield place, dict(zip(header, cells, strict=True))


def _cells(path: Path, text: str) -> Iterator[tuple[str, list[str] | str]]:
    """Yield the place and the cells of every line that is not empty; a text is what is wrong with it."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    # The limit is the module's own, for all readers: it is lifted as long as this one reads.
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    begins = 1
    try:
        while True:
            try:
                cells: list[str] | str = next(reader)
            except StopIteration:
                return
            except csv.Error as error:  # the reader goes on with the next line
                cells = str(error)
            place, begins = f"{path}:{begins}", reader.line_num + 1
            if cells:
                yield place, cells
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path) -> Iterator[Found]:
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


_READERS: dict[str, _Reader] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
