"""From bytes to a document: YAML 1.2 without aliases, tags and surprises, within a second."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from moa_graph.spec.document import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_ENTRIES,
    Document,
    Path,
    scalar_problem,
    show,
)
from moa_graph.spec.scalars import read_scalar

__all__ = ["read_document"]

_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML 1.2 does not allow in a stream."""

_NO_KEY = "?"
"""Stands in paths for a key that cannot be one."""

_LONGEST_TAG = 50_000
"""The parser's time grows with the square of a tag's length, and only then can we refuse the tag."""

Place = tuple[int, int]


class _StopReadingError(Exception):
    """End the reading of a document whose fault is already noted."""


def read_document(document: Document, text: str | bytes) -> None:
    """Read one YAML document; whatever is wrong with it is in its faults, nothing is raised.

    The limits (256 kB, 32 levels, 10,000 entries) are enforced on the parser's events, so that a hostile
    file is refused before it becomes objects.
    """
    decoded = _decode(document, text)
    if decoded is None:
        document.complete = False
        return
    reader = _Reader(document, decoded)
    try:
        reader.read()
    except _StopReadingError:
        document.complete = False
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else reader.last
        problem = _one_line(error.problem or error.context)
        if r"'\t'" in problem:
            problem = "a tab stands here, where YAML takes only spaces; indent with spaces, not tabs"
        document.stop((), f"not valid YAML: {problem}", at=at)
    except Exception:  # noqa: BLE001  (the parser raises bare errors for some malformed input, such as "\UFFFFFFFF")
        document.stop((), "not valid YAML: a malformed part begins here", at=reader.last)


def _one_line(problem: str | None) -> str:
    return " ".join((problem or "a malformed part begins here").split())


def _decode(document: Document, text: str | bytes) -> str | None:
    """Return the text of a file, or None after noting why it cannot be read."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    document.bytes = len(content)
    if len(content) > MAX_BYTES:
        document.stop((), f"larger than {MAX_BYTES // 1024} kB")
        return None
    try:
        decoded = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        document.stop((), "not UTF-8 from here on", at=_place_after(before))
        return None
    if found := _UNPRINTABLE.search(decoded):
        at = _place_after(decoded[: found.start()])
        document.stop((), f"the character U+{ord(found[0]):04X} cannot stand in a spec", at=at)
        return None
    if run := next((run for run in decoded.split() if len(run) > _LONGEST_TAG and "!" in run), None):
        message = f"more than {_LONGEST_TAG} characters with `!` and without a blank"
        document.stop((), message, at=_place_after(decoded[: decoded.index(run)]))
        return None
    return decoded


def _place_after(before: str) -> Place:
    lines = re.split(r"\r\n|\r|\n", before)
    return len(lines), len(lines[-1]) + 1


class _Reader:
    """Build plain data from the events of one document, noting where everything stands."""

    def __init__(self, document: Document, text: str) -> None:
        self.document = document
        self.text = text
        self.last: Place = (1, 1)
        self.entries = 0

    def read(self) -> None:
        """Read the whole stream into the document."""
        events = self._events()
        for event in events:
            if isinstance(event, NodeEvent):
                self.document.data = self._value(event, (), events)
                if self.document.data is None:
                    self._refuse("the file is empty" if self._is_empty(event) else "not a mapping")
                break
        else:
            self._refuse("the file is empty")
        for event in events:
            if isinstance(event, DocumentStartEvent):
                self._refuse("a second document begins here")

    @staticmethod
    def _is_empty(event: NodeEvent) -> bool:
        return isinstance(event, ScalarEvent) and not event.value

    def _events(self) -> Iterator[Event]:
        for event in YAML(typ="safe", pure=True).parse(self.text):
            self.last = (event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, DocumentStartEvent) and (event.version or event.tags):
                self._refuse("a directive (%…), which a spec cannot use")
            if isinstance(event, NodeEvent):
                self.entries += 1
                if self.entries > self.document.room.entries:
                    self._refuse(f"more than {MAX_ENTRIES} entries")
            yield event

    def _refuse(self, message: str, path: Path = ()) -> None:
        expected = (
            "a mapping that begins with `moa: 1`" if message in {"the file is empty", "not a mapping"} else ""
        )
        self.document.fault(path, message, expected=expected, at=self.last)
        raise _StopReadingError

    def _value(self, event: Event, path: Path, events: Iterator[Event]) -> Any:
        """Return the value that an event begins, taking the events that belong to it."""
        if isinstance(event, ScalarEvent) and event.implicit[0] and not event.value:
            self.last = self.document.keys.get(path, self.last)  # an empty value stands at its key
        self.document.put(path, self.last)
        if isinstance(event, AliasEvent):
            self.document.spoil(path, "an alias (*…), which a spec cannot use", at=self.last)
            return None
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self.document.fault(path, "an anchor (&…), which a spec cannot use", at=self.last)
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.ctag is not None:
            self.document.spoil(path, "a tag (!…), which a spec cannot use", at=self.last)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path)
        if len(path) >= MAX_DEPTH:
            self._refuse(f"nested deeper than {MAX_DEPTH} levels", path[:1])
        if isinstance(event, MappingStartEvent):
            return self._mapping(path, events)
        return self._sequence(path, events)

    def _scalar(self, event: ScalarEvent, path: Path) -> Any:
        try:
            value = read_scalar(event.value) if event.implicit[0] else event.value
            problem = scalar_problem(value)
        except ValueError as error:
            value, problem = None, str(error)
        if problem is None:
            return value
        self.document.spoil(path, problem, at=self.last)
        return None

    def _sequence(self, path: Path, events: Iterator[Event]) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, CollectionEndEvent):
                break
            items.append(self._value(event, (*path, len(items)), events))
        return items

    def _mapping(self, path: Path, events: Iterator[Event]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for event in events:
            if isinstance(event, CollectionEndEvent):
                break
            at = self.last
            key = self._key(event, path, events)
            if key in result:
                message = f"the key {show(key)} is there twice"
                self.document.fault((*path, key), message, at=at)
                key = None
            if key is None:
                self._value(next(events), (*path, _NO_KEY), events)
                continue
            self.document.keys[*path, key] = at
            result[key] = self._value(next(events), (*path, key), events)
        return result

    def _key(self, event: Event, path: Path, events: Iterator[Event]) -> str | None:
        """Return a key, or None after noting why it is none."""
        at = self.last
        if isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]:
            self.document.fault(path, "a merge key (<<), which a spec cannot use", at=at)
            return None
        here = (*path, _NO_KEY)
        key = self._value(event, here, events)
        if isinstance(event, ScalarEvent) and isinstance(key, str) and here not in self.document.spoiled:
            return key
        if here in self.document.spoiled:
            self.document.spoiled.discard(here)
        else:
            self.document.fault(here, "a key that is not text", expected="quotes round it", at=at)
        return None
