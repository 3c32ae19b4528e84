"""The text of one local file: plain text, Markdown, HTML or PDF."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from moa_graph.retrieval.extra import extra
from moa_graph.retrieval.html import text_of_html
from moa_graph.retrieval.unreadable import UnreadableError, decode

if TYPE_CHECKING:
    from pypdf import PdfReader

__all__ = ["SUPPORTED", "UnreadableError", "read"]

MAX_BYTES = 20_000_000
MAX_PAGES = 2_000

_reading: ContextVar[bool] = ContextVar("_reading", default=False)


def read(path: Path) -> list[Document]:
    """Return the text of a file, of a PDF page by page; the metadata say `source` and `page`.

    Raises UnreadableError for a file that is of another type, too big, empty, damaged or locked, and
    ModelNotReady without the package that its type needs.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableError(f"is larger than {MAX_BYTES // 1_000_000} MB; split it.")
        texts = [(page, text) for page, text in SUPPORTED[path.suffix.lower()](path) if text.strip()]
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror or error}.") from error
    if not texts:
        pictures = " (scanned pages need text recognition first)" if path.suffix.lower() == ".pdf" else ""
        raise UnreadableError(f"has no text{pictures}; leave it out of `files`.")
    source = path.as_posix()
    return [
        Document(text, metadata={"source": source} if page is None else {"source": source, "page": page})
        for page, text in texts
    ]


def _text(path: Path) -> Iterator[tuple[int | None, str]]:
    yield None, decode(path.read_bytes())


def _html(path: Path) -> Iterator[tuple[int | None, str]]:
    yield None, text_of_html(path.read_bytes())


def _pdf(path: Path) -> Iterator[tuple[int | None, str]]:
    with extra():
        from pypdf import PdfReader, errors  # noqa: PLC0415 - of the extra
    try:
        with path.open("rb") as file, _quiet():
            yield from _pages(PdfReader(file))
    except (UnreadableError, OSError):
        raise
    except (errors.DependencyError, errors.FileNotDecryptedError) as error:
        raise UnreadableError("is encrypted; take its password off.") from error
    except Exception as error:  # a damaged file makes pypdf raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(f"is not a valid PDF: {reason.rstrip('.')}.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what pypdf logs of a file that we read from the user; whoever else uses pypdf notices nothing."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pypdf"]:
        logging.getLogger(name).addFilter(_is_elsewhere)  # once: the same filter is not added again
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def _is_elsewhere(_: logging.LogRecord) -> bool:
    return not _reading.get()


def _pages(reader: PdfReader) -> Iterator[tuple[int, str]]:
    if len(reader.pages) > MAX_PAGES:
        raise UnreadableError(f"has more than {MAX_PAGES:,} pages; split it.")
    for number, page in enumerate(reader.pages, 1):
        yield number, page.extract_text()


SUPPORTED: Mapping[str, Callable[[Path], Iterator[tuple[int | None, str]]]] = {
    ".txt": _text,
    ".md": _text,
    ".markdown": _text,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
"""How a file is read, by the end of its name in lower case."""
