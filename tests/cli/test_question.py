from __future__ import annotations

from pathlib import Path

import pytest
import typer

from moa_graph.cli.question import MAX_BYTES, compose, read_documents, read_question


def test_the_question_is_the_last_paragraph_after_each_document_under_its_name() -> None:
    message = compose("Why?", [("a.md", "Text A."), ("b.txt", "Text B.")])
    assert message == "# Document: a.md\n\nText A.\n\n# Document: b.txt\n\nText B.\n\nWhy?"


def test_without_documents_the_question_is_the_message() -> None:
    assert compose("Why?\n\nReally?", []) == "Why?\n\nReally?"


def test_documents_are_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf  H\xc3\xa9llo.\n\n")
    assert read_documents([tmp_path / "a.md"]) == [("a.md", "Héllo.")]


def test_documents_of_the_same_name_go_by_their_paths(tmp_path: Path) -> None:
    paths = [tmp_path / "x" / "a.md", tmp_path / "y" / "a.md"]
    for path in paths:
        path.parent.mkdir()
        path.write_text("text")
    assert [name for name, _ in read_documents(paths)] == [str(path) for path in paths]


def test_a_name_cannot_forge_a_paragraph(tmp_path: Path) -> None:
    (tmp_path / "a\n\nb.md").write_text("text")
    assert read_documents([tmp_path / "a\n\nb.md"]) == [("a b.md", "text")]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xff\xfe", "not UTF-8 text (byte 0)"),
        (b"PK\0\0", "NUL bytes"),
        (b"a" * (MAX_BYTES + 1), "larger than 2,000,000 bytes"),
    ],
)
def test_what_is_no_text_or_too_long_is_refused_by_name(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "document.bin").write_bytes(data)
    with pytest.raises(typer.BadParameter, match=r"document\.bin") as caught:
        read_documents([tmp_path / "document.bin"])
    assert problem in caught.value.message


def test_a_missing_document_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="No such file"):
        read_documents([tmp_path / "missing.md"])
    with pytest.raises(typer.BadParameter, match="directory"):
        read_documents([tmp_path])


def test_an_empty_question_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="empty"):
        read_question(" \n")
