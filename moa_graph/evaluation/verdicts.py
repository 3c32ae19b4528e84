"""A judge's verdicts, kept in a JSONL file as they come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from moa_graph.errors import MoAError, ThreadBusy

__all__ = ["SIDES", "Choice", "Side", "Verdict", "VerdictFile"]

Side = Literal["answer", "baseline"]
SIDES: tuple[Side, Side] = ("answer", "baseline")
Choice = Literal["answer", "baseline", "tie"]


@dataclass(frozen=True)
class Verdict:
    """Hold what a judge said of one pair in one order.

    `key` is a digest of the judge, the texts and the order; `first` is who stood first; `choice` is None
    unless `status` is "judged". `reply` is the judge's whole text. `cost` is USD, None if unknown.
    """

    id: str
    key: str
    first: Side
    status: Literal["judged", "unparsable", "failed"]
    choice: Choice | None = None
    reply: str | None = None
    error: str | None = None
    calls: int = 0
    cost: float | None = None
    seconds: float = 0.0


_VERDICT = TypeAdapter(Verdict)


class VerdictFile:
    """Keep verdicts in a file, one JSON object a line; the file is made with the first one."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._mended = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep everybody else from judging into the file; raise ThreadBusy while somebody else does."""
        lock = FileLock(self._path.parent / f".{self._path.name}.lock")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ThreadBusy(f"{self._path}: somebody else works on these verdicts") from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            lock.release()

    def read(self) -> list[Verdict]:
        """Return all verdicts, the oldest first; raise MoAError for a line that holds none.

        A last line without an end, which a crash left, is not there: `append` writes over it.
        """
        verdicts = []
        for number, line in enumerate(self._whole().splitlines(), start=1):
            try:
                verdicts.append(_VERDICT.validate_json(line))
            except ValidationError as error:
                raise MoAError(
                    f"{self._path}:{number}: not a verdict: {error.errors()[0]['msg']}",
                    hint="Move the file away, or name another one.",
                ) from error
        return verdicts

    def append(self, verdict: Verdict) -> None:
        """Write a verdict down; raise MoAError where that is not possible."""
        line = json.dumps(asdict(verdict), ensure_ascii=True) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                if not self._mended:
                    file.truncate(len(self._whole()))
                    self._mended = True
                file.write(line.encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> MoAError:
        return MoAError(f"cannot write to {self._path}: {error.strerror or error}")

    def _whole(self) -> bytes:
        """Return the content up to the end of the last whole line."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise MoAError(f"cannot read {self._path}: {error.strerror or error}") from error
        return content[: content.rfind(b"\n") + 1]
