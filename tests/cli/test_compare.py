from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from moa_graph.cli.compare import compare
from moa_graph.cli.run_names import run_names


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `moa compare` on runs of right and wrong answers, such as "++-"."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, signs: str, **fields: Any) -> str:
        lines = []
        for number, sign in enumerate(signs):
            answer = {"+": "4", "-": "5", "0": None}[sign]
            record = {"id": number, "gold": ["4"], "extracted": answer, "correct": sign == "+"}
            lines.append(json.dumps(record | {"cost": 0.001, "calls": 7, "seconds": 2.0} | fields) + "\n")
        (tmp_path / name).write_text("".join(lines))
        return name

    def invoke(old: str, new: str, *options: str, **fields: Any) -> Result:
        app = typer.Typer()
        app.command()(compare)
        files = [write("a.jsonl", old), write("b.jsonl", new, **fields)]
        return CliRunner().invoke(app, [*files, *options], catch_exceptions=False)

    return invoke


def test_a_difference_is_told_with_intervals_and_what_changed(run: Any) -> None:
    out = run("-" * 20 + "+" * 20, "+" * 19 + "0" + "+" * 19 + "-", calls=3).stdout
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith("40 items in both runs; 0 only in a.jsonl, 0 only in b.jsonl\n")
    assert lines[1] == ["a.jsonl", "b.jsonl", "b.jsonl", "−", "a.jsonl"]
    assert lines[2][:3] == ["correct,", "%", "50.0"]
    assert "+45.0 [+" in out
    assert "b.jsonl is higher" in out
    calls = next(line for line in out.splitlines() if line.startswith("calls"))
    assert calls.endswith("-4.00 [-4.00, -4.00]  b.jsonl is lower")
    cost = next(line for line in out.splitlines() if line.startswith("cost"))
    assert cost.endswith("no difference can be told")
    assert "19 right in both, 1 wrong in both, 19 wrong → right, 1 right → wrong" in out
    assert "── right → wrong\n39: 4 → 5 (gold: 4)\n" in out


def test_an_interval_that_holds_zero_is_never_called_a_difference(run: Any) -> None:
    out = run("+-+-+-+-+-", "+-+-+-+--+").stdout
    assert "b.jsonl is" not in out
    assert out.count("no difference can be told") == 3
    assert out.count("depends on the load") == 1


def test_answers_that_were_read_in_different_ways_are_called_neither_higher_nor_lower(
    run: Any, tmp_path: Path
) -> None:
    for name, signs, how in (("a", "+" * 20, "number"), ("b", "-" * 20, "last-line")):
        run(signs, signs)
        (tmp_path / name).mkdir()
        (tmp_path / "a.jsonl").rename(tmp_path / name / "records.jsonl")
        (tmp_path / name / "evaluation.json").write_text(json.dumps({"extract": {"by": how}}))
    app = typer.Typer()
    app.command()(compare)
    out = CliRunner().invoke(app, ["a", "b"]).stdout
    assert "b is" not in out
    assert "right in both" not in out
    assert "wrong → right" not in out
    assert "unknown: correct\n" in out
    assert "read in different ways, a by number, b by last-line. Evaluate one of them again" in out
    found = json.loads(CliRunner().invoke(app, ["a", "b", "--json"]).stdout)
    assert (found["readings"], found["lost"], found["unscored"]) == (["number", "last-line"], [], 20)


def test_long_lists_are_cut_unless_all_is_asked_for(run: Any) -> None:
    out = run("-" * 23, "+" * 23).stdout
    assert out.count(": 5 → 4 (gold: 4)") == 20
    assert "and 3 more: --all lists them" in out
    assert run("-" * 23, "+" * 23, "--all").stdout.count(": 5 → 4 (gold: 4)") == 23


def test_what_is_unknown_is_said_to_be(run: Any) -> None:
    out = run("++", "++", correct=None, cost=None).stdout
    assert "unknown: correct, cost" in out
    assert "right in both" not in out


def test_a_measure_of_some_items_alone_says_of_how_many(run: Any, tmp_path: Path) -> None:
    lines = [{"id": 0, "correct": True, "cost": None}, {"id": 1, "correct": False, "cost": 1.0}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    app = typer.Typer()
    app.command()(compare)
    out = CliRunner().invoke(app, ["c.jsonl", "c.jsonl"]).stdout
    assert "cost: known for 1 item in both runs" in out
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": 1, "correct": True}) + "\n")
    assert "1: no answer → no answer\n" in CliRunner().invoke(app, ["c.jsonl", "d.jsonl"]).stdout


def test_as_json_everything_is_there(run: Any) -> None:
    found = json.loads(run("+-", "-+", "--json").stdout)
    assert found["items"] == 2
    assert (found["run_a"], found["run_b"], found["only_run_a"]) == ("a.jsonl", "b.jsonl", [])
    assert found["won"] == [{"id": "1", "run_a": "5", "run_b": "4", "gold": "4"}]
    assert found["differences"][0]["run_a"]["value"] == 0.5
    assert found["differences"][0]["measure"] == "correct"
    assert found["differences"][0]["difference"]["level"] == 0.95


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (("out/a", "out/b/"), ("a", "b")),
        (("x/out", "y/out"), ("x/out", "y/out")),
        (("out", "out"), ("out (1)", "out (2)")),
        (("..", "."), ("..", ".")),
    ],
)
def test_runs_are_called_by_what_tells_them_apart(runs: tuple[str, str], names: tuple[str, str]) -> None:
    assert run_names(*runs) == names
