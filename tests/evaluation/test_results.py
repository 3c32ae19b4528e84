"""Recorded results are read as they stand, and what does not fit together is refused with its place."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from moa_graph.errors import MoAError
from moa_graph.evaluation.results import read_results

TASK = {
    "ids": ["a", "b", "c"],
    "gold": ["1", "2", "3"],
    "answers": {"one": ["1", "2", None], "two": [1, "7", "3"]},
    "correct": {"one": "110", "two": [True, False, 1]},
}


def written(folder: Path, data: Any, name: str = "results.json") -> Path:
    path = folder / name
    text = json.dumps(data) if not isinstance(data, str) else data
    packed = {".xz": lzma.compress, ".gz": gzip.compress}.get(path.suffix, lambda content: content)
    path.write_bytes(packed(text.encode()))
    return path


@pytest.mark.parametrize("name", ["results.json", "results.json.xz", "results.json.gz"])
def test_a_file_of_columns_is_read_packed_or_not(tmp_path: Path, name: str) -> None:
    results = read_results(written(tmp_path, TASK, name))
    assert results.ids == ["a", "b", "c"]
    assert results.models == ["one", "two"]
    assert results.scores == {"one": [1.0, 1.0, 0.0], "two": [1.0, 0.0, 1.0]}
    assert results.answers == {"one": ["1", "2", None], "two": ["1", "7", "3"]}
    assert (results.measure, results.texts, results.left_out) == ("accuracy", None, 0)
    assert results.mean("one") == pytest.approx(2 / 3)


def test_preferences_are_win_rates_and_need_no_ids(tmp_path: Path) -> None:
    results = read_results(written(tmp_path, {"preference": {"one": [0.25, 1, 0.5]}, "baseline": "x"}))
    assert (results.measure, results.ids, results.answers) == ("win rate", ["1", "2", "3"], None)
    assert results.scores == {"one": [0.25, 1.0, 0.5]}


def test_one_of_several_tasks_is_named_and_a_single_one_is_not(tmp_path: Path) -> None:
    path = written(tmp_path, {"tasks": {"gsm": TASK, "math": {**TASK, "ids": ["x", "y", "z"]}}})
    assert read_results(path, "math").ids == ["x", "y", "z"]
    with pytest.raises(MoAError, match=r"say which task\nThere are: gsm, math"):
        read_results(path)
    with pytest.raises(MoAError, match="no task 'crux'"):
        read_results(path, "crux")
    assert read_results(written(tmp_path, {"tasks": {"gsm": TASK}})).ids == ["a", "b", "c"]


def test_questions_that_a_model_has_no_score_for_are_left_out_and_counted(tmp_path: Path) -> None:
    results = read_results(written(tmp_path, {**TASK, "correct": {"one": [1, None, 0], "two": "101"}}))
    assert (results.ids, results.left_out) == (["a", "c"], 1)
    assert results.answers == {"one": ["1", None], "two": ["1", "3"]}


def test_lines_hold_one_question_each(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "answers": {"one": "x", "two": "y"}, "correct": {"one": True, "two": False}},
        {"id": 2, "answers": {"one": None}, "correct": {"one": 0, "two": 1}, "texts": {"one": "\u2028"}},
        {"id": 3, "correct": {"one": 1}},
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n"
    for name in ("results.jsonl", "results.jsonl.gz"):
        results = read_results(written(tmp_path, text, name))
        assert (results.ids, results.left_out) == (["1", "2"], 1)
        assert results.scores == {"one": [1.0, 0.0], "two": [0.0, 1.0]}
        assert results.answers == {"one": ["x", None], "two": ["y", None]}
        assert results.texts == {"one": [None, "\u2028"], "two": [None, None]}


def test_models_without_scores_are_named(tmp_path: Path) -> None:
    task = {**TASK, "answers": {**TASK["answers"], "three": ["1", "2", "3"]}}  # type: ignore[dict-item]
    results = read_results(written(tmp_path, task))
    assert (results.models, list(results.unscored)) == (["one", "two"], ["three"])
    assert results.among(["one"]).unscored == ()
    line = {"id": 1, "correct": {"one": 1}, "texts": {"one": "a", "four": "b"}}
    lines = read_results(written(tmp_path, json.dumps(line), "results.jsonl"))
    assert (lines.models, list(lines.unscored)) == (["one"], ["four"])


def record(id_: str, *proposals: tuple[str, str, str | None, bool | None]) -> dict[str, Any]:
    said = [
        {
            "id": name,
            "model": model,
            "status": "ok",
            "text": f"It is {answer}",
            "extracted": answer,
            "correct": right,
        }
        for name, model, answer, right in proposals
    ]
    return {"id": id_, "status": "answered", "correct": True, "cost": 0.1, "proposals": said}


def evaluated(folder: Path, *records: dict[str, Any]) -> Path:
    (folder / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    return folder


def test_records_of_an_evaluation_give_the_first_layer_by_model(tmp_path: Path) -> None:
    folder = evaluated(
        tmp_path,
        record(
            "q1",
            ("draft/a", "p:x", "4", True),
            ("draft/b", "p:y", "5", False),
            ("refine/a", "p:x", "9", True),
        ),
        record("q2", ("draft/a", "p:x", None, False), ("draft/b", "p:y", "5", True)),
        {"id": "q3", "status": "failed", "correct": False, "proposals": []},
    )
    results = read_results(folder)
    assert results.scores == {"p:x": [1.0, 0.0], "p:y": [0.0, 1.0]}
    assert results.answers == {"p:x": ["4", None], "p:y": ["5", "5"]}
    assert results.texts == {"p:x": ["It is 4", "It is None"], "p:y": ["It is 5", "It is 5"]}
    assert results.left_out == 1


def test_questions_on_which_a_proposer_was_cut_or_not_asked_are_counted_apart(tmp_path: Path) -> None:
    cut = record("q2", ("draft/a", "p:x", "4", True), ("draft/b", "p:y", None, None))
    cut["proposals"][1]["status"] = "cut"
    folder = evaluated(
        tmp_path,
        record("q1", ("draft/a", "p:x", "4", True), ("draft/b", "p:y", "5", False)),
        cut,
        record("q3", ("draft/a", "p:x", "4", True)),  # b was not asked
        {"id": "q4", "status": "failed", "correct": False, "proposals": []},
    )
    results = read_results(folder)
    assert (results.ids, results.left_out, results.cut) == (["q1"], 3, 2)


def test_a_proposal_without_a_gold_answer_is_not_taken_for_cut(tmp_path: Path) -> None:
    folder = evaluated(
        tmp_path,
        record("q1", ("draft/a", "p:x", "4", True)),
        record("q2", ("draft/a", "p:x", "4", None)),
    )
    assert (read_results(folder).left_out, read_results(folder).cut) == (1, 0)


def test_where_a_proposer_was_cut_everywhere_it_is_said_what_to_do(tmp_path: Path) -> None:
    folder = evaluated(
        tmp_path,
        record("q1", ("draft/a", "p:x", "4", True)),
        record("q2", ("draft/b", "p:y", "4", True)),
    )
    with pytest.raises(MoAError, match="no question that every model has a score for") as refused:
        read_results(folder)
    assert "evaluate a spec without an early stop" in refused.value.hint


def test_proposers_of_one_model_go_by_their_own_names(tmp_path: Path) -> None:
    folder = evaluated(
        tmp_path,
        record("q1", ("draft/sampled-1", "p:x", "4", True), ("draft/sampled-2", "p:x", "5", False)),
        record("q2", ("draft/sampled-2", "p:x", "6", True)),
    )
    results = read_results(folder)
    assert (results.models, results.left_out) == (["sampled-1", "sampled-2"], 1)


def test_questions_and_models_can_be_taken_apart(tmp_path: Path) -> None:
    results = read_results(
        written(tmp_path, {**TASK, "texts": {"one": ["s", "t", "u"], "two": ["v", "w", "x"]}})
    )
    part = results.at([2, 0]).among(["two"])
    assert (part.ids, part.models, part.scores) == (["c", "a"], ["two"], {"two": [1.0, 1.0]})
    assert (part.answers, part.texts) == ({"two": ["3", "1"]}, {"two": ["x", "v"]})
    plain = read_results(written(tmp_path, {"correct": {"one": "10", "two": "01"}})).among(["one"]).at([1])
    assert (plain.answers, plain.texts, plain.scores) == (None, None, {"one": [0.0]})
    with pytest.raises(MoAError, match=r"no results of 'three'\nThere are: one, two"):
        results.among(["three"])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"ids": ["a"]}, "neither `correct` nor `preference`"),
        ({"correct": {}}, "neither `correct` nor `preference`"),
        ({"ids": ["a", "a"], "correct": {"one": "11"}}, "twice"),
        ({"ids": ["a", "b"], "correct": {"one": "1"}}, "scores of one: not one for each of 2 ids"),
        ({**TASK, "answers": {"one": ["1", "2", "3"]}}, "answers of two: not one for each of 3 ids"),
        ({**TASK, "texts": {"one": ["1"]}}, "texts of one: not one for each"),
        ({"correct": {"one": "1x"}}, "scores of one: could not convert"),
        ({"correct": {"one": "12"}}, "scores of one: 2 is not 0 or 1"),
        ({"preference": {"one": [0.5, 1.5]}}, "scores of one: 1.5 is not between 0 and 1"),
        ({"preference": {"one": [float("nan")]}}, "nan is not between 0 and 1"),
        ({"correct": {"one": [None]}}, "no question that every model has a score for"),
        ({"correct": {"one": ["yes"]}}, r"results.json: correct\.one"),
        ([], "results.json: the whole: "),
        ("{", "not valid JSON"),
        ('{"correct": {"one": "1", "two": "0", "one": "0"}}', "the key 'one' stands twice in one object"),
        ({"tasks": {}}, "say which task"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, data: Any, problem: str) -> None:
    with pytest.raises(MoAError, match=problem):
        read_results(written(tmp_path, data))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("missing.json", None, "missing.json: cannot be read: No such file"),
        ("broken.json.xz", b"no xz", "cannot be read: "),
        ("broken.json.gz", b"no gz", "cannot be read: Not a gzipped file"),
        ("cut.json.gz", gzip.compress(b"{}" * 99, mtime=0)[:-9], "cannot be read: "),
        ("binary.json", b"\xff\xff", "cannot be read: "),
        ("empty.jsonl", b"\n", "there is nothing recorded in it"),
        ("broken.jsonl", b'{"id": 1}\n{"id"', "broken.jsonl:2: not valid JSON"),
        ("wrong.jsonl", b'{"id": 1}\n{"no": 2}', "wrong.jsonl:2: id: Field required"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MoAError, match=problem):
        read_results(tmp_path / name)


def test_a_task_is_refused_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(MoAError, match="it has no tasks"):
        read_results(written(tmp_path, TASK), "gsm")
    with pytest.raises(MoAError, match="lines have no tasks"):
        read_results(tmp_path, "gsm")
