"""Files are found by patterns, read in a fixed order, and cut into passages."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document

from moa_graph.retrieval import files
from moa_graph.retrieval.files import chunks, find, load


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str, text: str = "Some words.") -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")


def test_patterns_are_relative_to_the_current_directory_and_keep_a_fixed_order() -> None:
    write("docs/b.md", "docs/a.md", "docs/deep/c.md", "z.txt")
    paths, problems = find(["z.txt", "docs/**/*.md", "./docs/a.md"])
    assert [path.as_posix() for path in paths] == ["z.txt", "docs/a.md", "docs/b.md", "docs/deep/c.md"]
    assert problems == []


def test_an_absolute_path_and_a_name_that_looks_like_a_pattern_are_found(folder: Path) -> None:
    write("notes [1].txt", "other.txt")
    assert find([str(folder / "o*.txt"), "notes [1].txt"]) == (
        [folder / "other.txt", Path("notes [1].txt")],
        [],
    )


def test_a_file_of_several_names_is_read_once_under_its_first(folder: Path) -> None:
    write("docs/a.txt", "docs/deep/b.txt")
    (folder / "docs/deep/back").symlink_to(folder / "docs")
    (folder / "docs/deep/again.txt").symlink_to(folder / "docs/a.txt")
    paths, problems = find(["docs/**/*.txt", "docs/deep/../a.txt", str(folder / "docs/a.txt")])
    assert [path.as_posix() for path in paths] == ["docs/a.txt", "docs/deep/b.txt"]
    assert problems == []
    paths, _ = find(["docs/deep/../a.txt", "docs/*.txt"])
    assert [path.as_posix() for path in paths] == ["docs/deep/../a.txt"]


@pytest.mark.parametrize("pattern", ["x" * 5_000 + ".txt", "a\0b.txt", "a\0/*.txt"])
def test_a_name_that_no_file_can_have_matches_none(pattern: str) -> None:
    paths, (problem,) = find([pattern])
    assert paths == []
    assert problem.startswith(f"no file matches {pattern!r} in ")


def test_a_pattern_without_a_file_is_said_with_the_directory(folder: Path) -> None:
    write("docs/a.md")
    assert find(["docs", "*.txt"]) == (
        [],
        [f"no file matches 'docs' in {folder}.", f"no file matches '*.txt' in {folder}."],
    )


def test_other_types_are_refused_once_with_what_is_read() -> None:
    write("a.md", "b.docx", "c.png", "d.png", "e.png")
    paths, problems = find(["*"])
    assert paths == [Path("a.md")]
    assert problems == [
        "b.docx, c.png, d.png and 1 more: read are only .txt, .md, .markdown, .html, .htm, .pdf files."
    ]


def test_everything_that_is_wrong_is_named_at_once() -> None:
    write("good.txt")
    write("empty.txt", text="")
    Path("odd.txt").write_bytes(b"\xff")
    documents, problems = load(["*.txt", "absent.pdf"])
    assert [document.metadata["source"] for document in documents] == ["good.txt"]
    assert len(problems) == 3
    assert problems[0].startswith("no file matches 'absent.pdf'")
    assert problems[1].startswith("empty.txt has no text")
    assert problems[2].startswith("odd.txt is not UTF-8 text")


def test_a_mass_of_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_CHARS", 1_000)
    write("a.txt", "b.txt", "c.txt", text="x" * 600)
    documents, problems = load(["*.txt"])
    assert len(documents) == 2
    assert problems == [
        (
            "the files have more than 1,000 characters; "
            "name fewer, or register a retriever that keeps its index elsewhere."
        )
    ]


def test_passages_are_at_most_as_long_as_said_and_lose_no_word() -> None:
    words = [f"word{number}" for number in range(500)]
    cut = chunks([Document(" ".join(words), metadata={"source": "a.txt", "page": 2})], 100)
    assert max(len(each.page_content) for each in cut) <= 100
    assert {word for each in cut for word in each.page_content.split()} == set(words)
    assert all(each.metadata == {"source": "a.txt", "page": 2} for each in cut)


@pytest.mark.parametrize("name", ["a.md", "a.HTML"])
def test_what_is_marked_up_is_cut_at_its_headings(name: str) -> None:
    text = "\n\n".join(f"## Part {number}\n\n{'word ' * 10}" for number in range(3))
    cut = chunks([Document(text, metadata={"source": name})], 100)
    assert [each.page_content.split("\n")[0] for each in cut] == ["## Part 0", "## Part 1", "## Part 2"]
