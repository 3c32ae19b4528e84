"""The user's message: documents first, the question last."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from moa_graph.cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_BYTES", "compose", "read_documents", "read_question"]

MAX_BYTES = 2_000_000
"""Of one document or question: more than today's context windows hold, far less than memory."""


def read_question(argument: str) -> str:
    """Return the question, read from stdin where the argument is `-`.

    Raises typer.BadParameter for an empty, too long or undecodable one.
    """
    question = argument
    if argument == "-":
        question = _text(sys.stdin.buffer, "stdin", "QUESTION")
    if not question.strip():
        raise typer.BadParameter("the question is empty", param_hint="QUESTION")
    return question.strip()


def read_documents(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """Return (name, text) of each file; the name is the file's own where that is unique, else the whole path.

    Raises typer.BadParameter for what cannot be read, is no UTF-8 text, or is larger than MAX_BYTES.
    """
    names = [path.name for path in paths]
    documents = []
    for path in paths:
        try:
            with path.open("rb") as file:
                text = _text(file, str(path), "--context")
        except OSError as error:
            problem = f"{path}: {error.strerror or error}"
            raise typer.BadParameter(problem, param_hint="--context") from error
        name = path.name if names.count(path.name) == 1 else str(path)
        documents.append((one_line(name), text.strip()))
    return documents


def compose(question: str, documents: Sequence[tuple[str, str]]) -> str:
    """Return one message: each document under a heading with its name, then the question as it is."""
    blocks = [f"# Document: {name}\n\n{text}" for name, text in documents]
    return "\n\n".join([*blocks, question])


def _text(file: BinaryIO, name: str, hint: str) -> str:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise typer.BadParameter(f"{name}: larger than {MAX_BYTES:,} bytes", param_hint=hint)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"{name}: not UTF-8 text (byte {error.start})"
        raise typer.BadParameter(problem, param_hint=hint) from error
    if "\0" in text:
        raise typer.BadParameter(f"{name}: not text (it holds NUL bytes)", param_hint=hint)
    return text
