from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Moa
from tests.evaluation.runs_of_eval import written_run

RESULTS: dict[str, Any] = {
    "ids": [str(n) for n in range(8)],
    "correct": {"strong": "11111100", "twin": "11111000", "other": "01101011", "odd": "00000001"},
    "answers": {
        "strong": list("RRRRRRxx"),
        "twin": list("RRRRRxxx"),
        "other": list("xRRyRzRR"),
        "odd": [None, *"yyyyyyR"],
    },
}
WARNING = "warning: tested on 4 questions only: its intervals say next to nothing\n"
SPEC = """\
moa: 1   # version
name: pool
models:
  strong: {model: embedded:extractive}
  twin: {model: embedded:extractive}
  other: {model: embedded:extractive}
  odd-one: {model: embedded:extractive}
layers:
  - name: draft
    proposers: [twin, odd-one]  # to be chosen
aggregator: {model: strong}
"""


@pytest.fixture
def answers(tmp_path: Path) -> str:
    (tmp_path / "answers.json").write_text(json.dumps(RESULTS))
    return "answers.json"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    path.chmod(0o644)
    return path


def test_the_policies_stand_beside_the_best_single_model_and_random_teams(moa: Moa, answers: str) -> None:
    result = moa("select", "--answers", answers, "--k", "2")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "2 of 4 models, chosen on 4 questions, tested on 4 others: accuracy in %, "
        "with 95 % intervals over questions"
    )
    assert lines[2].split("  ")[0] == "policy"
    rows = {line.split("  ")[0]: line for line in lines[3:9]}
    assert list(rows) == ["best single", "random-2", "top", "score", "coverage", "vote"]
    assert "75.0 [25.0, 100.0]" in rows["best single"]
    assert rows["best single"].count("–") == 3
    assert "best single: strong" in lines
    assert any(line.startswith("95 % of the 200 random teams: votes from ") for line in lines)


def test_without_a_spec_the_layer_goes_to_stdout_in_the_order_of_the_choice(moa: Moa, answers: str) -> None:
    result = moa("select", "--answers", answers, "--k", "2", "--policy", "top", "--layer", "first")
    assert result.stdout.endswith(
        "\ntop: strong, twin\n\n- name: first\n  proposers:\n    - strong\n    - twin\n"
    )
    assert result.stderr == WARNING


def test_enough_questions_are_tested_without_a_warning(moa: Moa, tmp_path: Path) -> None:
    answers = {"a": ["1"] * 20, "b": ["3"] * 20, "c": ["2"] * 20}
    known = {"correct": {"a": "10" * 10, "b": "01" * 10}, "answers": answers}
    (tmp_path / "many.json").write_text(json.dumps(known))
    result = moa("select", "--answers", "many.json", "--k", "2")
    assert result.stderr == ""
    assert "1 model left out, of which no scores are recorded: c\n" in result.stdout
    assert json.loads(moa("select", "--answers", "many.json", "--k", "2", "--json").stdout)["unscored"] == [
        "c"
    ]


def test_questions_that_an_early_stop_took_away_make_a_table_that_says_it_is_biased(
    moa: Moa, tmp_path: Path
) -> None:
    agreed = {"a": "+" * 15 + "-+-+-", "b": "+" * 15 + "+-+--", "c": "." * 15 + "+++--"}
    written_run(tmp_path / "stopped", {"draft": agreed}, [True] * 20)
    options = ("select", "--answers", "stopped", "--k", "2")
    result = moa(*options)
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(
        "warning: the table is biased: 15 of 20 questions are left out because a proposer was cut or not "
        "asked. Where agreement"
    )
    left_out = "15 questions left out: not every model has a score for them; in 15 of them a proposer was cut"
    assert left_out in result.stdout
    found = json.loads(moa(*options, "--json").stdout)
    assert (found["left_out"], found["cut"]) == (15, 15)
    assert "the table is biased" in found["warnings"][0]


def test_lambda_weighs_agreement_against_the_score(moa: Moa, answers: str) -> None:
    free = moa("select", "--answers", answers, "--k", "2", "--lambda", "0")
    dear = moa("select", "--answers", answers, "--k", "2", "--lambda", "1")
    assert "\nscore: strong, twin\n" in free.stdout
    assert "\nscore: strong, other\n" in dear.stdout


def test_a_spec_is_edited_in_place_and_it_is_said_what_was_there(moa: Moa, answers: str, spec: Path) -> None:
    arguments = ("select", "--answers", answers, "--k", "2", "--policy", "top", "--into", "spec.yaml")
    result = moa(*arguments)
    assert result.exit_code == 0, result.output
    assert spec.read_text() == SPEC.replace("[twin, odd-one]", "[strong, twin]")
    assert stat.S_IMODE(spec.stat().st_mode) == 0o644
    assert result.stderr == WARNING + (
        "spec.yaml: the layer draft is changed\n  before: twin, odd-one\n  now:    strong, twin\n"
    )
    assert "proposers:" not in result.stdout
    assert moa(*arguments).stderr == WARNING + "spec.yaml: nothing is changed\n"


def test_a_model_under_another_name_is_mapped_to_its_slot(moa: Moa, answers: str, spec: Path) -> None:
    arguments = ("select", "--answers", answers, "--k", "4", "--policy", "top", "--into", "spec.yaml")
    refused = moa(*arguments)
    assert refused.exit_code == 2
    assert refused.stderr == WARNING + (
        "error: no slot of the spec is odd\nhint: Say which one: --slot 'odd=SLOT', a name under `models`.\n"
    )
    assert spec.read_text() == SPEC
    assert moa(*arguments, "--slot", "odd=odd-one", "--layer", "draft").exit_code == 0
    assert "[strong, twin, other, odd-one]" in spec.read_text()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (SPEC.replace("odd-one]", "odd-one]\n    quorum: 9"), "quorum"),
        (SPEC.replace("[twin, odd-one]", "[twin"), "not valid YAML"),
    ],
)
def test_what_would_be_no_spec_is_left_as_it_is(
    moa: Moa, answers: str, spec: Path, wrong: str, problem: str
) -> None:
    spec.write_text(wrong)
    result = moa("select", "--answers", answers, "--k", "2", "--into", "spec.yaml")
    assert result.exit_code == 2
    assert problem in result.stderr
    assert spec.read_text() == wrong


def test_a_spec_that_cannot_be_written_is_told(
    moa: Moa, answers: str, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "spec.yaml")

    monkeypatch.setattr("moa_graph.cli.select.write_whole", refuse)
    result = moa("select", "--answers", answers, "--k", "2", "--into", "spec.yaml")
    assert result.exit_code == 2
    assert "spec.yaml: Permission denied" in result.stderr
    assert spec.read_text() == SPEC


def test_a_spec_that_is_not_to_be_written_to_is_not_replaced(
    moa: Moa, answers: str, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)  # root may write to anything
    result = moa("select", "--answers", answers, "--k", "2", "--into", "spec.yaml")
    assert result.exit_code == 2
    assert "spec.yaml: Permission denied" in result.stderr
    assert spec.read_text() == SPEC


def test_json_holds_all_rows_the_team_and_the_change(moa: Moa, answers: str, spec: Path) -> None:
    options = ("--k", "2", "--policy", "coverage", "--split", "random:7", "--json", "--into", "spec.yaml")
    result = moa("select", "--answers", answers, *options)
    found = json.loads(result.stdout)
    assert (found["measure"], found["agreement_of"], found["split"]) == ("accuracy", "answers", "random:7")
    assert (found["chosen_on"], found["tested_on"], found["left_out"], found["k"]) == (4, 4, 0, 2)
    assert [row["name"] for row in found["rows"]][:2] == ["best single", "random-2"]
    assert set(found["rows"][3]["mean"]) == {"value", "low", "high", "level"}
    assert found["layer"] == {"name": "draft", "before": ["twin", "odd-one"], "after": found["models"]}
    assert json.loads(moa("select", "--answers", answers, "--k", "2", "--json").stdout)["layer"] is None


@pytest.mark.parametrize(("name", "begin"), [("f.png", b"\x89PNG"), ("f.svg", b"<?xml")])
def test_the_front_is_drawn(moa: Moa, answers: str, tmp_path: Path, name: str, begin: bytes) -> None:
    result = moa("select", "--answers", answers, "--k", "2", "--plot", name)
    assert (result.exit_code, result.stderr) == (0, f"{WARNING}wrote {name}\n")
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_one_of_several_tasks_and_some_of_the_models_can_be_chosen(moa: Moa, tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": {"one": RESULTS, "two": RESULTS}}))
    arguments = ("select", "--answers", "tasks.json", "--k", "1", "--among", "odd", "--among", "twin")
    assert moa(*arguments).exit_code == 2
    result = moa(*arguments, "--task", "two")
    assert result.stdout.startswith("1 of 2 models, ")
    assert "    - twin\n" in result.stdout


def test_what_is_not_recorded_is_said(moa: Moa, tmp_path: Path) -> None:
    rates = {"preference": {"a": [0.5, 0.6, None, 0.1], "b": [0.4, 0.9, 0.3, 0.2]}}
    (tmp_path / "rates.json").write_text(json.dumps(rates))
    result = moa("select", "--answers", "rates.json", "--k", "2")
    assert "win rate in %" in result.stdout
    assert "1 question left out: not every model has a score for them" in result.stdout
    assert "agreement is that of scores" in result.stdout
    assert "random teams: means of members from " in result.stdout
    refused = moa("select", "--answers", "rates.json", "--k", "2", "--policy", "vote")
    assert refused.exit_code == 2
    assert "a vote needs `answers`" in refused.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--k", "5"), "cannot choose 5 of 4 models"),
        (("--k", "2", "--lambda", "inf"), "inf is no finite number"),
        (("--k", "2", "--split", "thirds"), "'thirds' is no split"),
        (("--k", "2", "--plot", "f.pdf"), "the suffix must be .png or .svg"),
        (("--k", "2", "--plot", "no/f.png"), "no/f.png: No such file"),
        (("--k", "1", "--plot", "f.png"), "no diversity to draw"),
        (("--k", "2", "--policy", "best"), "'best' is not one of"),
        (("--k", "2", "--slot", "a=b"), "name that with --into"),
        (("--k", "2", "--slot", "ab", "--into", "spec.yaml"), "'ab' is not MODEL=SLOT"),
        (("--k", "2", "--into", "missing.yaml"), "missing.yaml: cannot be read"),
        (("--k", "2", "--into", "spec.yaml", "--layer", "final"), "there is no layer 'final'"),
        (("--k", "2", "--among", "nobody"), "no results of 'nobody'"),
    ],
)
def test_wrong_usage_ends_with_2(
    moa: Moa, answers: str, spec: Path, options: tuple[str, ...], problem: str
) -> None:
    result = moa("select", "--answers", answers, *options)
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())
    assert spec.read_text() == SPEC
