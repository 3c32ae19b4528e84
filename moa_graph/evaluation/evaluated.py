"""A run of `moa eval` as its folder keeps it: the records, what was run, and how answers were read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moa_graph.errors import MoAError, SpecError
from moa_graph.evaluation.datasets import Fields
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.spec.loading import load_spec
from moa_graph.spec.schema import MoASpec

__all__ = ["READ_ALIKE", "EvaluatedRun", "known_number", "read_run", "readings_apart"]

READ_ALIKE = (
    "Evaluate one of them again with the other's --extract: all is judged anew, and nothing is paid for."
)
_RECORDS = "records.jsonl"
_PIN = "evaluation.json"
_SPEC = ".spec.yaml"


@dataclass(frozen=True)
class EvaluatedRun:
    """Hold the records of a run by their ids as text, and of its dataset what is known.

    `dataset` is the file's name as it was given, `digest` that of its questions, `fields` names its fields;
    `places` are where the file may be now. `spec` is what was run, `how` the way in which answers were read;
    both are None where the folder does not say it.
    """

    records: dict[str, dict[str, Any]]
    dataset: str | None = None
    digest: str | None = None
    fields: Fields | None = None
    places: tuple[Path, ...] = ()
    spec: MoASpec | None = None
    how: ExtractSpec | None = None


def read_run(path: str | os.PathLike[str]) -> EvaluatedRun:
    """Read the records of a run: of a folder that `moa eval` wrote to, or of a JSONL file.

    Of several records of one item the last one counts. A last line that a crash cut off is left out. Raises
    MoAError for what cannot be read or holds no records.
    """
    folder = Path(path)
    file = folder / _RECORDS if folder.is_dir() else folder
    records: dict[str, dict[str, Any]] = {}
    lines = _text(file).split("\n")
    for number, line in enumerate(lines, start=1):
        record = _parsed(line)
        if record is not None:
            records[str(record["id"])] = record
        elif line.strip() and number < len(lines):
            raise MoAError(f"{file}:{number}: not a record of `moa eval`: expected an object with an id")
    if not records:
        raise MoAError(f"{file}: holds no records")
    pin = _parsed_object(_text(folder / _PIN)) if (folder / _PIN).is_file() else None
    return _of_folder(records, pin or {}, folder)


def _of_folder(records: dict[str, dict[str, Any]], pin: Mapping[str, Any], folder: Path) -> EvaluatedRun:
    """Return a run with what its folder says of it; an earlier release said less."""
    pinned = pin.get("dataset")
    dataset = pinned if isinstance(pinned, dict) else {}
    names = dataset.get("fields")
    names = names if isinstance(names, dict) else {}
    file = dataset.get("file")
    # Where the run and the dataset were moved together, the way from one to the other is still the same.
    beside = dataset.get("path")
    places = ([Path(file)] if file else []) + ([folder / beside] if beside else [])
    fields = Fields(**{name: names.get(name) for name in ("question", "gold", "id")})
    spec = _spec_of(folder)
    how = _how(pin.get("extract")) or (spec.aggregator.extract if spec else None)
    return EvaluatedRun(records, file, dataset.get("digest"), fields, tuple(places), spec, how)


def _spec_of(folder: Path) -> MoASpec | None:
    file = folder / _SPEC
    with suppress(SpecError):
        return load_spec(file) if file.is_file() else None
    return None


def _how(said: Any) -> ExtractSpec | None:
    with suppress(ValidationError):
        return None if said is None else ExtractSpec.model_validate(said)
    return None


def readings_apart(one: EvaluatedRun, other: EvaluatedRun) -> tuple[str, str] | None:
    """Return how the answers of two runs were read, as `--extract` takes it, if they were read differently.

    What is right in one run means then something else than in the other. None where one does not say how.
    """
    if one.how is None or other.how is None or _reading(one.how) == _reading(other.how):
        return None
    return _said(one.how), _said(other.how)


def _said(how: ExtractSpec) -> str:
    said = how.model_dump(mode="json", exclude_defaults=True)
    return str(said["by"]) if len(said) == 1 else json.dumps(said, ensure_ascii=False)


def _reading(how: ExtractSpec) -> dict[str, Any]:
    return {**how.model_dump(), "equality": how.compares}


def known_number(value: Any) -> bool:
    """Tell whether a value of a record is a number: None, NaN and what has no end are unknown."""
    return isinstance(value, bool | int | float) and abs(value) <= sys.float_info.max


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise MoAError(f"{file}: cannot be read: {reason}") from error


def _parsed(line: str) -> dict[str, Any] | None:
    """Return a record, None for a line that holds none."""
    record = _parsed_object(line)
    return record if record is not None and record.get("id") is not None else None


def _parsed_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
