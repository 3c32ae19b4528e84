"""The standard streams as the program finds them: closed, full, or without a reader."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Forgiving", "mend_streams"]


class Forgiving(io.RawIOBase):
    """Write to a raw stream, and lose what it does not take: words on stderr are not worth an answer."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__()
        self._raw = raw

    def write(self, data: Buffer, /) -> int:
        """Return the number of bytes that were written or lost."""
        size = memoryview(data).nbytes
        try:
            written = self._raw.write(data)
        except OSError:
            return size
        return size if written is None else written  # None: a pipe that is full and does not block

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the raw stream."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Return whether the raw stream is a terminal."""
        return self._raw.isatty()


def mend_streams() -> bool:
    """Make the standard streams fit to be used; return whether there is a stdout.

    A closed stdin is empty, a closed or broken stderr takes everything. stdout alone may fail.
    """
    # In this order, and at once: a file that is opened next would take the place of a closed stream.
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 -- open until the end
    has_stdout = sys.stdout is not None
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- see above
    if isinstance(sys.stdout, io.TextIOWrapper):  # an answer must not die of a terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- see above
    else:
        sys.stderr = _forgiving(sys.stderr)
    return has_stdout


def _forgiving(stream: TextIO) -> TextIO:
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # Python's -u leaves the buffer out
    if not isinstance(raw, io.RawIOBase):  # somebody else's stream: left alone
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Forgiving(raw)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )
