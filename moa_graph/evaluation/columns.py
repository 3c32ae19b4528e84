"""Files of recorded results, as they stand: columns by model, lines by question, records of `moa eval`."""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from moa_graph.errors import MoAError
from moa_graph.evaluation.evaluated import read_run
from moa_graph.evaluation.scoring import ENDED

__all__ = ["FORMAT", "Columns", "Proposed", "Recorded", "checked", "read_columns"]

FORMAT = "docs/selection.md describes the format."
Form = TypeVar("Form", bound=BaseModel)

_OPENERS: dict[str, Callable[[Path], bytes]] = {
    ".xz": lambda path: lzma.decompress(path.read_bytes()),
    ".gz": lambda path: gzip.decompress(path.read_bytes()),
}


class Columns(BaseModel):
    """The columns of a task as a file has them; `correct` may be a text of zeros and ones."""

    model_config = ConfigDict(strict=True, extra="ignore")

    ids: list[str | int] | None = None
    answers: dict[str, list[str | int | float | None]] | None = None
    correct: dict[str, str | list[bool | int | None]] | None = None
    preference: dict[str, list[float | int | None]] | None = None
    texts: dict[str, list[str | None]] | None = None


class Recorded(Columns):
    """Columns, and of a run the ids of questions to which a proposer gave none: it was cut, or not asked."""

    cut: set[str | int] = set()


class Proposed(BaseModel):
    """A proposal in a record of `moa eval`: what was read from it, and whether that is right."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    model: str
    status: str = "ok"
    extracted: str | None = None
    correct: bool | None = None
    text: str | None = None

    @property
    def layer(self) -> str:
        """Return the name of its layer."""
        return self.id.partition("/")[0]

    @property
    def ended(self) -> bool:
        """Tell whether it has a score where there is a gold answer: who was cut has none."""
        return self.status in ENDED


class _Line(BaseModel):
    """One question in a file of lines: the columns' values by model, or the proposals of a run."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str | int
    answers: dict[str, str | int | float | None] | None = None
    correct: dict[str, bool | int | None] | bool | None = None  # a run's record: whether its answer is
    preference: dict[str, float | int | None] | None = None
    texts: dict[str, str | None] | None = None
    proposals: list[Proposed] | None = None


def read_columns(path: Path, task: str | None = None) -> Recorded:
    """Read a JSON or JSONL file, packed (.xz, .gz) or not, or a folder of `moa eval`.

    `task` names one of a file with several. Raises MoAError for what cannot be read.
    """
    lines = path.is_dir() or path.name.removesuffix(".xz").removesuffix(".gz").endswith(".jsonl")
    if not lines:
        return Recorded.model_construct(**dict(_of_document(_loads(_text(path), path), path, task)))
    if task is not None:
        raise MoAError(f"{path}: lines have no tasks; leave out the name {task!r}")
    return _of_lines(_lines(path))


def _text(path: Path) -> str:
    try:
        return _OPENERS.get(path.suffix, Path.read_bytes)(path).decode("utf-8-sig")
    except OSError as error:
        raise MoAError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (lzma.LZMAError, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise MoAError(f"{path}: cannot be read: {error}") from error


def _loads(text: str, place: object) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise MoAError(f"{place}: not valid JSON: {error}", hint=FORMAT) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _of_document(data: Any, path: Path, task: str | None) -> Columns:
    tasks = data.get("tasks") if isinstance(data, dict) else None
    if not isinstance(tasks, dict):
        if task is not None:
            raise MoAError(f"{path}: it has no tasks; leave out the name {task!r}")
        return checked(Columns, data, path)
    if task is None and len(tasks) == 1:
        task = next(iter(tasks))
    if task not in tasks:
        problem = "say which task" if task is None else f"there is no task {task!r}"
        raise MoAError(f"{path}: {problem}", hint=f"There are: {', '.join(tasks)}.")
    return checked(Columns, tasks[task], f"{path}: {task}")


def checked(form: type[Form], data: Any, place: object) -> Form:
    """Return data in a form; raise MoAError, which says where it does not fit."""
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise MoAError(f"{place}: {where or 'the whole'}: {first['msg']}", hint=FORMAT) from error


def _lines(path: Path) -> list[_Line]:
    """Read a folder of `moa eval`, or each line of a file."""
    if path.is_dir():
        return [checked(_Line, record, f"{path}: {id_}") for id_, record in read_run(path).records.items()]
    lines = [
        checked(_Line, _loads(line, f"{path}:{number}"), f"{path}:{number}")
        for number, line in enumerate(_text(path).split("\n"), 1)  # not at U+2028, which a text may hold
        if line.strip()
    ]
    if not lines:
        raise MoAError(f"{path}: there is nothing recorded in it", hint=FORMAT)
    return lines


def _of_lines(lines: Sequence[_Line]) -> Recorded:
    """Turn questions with values by model into columns; a value that a line lacks is unknown."""
    by_id = _ambiguous(lines)
    cut = _cut(lines)
    lines = [_of_proposals(line, by_id=by_id) if line.proposals is not None else line for line in lines]
    task = Recorded(ids=[line.id for line in lines], cut=cut)
    models: dict[str, None] = {}
    for name in ("correct", "preference", "answers", "texts"):
        rows = [value if isinstance(value := getattr(line, name), dict) else {} for line in lines]
        here = dict.fromkeys(model for row in rows for model in row)
        models |= here
        if any(rows):
            known = here if name in ("correct", "preference") else models
            setattr(task, name, {model: [row.get(model) for row in rows] for model in known})
    return task


def _first_layer(line: _Line) -> list[Proposed]:
    """Return the proposals of the first layer alone: those of later ones have seen what others wrote."""
    proposals = line.proposals or []
    return [each for each in proposals if each.layer == proposals[0].layer]


def _cut(lines: Sequence[_Line]) -> set[str | int]:
    """Return the questions for which a proposer of the first layer was cut, or never asked."""
    asked = {each.id for line in lines for each in _first_layer(line)}
    return {
        line.id
        for line in lines
        # An item that failed before anybody proposed says nothing of who would have been asked.
        if line.proposals and asked - {each.id for each in _first_layer(line) if each.ended}
    }


def _ambiguous(lines: Sequence[_Line]) -> bool:
    """Tell whether several proposers of the first layer are of one model."""
    models = {each.id: each.model for line in lines for each in _first_layer(line)}
    return len(set(models.values())) < len(models)


def _of_proposals(line: _Line, *, by_id: bool) -> _Line:
    """Return proposals as columns, by the names of their proposers or of their models."""
    named = {each.id.partition("/")[2] if by_id else each.model: each for each in _first_layer(line)}
    return _Line(
        id=line.id,
        answers={name: each.extracted for name, each in named.items()},
        correct={name: each.correct for name, each in named.items()},
        texts={name: each.text for name, each in named.items()},
    )
