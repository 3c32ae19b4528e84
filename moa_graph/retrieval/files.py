"""The files of a retriever: found by patterns, read, and cut into passages."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from langchain_core.documents import Document

from moa_graph.errors import ModelNotReady
from moa_graph.retrieval.extra import extra
from moa_graph.retrieval.readers import SUPPORTED, UnreadableError, read

__all__ = ["chunks", "find", "load"]

MAX_CHARS = 10_000_000
"""Characters of all files of one retriever: the index holds every word of them in memory."""
_OVERLAP = 10
"""One part in this many of a passage may repeat the end of the one before."""
_MARKED_UP = frozenset({".md", ".markdown", ".html", ".htm"})


def load(patterns: Sequence[str]) -> tuple[list[Document], list[str]]:
    """Return the documents that match any of the patterns, and what is wrong, each as a sentence.

    The order is that of the patterns, and of the names within one.
    """
    paths, problems = find(patterns)
    documents: list[Document] = []
    left = MAX_CHARS
    for path in paths:
        try:
            found = read(path)
        except UnreadableError as error:
            problems.append(f"{path.as_posix()} {error}")
            continue
        except ModelNotReady as missing:
            problems.append(missing.message)
            continue
        documents += found
        left -= sum(len(document.page_content) for document in found)
        if left < 0:
            problems.append(
                f"the files have more than {MAX_CHARS:,} characters; "
                "name fewer, or register a retriever that keeps its index elsewhere."
            )
            break
    return documents, list(dict.fromkeys(problems))


def find(patterns: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return the files that match any of the patterns, each once, and what is wrong with the patterns.

    A file that has several names, by links say, goes by the first that the patterns give it. A
    pattern is relative to the current directory; `**` stands for any number of directories.
    """
    paths: dict[str, Path] = {}
    problems = []
    for pattern in patterns:
        found = _matching(pattern)
        if not found:
            problems.append(f"no file matches {pattern!r} in {Path.cwd()}.")
        for real, path in found.items():
            paths.setdefault(real, path)
    good = [path for path in paths.values() if path.suffix.lower() in SUPPORTED]
    if refused := [path for path in paths.values() if path.suffix.lower() not in SUPPORTED]:
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        names = ", ".join(path.as_posix() for path in refused[:3])
        problems.append(f"{names}{more}: read are only {', '.join(SUPPORTED)} files.")
    return good, problems


def _matching(pattern: str) -> dict[str, Path]:
    """Return the files that match, by where they really are; of several names the shallowest one."""
    # A name that looks like a pattern, "notes [1].txt", is a name where there is such a file. A name that
    # no file can have, too long a one say, is the name of no file: `Path.is_file` would raise.
    try:
        names = [pattern] if _is_file(pattern) else glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
    except ValueError:  # a null character
        names = []
    real: dict[str, str] = {}
    for name in sorted(filter(_is_file, names), key=lambda name: (len(Path(name).parts), name)):
        real.setdefault(os.path.realpath(name), name)
    return {place: Path(name) for place, name in sorted(real.items(), key=lambda each: each[1])}


def _is_file(name: str) -> bool:
    return os.path.isfile(name)  # noqa: PTH113 - Path.is_file raises for a name that is too long


def chunks(documents: Iterable[Document], size: int) -> list[Document]:
    """Cut documents into passages of at most `size` characters: at headings, paragraphs, lines, words."""
    with extra():
        from langchain_text_splitters import (  # noqa: PLC0415 - of the extra
            Language,
            RecursiveCharacterTextSplitter,
        )
    plain = RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=size // _OVERLAP)
    marked_up = RecursiveCharacterTextSplitter.from_language(
        Language.MARKDOWN, chunk_size=size, chunk_overlap=size // _OVERLAP
    )
    cut: list[Document] = []
    for document in documents:
        suffix = Path(document.metadata["source"]).suffix.lower()
        cut += (marked_up if suffix in _MARKED_UP else plain).split_documents([document])
    return cut
