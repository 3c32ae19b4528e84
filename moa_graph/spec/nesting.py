"""Specs inside specs: files are read once, and all limits hold for the whole."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path as FilePath

from moa_graph.errors import Fault
from moa_graph.spec.checks import check_part
from moa_graph.spec.document import MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, Document, Path, as_mapping, show
from moa_graph.spec.keys import check_secrets
from moa_graph.spec.parts import Part
from moa_graph.spec.reading import read_document
from moa_graph.spec.structure import check_params, check_structure

__all__ = ["MAX_NESTED", "Nest"]

MAX_NESTED = 3
"""Specs inside each other, the outermost included."""
_MAX_FILES = 100
"""Opening many more takes longer than a second, however small they are."""

_EXPECTED = "the path of a spec file, from the folder of this one"


@dataclass(frozen=True)
class _Level:
    """Name one of the specs round another: its file as it is shown, and as the system knows it."""

    shown: str
    real: str | None


class Nest:
    """Judge a document with all the specs inside it.

    `documents` are the outermost one and the files that were read for it, in that order. Without `files`
    a spec must bring all its parts itself: a text from a stranger names no files of this machine.
    """

    def __init__(self, *, files: bool = True) -> None:
        self.documents: list[Document] = []
        self._allowed = files
        self._files: dict[str, Part] = {}
        self._exceeded = False

    def judge(self, document: Document) -> Part:
        """Note all faults of a document and of the files that it names; its part has the finished spec."""
        real = os.path.realpath(document.file) if os.path.isfile(document.file) else None  # noqa: PTH113 (takes any text)
        return self._judge(document, (_Level(document.file, real),))

    def faults(self) -> list[Fault]:
        """Return what is wrong, the outermost document first."""
        return [fault for document in self.documents for fault in document.sorted_faults()]

    def _judge(self, document: Document, chain: tuple[_Level, ...]) -> Part:
        self.documents.append(document)
        part = Part(document, (), as_mapping(document.data))
        if document.complete:
            check_secrets(document)
            self._enter(part, chain)
        if document.complete and not self._exceeded:
            part.spec = check_structure(document)
            for inner in part.here():
                check_part(inner)
                check_params(inner)
        return part

    def _enter(self, part: Part, chain: tuple[_Level, ...]) -> None:
        """Find the specs inside a part; the finished spec of a file takes the place of the file's name."""
        for place, proposer in part.proposers():
            value, path = proposer.get("spec"), (*place, "spec")
            here = (*part.base, *path)
            if self._exceeded or not isinstance(value, str | dict) or here in part.document.spoiled:
                continue
            if isinstance(value, str):
                inner = self._file(part.document, here, value, chain)
                if inner is None or inner.spec is None:
                    part.document.spoiled.add(here)  # what is wrong has been said
                    continue
                proposer["spec"] = inner.spec
            elif len(chain) == MAX_NESTED:
                part.document.spoil(here, _TOO_DEEP)
                continue
            else:
                inner = Part(part.document, here, value)
                self._enter(inner, (*chain, chain[-1]))
            part.inside[path] = inner

    def _file(self, outer: Document, here: Path, name: str, chain: tuple[_Level, ...]) -> Part | None:
        """Return the part that is a file, or None after noting why it cannot stand here."""
        if not self._allowed:
            outer.fault(here, "a spec from elsewhere cannot name a file", expected="the spec itself, inline")
            return None
        folder = FilePath(chain[-1].shown).parent if chain[-1].real else FilePath()
        file = folder / name
        real = os.path.realpath(file)
        level = _Level(repr(str(file))[1:-1], real)
        if real in {other.real for other in chain}:
            names = list(dict.fromkeys(other.shown for other in chain))
            outer.fault(here, f"a circle of files: {' → '.join([*names, level.shown])}")
            return None
        if len(chain) == MAX_NESTED:
            outer.fault(here, _TOO_DEEP)
            return None
        if real not in self._files:
            content = self._read(outer, here, file)
            if content is None:
                return None
            self._files[real] = self._open(outer, level, content, chain)
        part = self._files[real]
        if len(chain) + part.height > MAX_NESTED:
            outer.fault(here, _TOO_DEEP)
            return None
        if part.spec is not None and not outer.hold(here, part.document):
            self._exceed(outer, here)
        return part

    def _read(self, outer: Document, here: Path, file: FilePath) -> bytes | None:
        most = outer.room.without(outer.size).bytes
        problem = ""
        try:
            if not stat.S_ISREG(file.stat().st_mode):  # a pipe would never end
                problem = "not a file"
            else:
                with file.open("rb") as stream:
                    content = stream.read(most + 1)
        except (OSError, ValueError) as error:
            problem = (isinstance(error, OSError) and error.strerror) or "no usable path"
        if problem:
            outer.fault(here, f"{show(file.name)} cannot be read: {problem}", expected=_EXPECTED)
            return None
        if len(content) > most or len(self._files) >= _MAX_FILES:
            self._exceed(outer, here)
            return None
        return content

    def _open(self, outer: Document, level: _Level, content: bytes, chain: tuple[_Level, ...]) -> Part:
        room = outer.room.without(outer.size)
        document = Document(level.shown, room=room, suggestions=outer.suggestions)
        read_document(document, content)
        _keep_to_specs(document)
        return self._judge(document, (*chain, level))

    def _exceed(self, outer: Document, here: Path) -> None:
        self._exceeded = True
        outer.fault(
            here,
            "too large with the specs inside it",
            expected=_LIMITS,
        )


_LIMITS = f"up to {MAX_BYTES // 1024} kB, {MAX_ENTRIES} entries, {MAX_DEPTH} levels, {_MAX_FILES} files"
_TOO_DEEP = f"more than {MAX_NESTED} specs inside each other"


def _keep_to_specs(document: Document) -> None:
    """Say of a file that is no spec nothing else: whoever names it may not be meant to read it."""
    if not document.complete:
        *others, _ = document.faults
        for fault in others:
            del document.faults[fault]
    elif "moa" not in as_mapping(document.data):
        document.faults.clear()
        document.spoiled.clear()
        document.stop((), "not a spec", expected="a mapping that begins with `moa: 1`")
