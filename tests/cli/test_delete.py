from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Moa, SpecFile
from tests.cli.terminal import on_terminal
from tests.cli.threaded import ask


def test_it_is_taken_away_and_its_forks_stay(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    moa("fork", "t1")
    moa("fork", "t1~1", "--to", "deep")
    result = moa("delete", "t1", "--yes")
    assert (result.exit_code, result.stdout) == (0, "deleted t1\n")
    assert result.stderr == "its forks stay: t1~1\n"
    assert moa("status", "t1").exit_code == 2
    assert moa("show", "t1~1").exit_code == 0
    record = json.loads(moa("delete", "t1~1", "--yes", "--json").stdout)
    assert record == {"deleted": "t1~1", "forks": ["deep"]}
    assert moa("delete", "deep", "-y").stderr == ""


def test_without_a_terminal_yes_is_needed(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    result = moa("delete", "t1")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert moa("status", "t1").exit_code == 0


def test_an_unknown_thread_ends_with_2_before_anything_is_asked(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    result = moa("delete", "t2")
    assert result.exit_code == 2
    assert "Did you mean 't1'?" in result.stderr


def test_a_terminal_is_asked(moa: Moa, served: SpecFile, tmp_path: Path) -> None:
    ask(served([["ok@a"]], "ok@z"))
    code, output = on_terminal("delete", "t1", cwd=tmp_path, answers=["n"])
    assert code == 130
    assert "Delete t1 (answered, 1 turn: Why?)? [y/N]: " in output
    assert moa("status", "t1").exit_code == 0
    code, output = on_terminal("delete", "t1", cwd=tmp_path, answers=["y"])
    assert code == 0
    assert "deleted t1" in output
