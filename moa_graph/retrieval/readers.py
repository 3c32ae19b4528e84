"""The text of one local file: plain text, Markdown, HTML or PDF."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from moa_graph.retrieval.extra import extra

if TYPE_CHECKING:
    from pypdf import PdfReader

__all__ = ["SUPPORTED", "UnreadableError", "read"]

MAX_BYTES = 20_000_000
MAX_PAGES = 2_000

_UNSEEN = ["script", "style", "template", "noscript"]
_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
_BLOCKS = (
    "address article aside blockquote div dl figure footer form header hr main ol p pre section table ul"
)
_LINES = ["br", "dd", "dt", "li", "tr"]
_CELLS = ["td", "th"]


class UnreadableError(Exception):
    """Say in a sentence why a file has no text for us."""


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
    yield None, _decode(path.read_bytes())


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"is not UTF-8 text (byte {error.start + 1} is 0x{data[error.start]:02x}); save it as UTF-8."
        ) from error


def _html(path: Path) -> Iterator[tuple[int | None, str]]:
    with extra():
        from bs4 import BeautifulSoup  # noqa: PLC0415 - of the extra
    data = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Beautiful Soup warns of XHTML, which we mean to read as HTML
        try:
            soup = BeautifulSoup(_decode(data), "html.parser")
        except UnreadableError:
            soup = BeautifulSoup(data, "html.parser")
            if soup.declared_html_encoding is None or soup.contains_replacement_characters:
                raise
    for tag in soup.find_all(_UNSEEN):
        tag.decompose()
    for tag in soup.find_all(_HEADINGS):
        tag.insert(0, f"{'#' * int(tag.name[1])} ")  # Markdown, where the splitter looks for headings
    for names, separator in ((_BLOCKS.split() + _HEADINGS, "\n\n"), (_LINES, "\n"), (_CELLS, " ")):
        for tag in soup.find_all(names):
            tag.insert_before(separator)
            tag.insert_after(separator)
    lines = (" ".join(line.split()) for line in soup.get_text().splitlines())
    yield None, re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _pdf(path: Path) -> Iterator[tuple[int | None, str]]:
    with extra():
        from pypdf import PdfReader, errors  # noqa: PLC0415 - of the extra
    try:
        with path.open("rb") as file:
            yield from _pages(PdfReader(file))
    except (UnreadableError, OSError):
        raise
    except (errors.DependencyError, errors.FileNotDecryptedError) as error:
        raise UnreadableError("is encrypted; take its password off.") from error
    except Exception as error:  # a damaged file makes pypdf raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(f"is not a valid PDF: {reason.rstrip('.')}.") from error


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
