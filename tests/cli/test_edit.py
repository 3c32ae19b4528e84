from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Moa, SpecFile
from tests.cli.terminal import on_terminal
from tests.cli.threaded import ask, go_on
from tests.fakes.openai_server import FakeOpenAI

ID = "layer-1/ok-a"


@pytest.fixture
def stopped(served: SpecFile, moa: Moa) -> None:
    """Make a thread t1 that stands before its aggregator."""
    ask(served([["ok@a", "400"]], "ok@z"), breakpoints=["aggregator"])


def editor(folder: Path, script: str) -> str:
    """Return an editor that does what a script says with the file's `path`."""
    file = folder / "editor.py"
    file.write_text(f"import pathlib, sys\npath = pathlib.Path(sys.argv[1])\n{script}\n")
    return f"{sys.executable} {file}"


@pytest.mark.usefixtures("stopped")
def test_a_text_is_changed_for_the_next_step(moa: Moa, server: FakeOpenAI) -> None:
    result = moa("edit", "t1", ID, "--text", "Answer of mine.")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{ID}: edited\nAnswer of[- ok@a")
    assert "{+ mine" in result.stdout
    assert result.stderr == "go on: moa resume t1\n"
    go_on()
    assert "Answer of mine." in str(server.of("ok@z")[0].messages)


@pytest.mark.usefixtures("stopped")
def test_a_text_comes_from_a_file_or_from_stdin(moa: Moa) -> None:
    Path("mine.txt").write_text("From a file.")
    record = json.loads(moa("edit", "t1", ID, "--file", "mine.txt", "--json").stdout)
    assert record["proposals"][0]["text"] == "From a file."
    record = json.loads(moa("edit", "t1", ID, "--file", "-", "--json", stdin="From stdin.").stdout)
    assert record["proposals"][0]["text"] == "From stdin."
    Path("bad.txt").write_bytes(b"\xff")
    for file, reason in [("missing.txt", "No such file"), ("bad.txt", "not UTF-8 text")]:
        result = moa("edit", "t1", ID, "--file", file)
        assert result.exit_code == 2
        assert reason in result.stderr


@pytest.mark.usefixtures("stopped")
def test_a_proposal_is_dropped_added_or_mended(moa: Moa) -> None:
    assert moa("edit", "t1", ID, "--drop").stdout == f"{ID}: dropped\n"
    assert moa("edit", "t1", "layer-1/mine", "--add", "--text", "Mine.").stdout == "layer-1/mine: added\n"
    out = moa("edit", "t1", "layer-1/400", "--text", "Mended.", "--who", "ann").stdout
    assert out.startswith("layer-1/400: edited; it was failed: bad_request: ")
    assert out.endswith("\nMended.\n")
    assert "edited layer-1/400 by ann" in moa("history", "t1").stdout


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--text", "x", "--drop"], "use one of --text, --file and --drop"),
        (["--text", "x", "--file", "y"], "use one of --text, --file and --drop"),
        (["--add", "--drop"], "use either --add or --drop"),
        ([], "say what: --text, --file or --drop"),
        (["--text", " "], "cannot be blank"),
        (["--text", "x", "--add"], "there is a proposal"),
    ],
)
def test_what_cannot_be_done_ends_with_2(moa: Moa, options: list[str], reason: str) -> None:
    result = moa("edit", "t1", ID, *options)
    assert result.exit_code == 2
    assert reason in result.stderr


@pytest.mark.usefixtures("stopped")
def test_an_unknown_proposal_ends_with_2_and_a_near_one(moa: Moa) -> None:
    result = moa("edit", "t1", "layer-1/ok-b", "--text", "x")
    assert result.exit_code == 2
    assert f"Did you mean {ID}?" in result.stderr


@pytest.mark.usefixtures("stopped")
def test_an_editor_opens_on_a_terminal(moa: Moa, tmp_path: Path) -> None:
    command = editor(tmp_path, "path.write_text(path.read_text().replace('ok@a', 'mine') + '\\n')")
    code, output = on_terminal(
        "edit", "t1", ID, cwd=tmp_path, extra={"EDITOR": command, "TMPDIR": str(tmp_path)}
    )
    assert code == 0
    assert f"{ID}: edited" in output
    proposal = json.loads(moa("show", "t1", "--json").stdout)["proposals"][0]
    assert proposal["text"].startswith("Answer of mine to ")
    assert not proposal["text"].endswith("\n")
    assert not list(tmp_path.glob("tmp*.md"))


@pytest.mark.usefixtures("stopped")
def test_a_text_left_as_it_is_changes_nothing(moa: Moa, tmp_path: Path) -> None:
    code, output = on_terminal(
        "edit", "t1", ID, cwd=tmp_path, extra={"VISUAL": "true", "TMPDIR": str(tmp_path)}
    )
    assert (code, output) == (0, "nothing is changed\n")
    assert "edited" not in moa("history", "t1").stdout
    assert not list(tmp_path.glob("tmp*.md"))


@pytest.mark.usefixtures("stopped")
def test_what_was_written_in_vain_is_not_lost(moa: Moa, tmp_path: Path) -> None:
    go_on()
    command = editor(tmp_path, "path.write_text('A long work.')")
    code, output = on_terminal(
        "edit", "t1", ID, cwd=tmp_path, extra={"EDITOR": command, "TMPDIR": str(tmp_path)}
    )
    assert code == 2
    (kept,) = tmp_path.glob("tmp*.md")
    assert kept.read_text() == "A long work."
    assert f"what you wrote is in {kept}" in output
    assert "is answered" in output


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("command", "reason"), [("", "there is no editor"), ("false", "failed"), ("no-such-editor", "failed")]
)
def test_without_an_editor_that_works_it_ends_with_2(tmp_path: Path, command: str, reason: str) -> None:
    extra = {"EDITOR": command, "VISUAL": "", "TMPDIR": str(tmp_path)}
    code, output = on_terminal("edit", "t1", ID, cwd=tmp_path, extra=extra)
    assert code == 2
    assert reason in output


@pytest.mark.usefixtures("stopped")
def test_an_editor_opens_for_a_new_proposal_only_with_add(moa: Moa, tmp_path: Path) -> None:
    command = editor(tmp_path, "path.write_text('Mine.\\n')")
    extra = {"EDITOR": command, "TMPDIR": str(tmp_path)}
    code, output = on_terminal("edit", "t1", "layer-1/mine", cwd=tmp_path, extra=extra)
    assert code == 2
    assert "there is no proposal 'layer-1/mine'" in output
    code, output = on_terminal("edit", "t1", "layer-1/mine", "--add", cwd=tmp_path, extra=extra)
    assert code == 0
    assert "layer-1/mine: added" in output
