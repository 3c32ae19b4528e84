from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Moa, SpecFile
from tests.cli.terminal import MOA, environment, on_terminal
from tests.fakes.openai_server import FakeOpenAI

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ROWS = [{"id": f"q{n}", "question": f"{n}+{n}?", "gold": str(n + n)} for n in (1, 2, 3)]


def dataset(folder: Path, rows: list[dict[str, Any]], name: str = "data.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


@pytest.fixture
def replayed_sums(tmp_path: Path) -> str:
    """Write a spec of two proposers, the first of which is wrong once; the aggregator is the second."""
    for name, wrong in (("a", {"q2"}), ("b", set())):
        records = [
            {"question": row["question"], "text": f"It is {99 if row['id'] in wrong else row['gold']}."}
            for row in ROWS
        ]
        dataset(tmp_path, records, f"{name}.jsonl")
    document = {
        "moa": 1,
        "name": "sums",
        "models": {name: {"model": f"replay:{tmp_path / name}.jsonl"} for name in "ab"},
        "layers": [{"name": "draft", "proposers": ["a", "b"]}],
        "aggregator": {"model": "b"},
    }
    (tmp_path / "sums.yaml").write_text(json.dumps(document))
    return "sums.yaml"


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_a_spec_is_measured_and_its_proposers_stand_beside_it(
    moa: Moa, replayed_sums: str, tmp_path: Path
) -> None:
    result = moa("eval", replayed_sums, dataset(tmp_path, ROWS), "--extract", "number")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "sums on data: 3 items: 3 answered, 0 failed"
    assert lines[1].split() == ["accuracy", "of", "failed", "unread"]
    assert lines[2].split() == ["answer", "100.0%", "[43.9%,", "100.0%]", "3", "0", "0"]
    assert lines[3].split() == ["draft/a", "66.7%", "[20.8%,", "93.9%]", "3", "0", "0"]
    assert lines[4].split()[:2] == ["draft/b", "100.0%"]
    assert lines[5].startswith("calls per item 3.000 [3.000, 3.000], time per item ")
    assert lines[6].startswith("cost $0, ")
    assert (
        lines[7]
        == "in brackets: 95 % intervals over the items; Wilson's for accuracies, by bootstrap for means"
    )
    assert "q1: correct, 3 calls, cost $0, " in result.stderr
    assert result.stderr.endswith("records: eval-sums-data/records.jsonl\n")
    assert [record["id"] for record in records(tmp_path / "eval-sums-data")] == ["q1", "q2", "q3"]


def test_a_proposer_that_was_not_asked_everywhere_is_marked(
    moa: Moa, replayed_sums: str, tmp_path: Path
) -> None:
    document = json.loads((tmp_path / "sums.yaml").read_text())
    document["layers"] = [
        {"name": "draft", "concurrency": 1, "proposers": ["a", "b", {"model": "b", "id": "c"}]}
    ]
    document["stop"] = {"by": "agreement", "agree": 2, "extract": "number"}
    document["aggregator"] = {"reduce": "vote", "extract": "number"}
    (tmp_path / "sums.yaml").write_text(json.dumps(document))
    data = dataset(tmp_path, ROWS)
    lines = moa("eval", "sums.yaml", data, "--extract", "number").stdout.splitlines()
    assert lines[4].split()[:2] == ["draft/b", "100.0%"]
    assert lines[5].split()[:3] == ["draft/c", "*", "100.0%"]
    assert lines[5].split()[-3:] == ["1", "0", "0"], "the only item on which two did not agree at once"
    assert lines[6].startswith(
        "* cut or not asked in other items: where agreement ends a layer or a run early"
    )
    found = json.loads(moa("eval", "sums.yaml", data, "--json").stdout)
    assert [each["unasked"] for each in found["proposers"]] == [0, 0, 2]


def test_what_is_done_is_kept_and_said(moa: Moa, replayed_sums: str, tmp_path: Path) -> None:
    data = dataset(tmp_path, ROWS)
    assert moa("eval", replayed_sums, data, "--extract", "number", "--limit", "2").exit_code == 0
    (tmp_path / "a.jsonl").write_text("")
    assert moa("eval", replayed_sums, data, "--extract", "number", "--limit", "2").exit_code == 0
    result = moa("eval", replayed_sums, data, "--sample", "3", "--seed", "7")
    assert "kept from before: 2 of 3 items answered, cost $0\n" in result.stderr
    assert "[3/3] q3: correct, " in result.stderr
    assert "answers are read as before: number; --extract says otherwise\n" in result.stderr
    result = moa("eval", replayed_sums, data, "--limit", "1")
    assert result.stdout.startswith("sums on data: 1 item: 1 answered, 0 failed\n")
    assert len(records(tmp_path / "eval-sums-data")) == 3


def test_without_a_way_to_read_answers_it_says_that_nothing_is_judged(
    moa: Moa, replayed_sums: str, tmp_path: Path
) -> None:
    result = moa("eval", replayed_sums, dataset(tmp_path, ROWS))
    assert "nothing was judged: say how an answer is read, with --extract\n" in result.stderr
    assert "accuracy" not in result.stdout


def test_a_vote_without_an_answer_is_not_tried_again_in_vain(
    moa: Moa, replayed_sums: str, tmp_path: Path
) -> None:
    document = json.loads((tmp_path / "sums.yaml").read_text())
    document["aggregator"] = {"reduce": "vote", "extract": {"by": "json-path", "path": "answer"}}
    (tmp_path / "sums.yaml").write_text(json.dumps(document))
    result = moa("eval", replayed_sums, dataset(tmp_path, ROWS), "--extract", "number")
    assert result.exit_code == 1
    assert "3 items failed because the vote gave no answer" in result.stderr
    assert "`on_error: first`" in result.stderr
    assert "tries again" not in result.stderr


def test_a_key_that_is_refused_ends_the_evaluation_at_once(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    spec = served([["ok@a"]], "401@z")
    rows = [{"id": n, "question": f"{n}?"} for n in range(30)]
    result = moa("eval", spec, dataset(tmp_path, rows), "--concurrency", "2", "--out", "out")
    assert result.exit_code == 1
    assert server.count("401@z") <= 2
    assert re.search(r"stopped with 2[89] items left, for none can be answered: .*auth", result.stderr)
    assert "when that is mended, the same command goes on\n" in result.stderr
    result = moa("eval", spec, "data.jsonl", "--concurrency", "1", "--out", "out", "--json")
    assert json.loads(result.stdout)["stopped"]["type"] == "AggregatorFailed"


def test_json_gives_one_object(moa: Moa, replayed_sums: str, tmp_path: Path) -> None:
    data = dataset(tmp_path, ROWS)
    options = ["--extract", '{by: regex, pattern: "is (\\\\d+)", equality: number}', "--out", "here"]
    result = moa("eval", replayed_sums, data, *options, "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert (found["spec"], found["dataset"], found["out"]) == ("sums", "data.jsonl", "here")
    assert found["accuracy"]["value"] == 1.0
    assert found["proposers"][0]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert (found["items"], found["left_ids"], found["outputs"]) == (3, [], None)
    assert found["stopped"] is None


def test_failed_items_are_shown_and_the_code_is_1(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    spec = served([["ok@a"]], "fail-1-then-ok@z")
    data = dataset(tmp_path, ROWS)
    options = ["--extract", "{by: last-line}", "--concurrency", "1", "--out", "out"]
    result = moa("eval", spec, data, *options)
    assert result.exit_code == 1
    assert "[1/3] q1: failed: AggregatorFailed: " in result.stderr
    assert "1 item failed: the same command tries again\n" in result.stderr
    assert "test on data: 3 items: 2 answered, 1 failed\n" in result.stdout
    assert "failures: AggregatorFailed 1\n" in result.stdout
    assert re.search(r"^answer +0\.0% .* 3 +1 +0$", result.stdout, re.MULTILINE)
    assert re.search(r"^answer, failed left out +0\.0% .* 2 +0 +0$", result.stdout, re.MULTILINE)
    assert re.search(r"cost \$0\.0\d+, per item [\d.e-]+ \[[\d.e-]+, [\d.e-]+\] USD", result.stdout)
    sent = server.count()
    again = moa("eval", spec, data, *options)
    assert again.exit_code == 0
    assert "kept from before: 2 of 3 items answered, 1 failed and tried again, cost $0.0" in again.stderr
    assert server.count() == sent + 1


def test_the_ceiling_says_what_is_left(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    spec = served([], "usage-10-10@z", slot={"price": {"input": 0, "output": 1e6}, "max_tokens": 10})
    data = dataset(tmp_path, ROWS)
    result = moa("eval", spec, data, "--max-cost", "25")
    assert result.exit_code == 1
    assert "3 items: 2 answered, 0 failed, 1 left" in result.stdout
    ceiling = "the ceiling of $25.00 is reached: 1 item left, $20.00 spent; a greater --max-cost goes on\n"
    assert ceiling in result.stderr
    assert server.count() == 2
    result = moa("eval", spec, data, "--max-cost", "25", "--json")
    found = json.loads(result.stdout)
    assert found["left_ids"] == ["q3"]
    assert found["stopped"] == {
        "type": "CeilingReached",
        "message": "the ceiling of $25.00 is reached, $20.00 spent",
    }
    assert server.count() == 2


def test_a_ceiling_that_cannot_be_kept_is_refused(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path
) -> None:
    spec = served([], "ok@z", slot={})
    result = moa("eval", spec, dataset(tmp_path, ROWS), "--max-cost", "1", "--json")
    assert result.exit_code == 2
    assert "a ceiling cannot be kept: models.ok-z has no price" in result.stderr
    assert json.loads(result.stdout)["error"]["type"] == "MoAError"
    assert server.count() == 0


def test_a_ceiling_that_lets_nothing_begin_gives_no_figures(
    moa: Moa, served: SpecFile, tmp_path: Path
) -> None:
    spec = served([], "ok@z")
    result = moa("eval", spec, dataset(tmp_path, ROWS), "--max-cost", "0")
    assert result.exit_code == 1
    assert result.stdout == "test on data: 3 items: 0 answered, 0 failed, 3 left\n"


@pytest.mark.parametrize(
    ("form", "row", "file"),
    [
        ("alpaca_eval", {"instruction": "1+1?", "dataset": "koala"}, "alpaca_eval/sums.json"),
        ("mt_bench", {"question_id": 81, "turns": ["1+1?", "2+2?"]}, "mt_bench/sums.jsonl"),
        ("flask", {"question_id": 5, "text": "1+1?"}, "flask/sums.jsonl"),
    ],
)
def test_outputs_are_written_for_a_judge(
    moa: Moa, replayed_sums: str, tmp_path: Path, form: str, row: dict[str, Any], file: str
) -> None:
    result = moa("eval", replayed_sums, dataset(tmp_path, [row]), "--format", form, "--out", "out")
    assert result.exit_code == 0, result.stderr
    assert f"outputs for {form}: out/{file}\n" in result.stderr
    written = json.loads((tmp_path / "out" / file).read_text())
    expected: dict[str, Any] = {
        "alpaca_eval": [
            {"instruction": "1+1?", "output": "It is 2.", "generator": "sums", "dataset": "koala"}
        ],
        "flask": {"question_id": 5, "text": "It is 2.", "model_id": "sums"},
    }
    if form == "mt_bench":
        assert written["choices"] == [{"index": 0, "turns": ["It is 2.", "It is 4."]}]
    else:
        assert written == expected[form]


def test_two_turns_are_not_written_for_a_judge_of_one(moa: Moa, replayed_sums: str, tmp_path: Path) -> None:
    row = {"question_id": 5, "turns": ["1+1?", "2+2?"]}
    result = moa("eval", replayed_sums, dataset(tmp_path, [row]), "--format", "flask", "--out", "out")
    assert result.exit_code == 2
    assert "does not suit flask: its question is not one text" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_question_that_was_not_recorded_leaves_the_others_their_turn(
    moa: Moa, replayed_sums: str, tmp_path: Path
) -> None:
    rows = [{"id": n, "question": f"What is {n}?", "gold": "0"} for n in range(9)] + ROWS
    result = moa("eval", replayed_sums, dataset(tmp_path, rows), "--concurrency", "1")
    assert result.stdout.startswith("sums on data: 12 items: 3 answered, 9 failed\n")


def test_outputs_without_an_answer_are_counted(moa: Moa, replayed_sums: str, tmp_path: Path) -> None:
    rows = [{"instruction": "1+1?"}, {"instruction": "Unknown?"}]
    result = moa("eval", replayed_sums, dataset(tmp_path, rows), "--format", "alpaca_eval", "--out", "out")
    assert result.exit_code == 1
    assert (
        "outputs for alpaca_eval: out/alpaca_eval/sums.json; 1 item without an answer left out\n"
        in result.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--limit", "1", "--sample", "1"], "use either --limit or --sample"),
        (["--limit", "0"], "--limit"),
        (["--concurrency", "0"], "--concurrency"),
        (["--max-cost", "-1"], "--max-cost"),
        (["--format", "csv"], "Invalid value for '--format': 'csv' is not one of 'alpaca_eval', "),
        (["--extract", "{by: number"], "neither YAML nor JSON"),
        (["--extract", "nonsense"], 'by: not one of the known words; expected one of "number", "choice"'),
        (["--extract", "{by: numbr}"], '(did you mean "number"?)'),
        (["--extract", "regex"], "`regex` needs `pattern`"),
        (["--extract", "[1]"], "a list stands here; expected a mapping such as {by: number}"),
        (["--question", "nothing"], "data.jsonl:1: it has no field 'nothing'"),
        (["--gold", "nothing"], "data.jsonl:1: it has no field 'nothing'"),
        (["--id", "nothing"], "data.jsonl:1: it has no field 'nothing'"),
        (["--extract", "number", "--gold", "question"], "data.jsonl:3: item 'q3': 'What?' is no answer"),
        (["--format", "mt_bench"], "does not suit mt_bench: it has not 2 turns"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_made(
    moa: Moa, replayed_sums: str, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    data = dataset(tmp_path, [{**row, "question": "What?"} for row in ROWS])
    result = moa("eval", replayed_sums, data, *arguments, "--out", "out")
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_another_spec_and_another_dataset_are_refused(moa: Moa, replayed_sums: str, tmp_path: Path) -> None:
    data = dataset(tmp_path, ROWS)
    assert moa("eval", replayed_sums, data, "--out", "out").exit_code == 0
    shorter = moa("eval", replayed_sums, dataset(tmp_path, ROWS[:2], "other.jsonl"), "--out", "out")
    assert (shorter.exit_code, "begun with other questions" in shorter.stderr) == (2, True)
    document = json.loads((tmp_path / "sums.yaml").read_text())
    (tmp_path / "sums.yaml").write_text(json.dumps({**document, "aggregator": {"model": "a"}}))
    other = moa("eval", replayed_sums, data, "--out", "out")
    assert other.exit_code == 2
    assert "begun with another spec" in other.stderr
    assert "+  model: a\n" in other.stderr


def start(spec: str, data: str, cwd: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MOA, "eval", spec, data, "--out", "out", *options],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_evaluation_goes_on_and_pays_nothing_twice(
    moa: Moa, served: SpecFile, server: FakeOpenAI, tmp_path: Path, number: int
) -> None:
    spec = served([["ok@a"]], "gate@z")
    data = dataset(tmp_path, ROWS)
    with start(spec, data, tmp_path, "--concurrency", "2", "--json") as process:
        assert server.wait_for(lambda: server.count("gate@z") == 2, 60)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -9), err
    if number == signal.SIGINT:
        error = json.loads(out)["error"]
        assert error["type"] == "Interrupted"
        assert error["hint"] == "What is done is kept: 0 of 3 items. The same command goes on."
        assert err == f"error: the evaluation was interrupted\nhint: {error['hint']}\n"
    server.release("gate@z")
    result = moa("eval", spec, data, "--out", "out")
    assert result.exit_code == 0, result.stderr
    assert server.count("ok@a") == 3, "the proposals that were there are not asked for again"
    assert len(records(tmp_path / "out")) == 3


def test_a_terminal_shows_one_line_that_counts(served: SpecFile, tmp_path: Path) -> None:
    spec = served([["ok@a"]], "fail-1-then-ok@z")
    data = dataset(tmp_path, ROWS)
    options = ["--out", "out", "--extract", "last-line", "--concurrency", "1"]
    code, output = on_terminal("eval", spec, data, *options, cwd=tmp_path)
    shown = _ESCAPES.sub("", output)
    assert code == 1
    assert "q1: failed: AggregatorFailed: " in shown
    assert re.search(r"3 of 3 items  ▸ 0 running  ✗ 1 failed  ✓ 0 of 3 correct  cost \$0\.0\d+  ", shown)
    assert "test on data: 3 items: 2 answered, 1 failed" in shown
    code, output = on_terminal("eval", spec, data, *options, cwd=tmp_path)
    assert code == 0
    assert "kept from before: 2 of 3 items answered, 1 failed and tried again" in _ESCAPES.sub("", output)


def test_an_error_before_the_first_item_leaves_a_terminal_as_it_was(served: SpecFile, tmp_path: Path) -> None:
    data = dataset(tmp_path, ROWS)
    spec = served([], "ok@z", slot={})
    code, output = on_terminal("eval", spec, data, "--max-cost", "1", cwd=tmp_path)
    assert code == 2
    assert "a ceiling cannot be kept" in _ESCAPES.sub("", output)
