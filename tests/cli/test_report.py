from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Moa
from tests.evaluation.runs_of_eval import written_run

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
    assert "0.0100 [0.0100, 0.0100]" in result.stdout
    assert "free" not in result.stdout


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
        (("moa", "--figure", "all"), "'all' is not one of"),
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
