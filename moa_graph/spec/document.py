"""A document as plain data, with the place of every part and the faults found so far."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from moa_graph.errors import Fault
from moa_graph.spec.secrets import is_secret_value

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_ENTRIES",
    "Document",
    "Path",
    "Place",
    "Room",
    "Suggestions",
    "as_mapping",
    "as_sequence",
    "from_data",
    "scalar_problem",
    "show",
]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_ENTRIES = 10_000
"""Keys, scalars and collections in one document; more cannot be read within a second on a slow machine."""

Path = tuple[str | int, ...]
Place = tuple[int, int]

FORBIDDEN = re.compile(r"[\x00\ud800-\udfff]")
"""NUL and lone surrogates: databases refuse the one, UTF-8 the other."""


def write_path(path: Path) -> str:
    """Write a path as it is shown: `layers[0].proposers[2].model`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part) and not is_secret_value(part):
            text += f".{part}" if text else part
        else:
            text += f"[{show(part)}]"
    return text


def show(text: str) -> str:
    """Quote a text for a message: shortened, on one line, and never a secret."""
    if is_secret_value(text):
        return '"…"'
    return json.dumps(text if len(text) <= 60 else text[:59] + "…", ensure_ascii=not text.isprintable())


@dataclass
class Suggestions:
    """Count how many suggestions are left: nobody reads more of them, and looking for them takes long."""

    left: int = 50


class Room(NamedTuple):
    """Say how many bytes and entries a document has, or may have; one inside another shares its room."""

    bytes: int = MAX_BYTES
    entries: int = MAX_ENTRIES

    def without(self, taken: Room) -> Room:
        """Return what is left of it."""
        return Room(self.bytes - taken.bytes, self.entries - taken.entries)

    def holds(self, other: Room) -> bool:
        """Tell whether the other fits into it."""
        return other.bytes <= self.bytes and other.entries <= self.entries


@dataclass
class Document:
    """Hold the data of a spec, the (line, column) of its values and of its keys, and what is wrong with it.

    `spoiled` are the parts whose value is not to be judged further: one fault says it all.
    `complete` is False when reading stopped early; then nothing else can be said about the document.
    `bytes`, `entries` and `levels` are its size; those of documents inside it are added later.
    """

    file: str
    room: Room = field(default_factory=Room)
    suggestions: Suggestions = field(default_factory=Suggestions)
    data: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    faults: dict[tuple[Path, Fault], None] = field(default_factory=dict)
    spoiled: set[Path] = field(default_factory=set)
    complete: bool = True
    bytes: int = 0
    entries: int = 0
    levels: int = 0
    _faulted: set[Path] = field(default_factory=set)
    _order: dict[Path, int] = field(default_factory=dict)

    def put(self, path: Path, place: Place | None = None) -> None:
        """Note that a value stands here in the document."""
        if path not in self._order:
            self._order[path] = len(self._order)
            self.levels = max(self.levels, len(path))
            self.entries += 2 if path and isinstance(path[-1], str) else 1  # a key counts as well
        if place is not None:
            self.places.setdefault(path, place)

    def fault(
        self, path: Path, message: str, *, expected: str = "", suggestion: str = "", at: Place | None = None
    ) -> None:
        """Add a fault, unless it is there already or lies in a spoiled part of the document."""
        line, column = at or self._place(path)
        if any(part in self.spoiled for part in _upwards(path)):
            return
        fault = Fault(message, write_path(path), self.file, line, column, expected, suggestion)
        self.faults.setdefault((path, fault))
        self._faulted.add(path)

    def spoil(
        self, path: Path, message: str, *, expected: str = "", suggestion: str = "", at: Place | None = None
    ) -> None:
        """Add a fault and judge this part of the document no further."""
        self.fault(path, message, expected=expected, suggestion=suggestion, at=at)
        self.spoiled.add(path)

    def stop(self, path: Path, message: str, *, expected: str = "", at: Place | None = None) -> None:
        """Add a fault and give up the whole document."""
        self.fault(path, message, expected=expected, at=at)
        self.complete = False

    def _place(self, path: Path) -> Place:
        return next((self.places[part] for part in _upwards(path) if part in self.places), (0, 0))

    def suggest(self, given: object, known: Sequence[str]) -> str:
        """Suggest the known word that is most like the given one; empty when none is, or after many."""
        if not isinstance(given, str) or not self.suggestions.left:
            return ""
        self.suggestions.left -= 1
        close = get_close_matches(given[:64], known[:500], n=1)
        return f"did you mean {show(close[0])}?" if close else ""

    def has_fault(self, path: Path) -> bool:
        """Tell whether exactly this part has a fault already."""
        return path in self._faulted

    def has(self, path: Path) -> bool:
        """Tell whether a value stands there."""
        return path in self._order

    @property
    def size(self) -> Room:
        """Return the room that it takes."""
        return Room(self.bytes, self.entries)

    def hold(self, path: Path, inner: Document) -> bool:
        """Add the size of a document that stands at a path; if it is too large, add nothing, return False."""
        levels = len(path) + inner.levels
        if levels > MAX_DEPTH or not self.room.without(self.size).holds(inner.size):
            return False
        self.bytes += inner.bytes
        self.entries += inner.entries
        self.levels = max(self.levels, levels)
        return True

    def sorted_faults(self) -> list[Fault]:
        """Return the faults in document order."""
        last = len(self._order)

        def position(entry: tuple[Path, Fault]) -> tuple[int, int, int]:
            path, fault = entry
            known = next((self._order[part] for part in _upwards(path) if part in self._order), last)
            return fault.line, fault.column, known

        return [fault for _, fault in sorted(self.faults, key=position)]


def _upwards(path: Path) -> Iterator[Path]:
    return (path[:length] for length in range(len(path), -1, -1))


def as_mapping(value: Any) -> dict[str, Any]:
    """Return a mapping as it is, anything else as an empty one: its wrong type is a fault already."""
    return value if isinstance(value, dict) else {}


def as_sequence(value: Any) -> list[Any]:
    """Return a list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def from_data(data: Mapping[str, Any], file: str) -> Document:
    """Read a mapping that the host program built; the same limits hold as for a file."""
    document = Document(file)
    document.data = _copy(document, (), data)
    return document


def _copy(document: Document, path: Path, value: Any) -> Any:  # noqa: PLR0911  (one return per kind of value)
    document.put(path)
    if not document.complete:
        return None
    if document.entries > MAX_ENTRIES:
        document.stop((), f"more than {MAX_ENTRIES} entries")
        return None
    if len(path) > MAX_DEPTH:
        document.stop(path[:1], f"nested deeper than {MAX_DEPTH} levels")
        return None
    if isinstance(value, Mapping):
        return _copy_mapping(document, path, value)
    if isinstance(value, list | tuple):
        return [_copy(document, (*path, index), item) for index, item in enumerate(value)]
    if problem := scalar_problem(value):
        document.spoil(path, problem)
        return None
    return value


def _copy_mapping(document: Document, path: Path, value: Mapping[Any, Any]) -> dict[str, Any]:
    result = {}
    for key, item in value.items():
        if not isinstance(key, str) or FORBIDDEN.search(key):
            document.fault(path, "a key that is not text")
            continue
        result[key] = _copy(document, (*path, key), item)
    return result


def scalar_problem(value: Any) -> str | None:
    """Say why a single value cannot stand in a spec; None if it can."""
    if isinstance(value, str):
        return "NUL or a lone surrogate in a text" if FORBIDDEN.search(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number that is not finite"
    if isinstance(value, int):
        return None if abs(value) < 2**63 else "a whole number that is too large"
    return None if value is None else f"a {type(value).__name__}, which a spec cannot hold"
