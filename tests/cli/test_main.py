from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from moa_graph.cli import manual
from moa_graph.cli.faults import complain, exit_code
from moa_graph.cli.main import app, main
from moa_graph.errors import ModelNotReady, QuorumNotMet
from tests.cli.conftest import Moa

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_version(moa: Moa) -> None:
    assert moa("--version").stdout == f"moa {version('moa-graph')}\n"


def test_help_names_every_command(moa: Moa) -> None:
    result = moa("--help")
    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in ("run", "check", "schema", "draw", "init"))


def test_wrong_usage_ends_with_2(moa: Moa) -> None:
    assert moa("nonsense").exit_code == 2
    assert moa("run").exit_code == 2
    assert moa().exit_code == 2


def test_schema_prints_the_json_schema(moa: Moa) -> None:
    result = moa("schema")
    assert json.loads(result.stdout)["type"] == "object"
    assert result.stdout.endswith("}\n")


def test_errors_have_their_exit_codes_and_their_hints(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(QuorumNotMet("x")) == 1
    assert exit_code(ModelNotReady("x")) == 2
    complain({"type": "ModelNotReady", "message": "no\x1b[2J key", "hint": "set it"})
    assert capsys.readouterr().err == "error: no key\nhint: set it\n"


def test_all_lines_of_a_message_but_those_of_a_spec_are_indented(capsys: pytest.CaptureFixture[str]) -> None:
    complain({"type": "ModelNotReady", "message": "no key\nno package", "hint": ""})
    complain({"type": "SpecError", "message": "a.yaml:1:1: x\na.yaml:2:1: y", "hint": ""})
    assert capsys.readouterr().err == "error: no key\n       no package\na.yaml:1:1: x\na.yaml:2:1: y\n"


def test_the_usage_line_names_the_arguments_as_the_help_does(moa: Moa) -> None:
    assert moa("run", "-h").stdout.startswith("Usage: moa run [OPTIONS] SPEC QUESTION\n")
    assert moa("check", "-h").stdout.startswith("Usage: moa check [OPTIONS] SPEC...\n")
    assert moa("init", "-h").stdout.startswith("Usage: moa init [OPTIONS] [FILE]\n")


def test_python_m_is_the_same_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["moa", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("moa_graph", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("moa ")


def test_the_help_in_the_documentation_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert manual.refresh(page) == page, "run: python -m moa_graph.cli.manual docs/cli.md"
    shown = re.findall(r"^<!-- help: ([a-z ]+) -->$", page, re.MULTILINE)
    assert sorted(shown) == sorted(_commands(get_command(app)))


def _commands(group: Any) -> Iterator[str]:
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        yield from [name] if inner is None else (f"{name} {each}" for each in inner)


def test_the_manual_rewrites_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n<!-- help: schema -->\nold\n<!-- end of help -->\nafter\n")
    monkeypatch.setattr(sys, "argv", ["manual", str(page)])
    monkeypatch.delitem(sys.modules, "moa_graph.cli.manual")
    runpy.run_module("moa_graph.cli.manual", run_name="__main__")
    text = page.read_text()
    assert "moa schema" in text
    assert "old" not in text
    assert text.endswith("<!-- end of help -->\nafter\n")


@pytest.mark.parametrize(
    "words",
    [
        ["status", "nobody"],
        ["history", "nobody"],
        ["show", "nobody"],
        ["edit", "nobody", "a/b", "--drop"],
        ["fork", "nobody"],
        ["diff", "nobody", "else"],
        ["delete", "nobody", "--yes"],
        ["threads", "--db", "nonsense"],
        ["threads", "--nonsense"],
        ["status"],
    ],
)
def test_json_is_one_object_also_on_failure(moa: Moa, words: list[str]) -> None:
    result = moa(*words, "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert set(error) == {"type", "message", "hint"}
    assert error["message"].splitlines()[0] in result.stderr


def test_json_as_a_text_asks_for_no_object(moa: Moa) -> None:
    assert moa("status", "--", "--json").stdout == ""


def test_the_process_ends_without_a_last_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr("gc.freeze", lambda: frozen.append(True))
    monkeypatch.setattr("sys.argv", ["moa", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert frozen == [True]
