"""The folder of an evaluation: what it belongs to, its threads, and what comes out of it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from difflib import unified_diff
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock, Timeout

from moa_graph.errors import MoAError, SpecMismatch, ThreadBusy
from moa_graph.evaluation.datasets import Dataset
from moa_graph.runs.records import now
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.spec.loading import dump_spec, is_hash_of, spec_hash
from moa_graph.spec.schema import MoASpec

__all__ = ["Folder", "earlier_extract"]

_FORMAT = 1
_ASKED = "Nothing was asked."
_ANOTHER = f"Give another --out. {_ASKED}"


class Folder:
    """Be a folder that belongs to one spec and one dataset; made by `open`.

    `name` is what the folder was called when it was made: it is a part of the threads' ids.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, spec: MoASpec, dataset: Dataset, how: ExtractSpec | None = None
    ) -> Iterator[Folder]:
        """Make the folder, or go on in it, and hold it; raise MoAError if it is another evaluation's.

        `how` is noted for `earlier_extract` if it is given. Raises SpecMismatch, with the difference, for a
        folder of another spec, and ThreadBusy while somebody else works in it.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _read_pin(path)
        except OSError as error:
            raise MoAError(f"{path}: {error.strerror or error}", hint="Give another --out.") from error
        lock = FileLock(path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ThreadBusy(f"{path}: somebody else works on this evaluation") from error
        try:
            known = _read_pin(path) or _pin(path, spec, dataset)
            _check(known, path, spec, dataset)
            if how is not None:
                _write_pin(path, {**known, "extract": _plain(how)})
            yield cls(path, known["name"])
        finally:
            lock.release()

    @property
    def db(self) -> str:
        """Return the URL of the store in the folder."""
        return f"sqlite:///{quote(str(self.path.absolute() / 'threads.db'))}"

    @property
    def records(self) -> Path:
        """Return the file of the records, one line each."""
        return self.path / "records.jsonl"

    def answered(self) -> list[str]:
        """Return the threads of the records that hold an answer; a line that a crash cut off is left out."""
        threads: dict[str, None] = {}
        if self.records.exists():
            for line in self.records.read_text(encoding="utf-8", errors="replace").split("\n"):
                with suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    if record["status"] == "answered":
                        threads[str(record["thread"])] = None
        return list(threads)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record, so that what is done can be read while the rest goes on."""
        with self.records.open("a", encoding="utf-8") as file:
            file.write(_line(record))

    def write_records(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write all records anew."""
        self.write("records.jsonl", "".join(map(_line, records)))

    def write(self, name: str, text: str) -> Path:
        """Write a file whole or not at all, for its owner alone to read."""
        path = self.path / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _write_whole(path, text)
        return path


def earlier_extract(path: Path) -> ExtractSpec | None:
    """Return how answers were last read in a folder by what was said; raise MoAError for no evaluation's."""
    known = _read_pin(path) if path.is_dir() else None
    said = (known or {}).get("extract")
    return None if said is None else ExtractSpec.model_validate(said)


def _read_pin(path: Path) -> dict[str, Any] | None:
    file = path / "evaluation.json"
    if not file.exists():
        if any(not entry.name.startswith(".") for entry in path.iterdir()):
            raise MoAError(f"{path}: this folder is not empty, and no evaluation", hint=_ANOTHER)
        return None
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        fits = known["format"] == _FORMAT and isinstance(known["name"], str)
        fits = fits and all(isinstance(known[part][key], str) for part, key in _PINNED)
        if known.get("extract") is not None:
            ExtractSpec.model_validate(known["extract"])
    except (ValueError, KeyError, TypeError) as error:
        raise MoAError(f"{file}: it cannot be read", hint=_ANOTHER) from error
    if not fits:
        raise MoAError(f"{file}: it is of another version of moa_graph", hint=_ANOTHER)
    return dict(known)


_PINNED = (("spec", "hash"), ("dataset", "file"), ("dataset", "digest"))


def _pin(path: Path, spec: MoASpec, dataset: Dataset) -> dict[str, Any]:
    known = {
        "format": _FORMAT,
        "name": path.resolve().name,
        "spec": {"name": spec.name, "hash": spec_hash(spec)},
        "dataset": {
            "file": dataset.file,
            "path": _from(path, dataset.file),
            "digest": dataset.digest,
            "items": len(dataset.items),
            "fields": asdict(dataset.fields),
        },
        "extract": None,
        "created": now(),
    }
    # The pin comes last: a folder that has one is whole.
    _write_whole(path / ".spec.yaml", dump_spec(spec))
    _write_pin(path, known)
    return known


def _write_pin(path: Path, known: Mapping[str, Any]) -> None:
    _write_whole(path / "evaluation.json", json.dumps(known, indent=2) + "\n")


def _plain(how: ExtractSpec) -> dict[str, Any]:
    return how.model_dump(mode="json", exclude_defaults=True)


def _from(folder: Path, file: str) -> str:
    """Return a file's path from the folder, which holds wherever a command is called from."""
    try:
        return os.path.relpath(file, folder)
    except ValueError:  # on another drive
        return str(Path(file).absolute())


def _check(known: Mapping[str, Any], path: Path, spec: MoASpec, dataset: Dataset) -> None:
    if not is_hash_of(known["spec"]["hash"], spec):
        raise SpecMismatch(
            f"{path}: this evaluation was begun with another spec",
            hint="Its threads are pinned to the whole spec, with prices, limits and description: undo the "
            f"change, or give another --out. {_ASKED}",
            difference=_difference(path, spec),
        )
    if known["dataset"]["digest"] != dataset.digest:
        raise MoAError(
            f"{path}: this evaluation was begun with other questions",
            hint=f"Then {known['dataset']['file']} was read. What {dataset.file} asks, or under which ids, "
            f"is not the same. {_ANOTHER}",
        )


def _difference(path: Path, spec: MoASpec) -> str:
    try:
        before = (path / ".spec.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # without it the refusal is no less true
        return ""
    after = dump_spec(spec)
    lines = unified_diff(
        before.splitlines(), after.splitlines(), fromfile=str(path), tofile=spec.name, lineterm="", n=2
    )
    return "\n".join(lines)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _write_whole(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
