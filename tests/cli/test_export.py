"""`moa export` and `moa import`: a thread as a file, and a file as a thread."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from moa_graph.cli import files
from moa_graph.runs.threads import Runs
from moa_graph.spec.loading import load_spec
from tests.cli.conftest import Moa, SpecFile


@pytest.fixture
def thread(moa: Moa, served: SpecFile) -> str:
    """Keep an answered thread "t" in moa.db of the test's own directory."""
    return keep(served([["ok@a", "ok@b"]], "ok@z"))


def keep(spec: str, **options: Any) -> str:
    async def start() -> str:
        async with Runs.open("sqlite:///moa.db", load_spec(spec)) as runs:
            return (await runs.start("why?", thread="t", **options)).thread

    return asyncio.run(start())


def test_a_thread_goes_to_stdout_and_back(moa: Moa, thread: str) -> None:
    exported = moa("export", thread)
    assert exported.exit_code == 0
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert [line["type"] for line in lines] == [
        *["thread", "turn", "question", "layer", "answer", "status", "end"]
    ]
    imported = moa("import", "-", "--as", "copy", stdin=exported.stdout_bytes)
    assert (imported.exit_code, imported.stdout) == (0, "copy\n")
    assert imported.stderr == "imported; answered\n"
    again = [json.loads(line) for line in moa("export", "copy").stdout.splitlines()]
    assert again[1:] == lines[1:]


def test_a_file_is_for_its_owner_and_is_not_replaced(moa: Moa, thread: str, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    assert "wrote out.jsonl: 7 lines" in moa("export", thread, "-o", "out.jsonl").stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_bytes()
    refused = moa("export", thread, "-o", "out.jsonl", "--without-texts")
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert file.read_bytes() == content
    assert moa("export", thread, "-o", "out.jsonl", "--without-texts", "--force").exit_code == 0
    assert len(file.read_bytes()) < len(content)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("*out*")] == ["out.jsonl"]
    without = moa("import", "out.jsonl", "--as", "copy")
    assert without.exit_code == 2
    assert "out.jsonl:1: this was exported without its texts" in without.stderr


@pytest.mark.parametrize("output", ["missing/out.jsonl", ".", "/dev/null"])
def test_a_place_that_takes_no_file_is_refused(moa: Moa, thread: str, output: str) -> None:
    refused = moa("export", thread, "-o", output, "--force")
    assert refused.exit_code == 2
    assert output in refused.stderr


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    files.write_whole(tmp_path / "link", b"new", force=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    files.write_whole(tmp_path / "file", b"one", force=False)
    with pytest.raises(FileExistsError):
        files.write_whole(tmp_path / "file", b"two", force=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"one"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(tmp_path / "file", b"new", force=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_an_unknown_thread_is_refused(moa: Moa, thread: str) -> None:
    refused = moa("export", "other", "-o", "out.jsonl")
    assert refused.exit_code == 2
    assert "there is no thread 'other'" in refused.stderr
    assert not Path("out.jsonl").exists()


def test_a_file_that_is_no_export_is_refused_with_its_line(moa: Moa, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"type": "thread", "format": 7}\n')
    refused = moa("import", "bad.jsonl")
    assert refused.exit_code == 2
    assert "bad.jsonl:1: this is no format that can be read here" in refused.stderr
    assert "Nothing was imported" in refused.stderr


@pytest.mark.parametrize("file", ["missing.jsonl", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_refused(moa: Moa, file: str) -> None:
    assert moa("import", file).exit_code == 2


def test_an_id_that_is_taken_is_refused(moa: Moa, thread: str) -> None:
    moa("export", thread, "-o", "out.jsonl")
    refused = moa("import", "out.jsonl")
    assert refused.exit_code == 2
    assert "--as" in refused.stderr
    escaped = moa("import", "out.jsonl", "--as", "x\x1b[31my")
    assert escaped.stdout == "xy\n"


def test_a_thread_that_stopped_says_so(moa: Moa, served: SpecFile) -> None:
    keep(served([["ok@a"]], "ok@z"), breakpoints="all")
    moa("export", "t", "-o", "out.jsonl")
    imported = moa("import", "out.jsonl", "--as", "copy")
    assert imported.stderr == "imported; interrupted: before layer-1\n"
