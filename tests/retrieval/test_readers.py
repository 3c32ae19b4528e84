"""Local files are read as text, or refused in a sentence that says how to mend it."""

from __future__ import annotations

import builtins
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader, PdfWriter

from moa_graph.errors import ModelNotReady
from moa_graph.retrieval import html, readers
from moa_graph.retrieval.readers import UnreadableError, read
from tests.retrieval.documents import FILES, pdf


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def text_of(path: Path) -> str:
    (document,) = read(path)
    assert document.metadata == {"source": path.as_posix()}
    return document.page_content


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.markdown", "A.TXT"])
def test_text_is_read_as_it_stands(tmp_path: Path, name: str) -> None:
    assert text_of(write(tmp_path / name, "\ufeff# Größe\r\n\r\n1 m".encode())) == "# Größe\n\n1 m"


def test_html_is_read_as_its_visible_text() -> None:
    text = text_of(FILES / "shop.html")
    assert "# Jars and lids" in text.splitlines()
    assert "A jarful of heather honey costs 9 € & keeps." in text.splitlines()
    assert [line for line in text.splitlines() if line.startswith("L")] == ["Lids", "Labels"]
    assert "500 g 9 €" in text.splitlines()
    assert "tracking" not in text
    assert "gold" not in text


@pytest.mark.parametrize(
    "data",
    [
        "<p>Größe".encode(),
        '<meta charset="iso-8859-1"><p>Größe'.encode("latin-1"),
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><p>Größe</p></html>'.encode(),
    ],
)
def test_html_is_read_in_the_encoding_it_names(tmp_path: Path, data: bytes) -> None:
    assert text_of(write(tmp_path / "a.htm", data)) == "Größe"


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    documents = read(write(tmp_path / "a.PDF", pdf("First page.", "", "Third page.")))
    assert [each.page_content.strip() for each in documents] == ["First page.", "Third page."]
    assert [each.metadata["page"] for each in documents] == [1, 3]


def encrypted() -> bytes:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(pdf("Secret."))))
    writer.encrypt("password", algorithm="RC4-128")
    buffer = BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "has no text; leave it out"),
        ("a.md", b" \n\t", "has no text; leave it out"),
        ("a.html", b"<script>x</script>", "has no text; leave it out"),
        ("a.pdf", pdf("", ""), "has no text (scanned pages need text recognition first)"),
        ("a.txt", "Größe".encode("latin-1"), "is not UTF-8 text (byte 3 is 0xf6); save it as UTF-8."),
        ("a.html", "<p>Größe".encode("latin-1"), "is not UTF-8 text (byte 6 is 0xf6)"),
        (
            "a.html",
            b"<meta charset=bogus><p>\xf6",
            "the encoding that it names, 'bogus'; save it as UTF-8.",
        ),
        ("a.html", b"<meta charset=undefined><p>\xf6", "nor in the encoding that it names, 'undefined'"),
        ("a.html", b"<meta charset=rot13><p>\xf6", "nor in the encoding that it names, 'rot13'"),
        ("a.html", b"<meta charset=ascii><p>\xf6", "nor in the encoding that it names, 'ascii'"),
        ("a.html", b"<p>text <![n markup", "is not valid HTML; save it again"),
        ("a.html", b"<p>&#" + b"1" * 9_000 + b";", "is not valid HTML; save it again"),
        ("a.pdf", b"", "is not a valid PDF: "),
        ("a.pdf", b"%PDF-1.4\nnothing", "is not a valid PDF: "),
        ("a.pdf", encrypted(), "is encrypted; take its password off."),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        read(write(tmp_path / name, data))
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_too_big_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_BYTES", 2_000_000)
    monkeypatch.setattr(readers, "MAX_PAGES", 2)
    with pytest.raises(UnreadableError, match="is larger than 2 MB; split it"):
        read(write(tmp_path / "a.txt", b"x" * 2_000_001))
    with pytest.raises(UnreadableError, match="has more than 2 pages; split it"):
        read(write(tmp_path / "a.pdf", pdf("1", "2", "3")))


@pytest.mark.parametrize(
    "data",
    [
        b"<!--" * 100_000,
        b"<?" * 200_000,
        b"<![CDATA[" * 50_000,
        b"<br>" * 50_000 + b"<hr>" * 50_000 + b"</hr>" * 50_000,
    ],
)
def test_html_that_takes_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(html, "SECONDS", 0.1)
    monkeypatch.setattr(html, "SECONDS_PER_MEGABYTE", 0.1)
    with pytest.raises(UnreadableError, match=r"is HTML too tangled to be read in 0\.[12] s; save it"):
        read(write(tmp_path / "a.html", data))


def test_a_deep_or_long_html_document_is_read(tmp_path: Path) -> None:
    rows = b"<table>" + b"<tr><td>tea<td>cup</tr>" * 5_000 + b"</table>"
    assert text_of(write(tmp_path / "rows.html", rows)).count("tea cup\n") >= 1
    deep = b"<div>" * 20_000 + b"tea" + b"</div>" * 20_000
    assert text_of(write(tmp_path / "deep.html", deep)) == "tea"


def test_comments_are_not_seen_and_character_data_are(tmp_path: Path) -> None:
    data = b"<!DOCTYPE html><?pi?><p>Honey<!-- and wax --> keeps <![CDATA[for years]]>.</p><h2>Wax</h2>melts"
    text = text_of(write(tmp_path / "a.html", data))
    assert text == "Honey keeps for years.\n\n## Wax\n\nmelts"


def test_what_pypdf_logs_of_a_file_reaches_nobody_and_other_uses_of_it_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = pdf("Honey keeps.").replace(b"startxref\n", b"startxref\n1")
    (document,) = read(write(tmp_path / "a.pdf", damaged))
    assert document.page_content.strip() == "Honey keeps."
    assert caplog.records == []
    PdfReader(BytesIO(damaged))
    assert caplog.records != []


@pytest.mark.parametrize("name", ["a.txt", "a.pdf"])
def test_a_file_that_the_system_withholds_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = write(tmp_path / name, b"x")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UnreadableError, match=r"cannot be read: Permission denied\."):
        read(path)


@pytest.mark.parametrize(("name", "package"), [("shop.html", "bs4"), ("a.pdf", "pypdf")])
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, package: str
) -> None:
    path = write(tmp_path / name, pdf("text"))
    real = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelNotReady) as missing:
        read(path)
    assert missing.value.message == (
        f"the package {package} is missing; install it with pip install 'moa-graph[retrieval]'."
    )
