from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from moa_graph.evaluation import judging
from tests.cli.conftest import Moa
from tests.evaluation.runs_of_eval import written_run
from tests.evaluation.test_judging import fair
from tests.fakes.models import ScriptedChatModel

LAYERS = {"draft": {"a": "++-+", "b": "+--+"}, "refine": {"a": "++-+"}}


@pytest.fixture
def run(tmp_path: Path) -> str:
    written_run(tmp_path / "moa", LAYERS, [True, True, False, True])
    return "moa"


def test_figures_are_written_as_numbers_with_intervals(moa: Moa, run: str) -> None:
    result = moa("report", run)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "accuracy by layer, in %, with 95 % intervals over 4 questions",
        "",
        "curve  layer  accuracy",
        "moa        1  62.5 [25.0, 100.0]",
        "moa        2  75.0 [30.1, 95.4]",
        "moa        3  75.0 [30.1, 95.4]   answer",
    ]


def test_a_layer_in_which_not_all_were_asked_is_biased_and_says_so(moa: Moa, tmp_path: Path) -> None:
    written_run(tmp_path / "two", {"draft": {"a": "++-+", "b": "++.c", "c": "-.--"}}, [True] * 4)
    result = moa("report", "two", "-o", "f.svg")
    warning = "two, layer 1 is biased: for 3 of 4 questions a proposer was cut or not asked."
    assert f"warning: {warning} Where agreement ended the layer early" in result.stderr
    assert "evaluate a spec without `stop`" in result.stderr
    assert re.search(r"^two +1 .*\]  +3 cut$", result.stdout, re.MULTILINE)
    assert "3 cut" in (tmp_path / "f.svg").read_text()
    found = json.loads(moa("report", "two", "--json").stdout)
    assert [point["cut"] for point in found["curves"][0]["points"]] == [3, 0]
    assert found["warnings"][0].startswith(warning)


@pytest.mark.parametrize(("name", "begin"), [("f.png", b"\x89PNG"), ("f.svg", b"<?xml")])
@pytest.mark.parametrize("figure", ["by-layer", "by-proposers", "single-multiple", "cost-quality"])
def test_every_figure_is_drawn(
    moa: Moa, run: str, tmp_path: Path, figure: str, name: str, begin: bytes
) -> None:
    written_run(tmp_path / "wide", {"draft": {"a": "++++", "b": "----", "c": "++++"}}, [True] * 4)
    result = moa("report", run, "wide", "--figure", figure, "-o", name)
    assert (result.exit_code, result.stderr) == (0, f"wrote {name}\n")
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_a_run_of_unknown_cost_is_named(moa: Moa, run: str, tmp_path: Path) -> None:
    written_run(tmp_path / "free", LAYERS, [True, True, True, True], costs=[0.1, 0.1, None, 0.1])
    result = moa("report", run, "free", "--figure", "cost-quality")
    assert result.stderr == "free is left out: what some of its questions cost is unknown\n"
    assert "0.01 [0.01, 0.01]" in result.stdout
    assert "free" not in result.stdout


def test_small_costs_keep_their_digits(moa: Moa, tmp_path: Path) -> None:
    written_run(tmp_path / "cheap", LAYERS, [True] * 4, costs=[0.000231, 0.000232, 0.000232, 0.000232])
    written_run(tmp_path / "dear", LAYERS, [True] * 4, costs=[0.5] * 4)
    lines = moa("report", "cheap", "dear", "--figure", "cost-quality").stdout.splitlines()
    assert re.search(r"answer  0\.000232 \[0\.00023\d*, 0\.000232\]  100\.0 .* cheap$", lines[3])


def test_json_holds_the_points(moa: Moa, run: str) -> None:
    found = json.loads(moa("report", run, "--figure", "by-proposers", "--json").stdout)
    [curve] = found["curves"]
    assert found["questions"] == 4
    assert curve["curve"] == "answer"
    [point] = curve["points"]
    assert (point["at"], point["label"], point["value"]["value"]) == (2, "moa", 0.75)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("moa", "-o", "f.pdf"), "the suffix must be .png or .svg"),
        (("moa", "-o", "no/f.svg"), "no/f.svg: No such file"),
        (("moa", "--figure", "all"), "'--figure': 'all' is not one of"),
        (("nowhere",), "nowhere: cannot be read"),
        (("unpriced", "--figure", "cost-quality", "-o", "f.svg"), "there is nothing to draw"),
    ],
)
def test_wrong_usage_ends_with_2(
    moa: Moa, run: str, tmp_path: Path, options: tuple[str, ...], problem: str
) -> None:
    written_run(tmp_path / "unpriced", LAYERS, [True] * 4, costs=[None] * 4)
    result = moa("report", *options)
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())


JUDGED = {"one": ["bad"] * 9 + ["good"], "two": ["good, good"] * 10}


@pytest.fixture
def judged(tmp_path: Path, moa: Moa, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give two runs that a judge compared with a third one; return the options that say so."""
    rows = [{"id": number, "question": f"Q{number}?"} for number in range(10)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, answers in {**JUDGED, "base": ["bad"] * 10}.items():
        layers = {"d": dict.fromkeys(("a", "b")[: 1 + (name == "two")], "+" * 10)}
        folder = written_run(tmp_path / name, layers, [None] * 10, costs=[0.1] * 10)
        (folder / "evaluation.json").unlink()  # of another dataset
        lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
        said = [{**line, "answer": answer} for line, answer in zip(lines, answers, strict=True)]
        (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    whole = judging.Judge
    monkeypatch.setattr(judging, "Judge", lambda spec: whole(spec, models={"judge": ScriptedChatModel(fair)}))
    for name in JUDGED:
        options = ["--model", "host:judge", "--dataset", "d.jsonl", "--out", f"{name}.verdicts"]
        assert moa("judge", "base", name, *options).exit_code == 0
    return [
        "--against",
        "base",
        "--model",
        "host:judge",
        "--dataset",
        "d.jsonl",
        "--verdicts",
        "one.verdicts",
    ]


def test_win_rates_are_those_of_the_verdicts_and_nothing_is_asked(
    moa: Moa, judged: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "Judge", None)
    options = [*judged, "--verdicts", "two.verdicts", "--figure", "by-proposers"]
    result = moa("report", "one", "two", *options, "-o", "f.svg")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert (
        lines[0]
        == "win rate by number of proposers against base, in %, with 95 % intervals over 10 questions"
    )
    assert lines[2].split() == ["curve", "proposers", "win", "rate"]
    assert [line.split()[:3] for line in lines[3:]] == [["answer", "1", "55.0"], ["answer", "2", "100.0"]]
    assert b"win rate" in (tmp_path / "f.svg").read_bytes()
    record = json.loads(moa("report", "one", "two", *options, "--json").stdout)
    assert (record["measure"], record["against"], record["questions"]) == ("win rate", "base", 10)


def test_win_rates_are_of_the_questions_on_which_every_run_was_judged(
    moa: Moa, judged: list[str], tmp_path: Path
) -> None:
    lines = (tmp_path / "two.verdicts").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["id"] in set("12345")]
    (tmp_path / "two.verdicts").write_text("".join(kept))
    result = moa("report", "one", "two", *judged, "--verdicts", "two.verdicts", "--figure", "cost-quality")
    assert result.stderr == "5 questions left out: not judged in every run\n"
    assert "over 5 questions" in result.stdout
    assert "50.0 [50.0, 50.0]" in result.stdout  # the one that `one` won is not among them
    kept = [line for line in lines if json.loads(line)["id"] == "7"]
    (tmp_path / "two.verdicts").write_text("".join(kept))
    (tmp_path / "one.verdicts").write_text((tmp_path / "one.verdicts").read_text().replace('"7"', '"77"'))
    refused = moa("report", "one", "two", *judged, "--verdicts", "two.verdicts")
    assert "no question is judged in all of the runs" in refused.stderr


@pytest.mark.parametrize("figure", ["by-layer", "by-proposers", "single-multiple", "cost-quality"])
def test_every_figure_is_drawn_of_win_rates(moa: Moa, judged: list[str], tmp_path: Path, figure: str) -> None:
    options = [*judged, "--verdicts", "two.verdicts", "--figure", figure, "-o", "f.svg"]
    assert moa("report", "one", "two", *options).exit_code == 0
    assert b"win rate against base, %" in (tmp_path / "f.svg").read_bytes()


def test_verdicts_of_another_judge_do_not_count(moa: Moa, judged: list[str]) -> None:
    options = ["host:another" if option == "host:judge" else option for option in judged]
    assert "has both verdicts of this judge" in moa("report", "one", *options).stderr


def test_win_rates_by_layer_are_of_runs_of_different_depth(moa: Moa, judged: list[str]) -> None:
    lines = moa("report", "one", *judged).stdout.splitlines()
    assert lines[0].startswith("win rate by number of layers against base, ")
    assert lines[-1].split()[:3] == ["answer", "2", "55.0"]


def test_a_run_without_verdicts_says_how_they_are_had(moa: Moa, judged: list[str]) -> None:
    result = moa("report", "two", *judged)
    assert result.exit_code != 0
    assert "has both verdicts of this judge" in result.stderr
    assert "moa judge base two" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--against", "base"], "needs who judged"),
        (["--model", "host:judge"], "says nothing without --against"),
        (["--verdicts", "x"], "says nothing without --against"),
        (["--dataset", "x"], "says nothing without --against"),
    ],
)
def test_options_that_belong_together_are_asked_for(
    moa: Moa, run: str, options: list[str], said: str
) -> None:
    result = moa("report", run, *options)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
