from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moa_graph.errors import MoAError
from moa_graph.evaluation.comparing import compare_runs
from moa_graph.evaluation.datasets import Fields
from moa_graph.evaluation.evaluated import EvaluatedRun, read_run


def record(id_: str, correct: bool | None = True, **fields: Any) -> dict[str, Any]:
    answer = {True: "4", False: "5", None: None}[correct]
    return {
        "id": id_,
        "gold": ["4"],
        "extracted": answer,
        "answer": f"It is {answer}.",
        "correct": correct,
        "cost": 0.01,
        "calls": 3,
        "seconds": 1.5,
    } | fields


def run(*corrects: bool | None, **fields: Any) -> EvaluatedRun:
    return EvaluatedRun({f"q{n}": record(f"q{n}", correct, **fields) for n, correct in enumerate(corrects)})


def measure(old: EvaluatedRun, new: EvaluatedRun, name: str) -> Any:
    return next(part for part in compare_runs(old, new).differences if part.measure == name)


def test_items_that_changed_are_named_with_both_answers() -> None:
    found = compare_runs(run(True, True, False, False), run(True, False, True, False))
    assert [(change.id, change.old, change.new, change.gold) for change in found.won] == [
        ("q2", "5", "4", "4")
    ]
    assert [change.id for change in found.lost] == ["q1"]
    assert (found.both_right, found.both_wrong, found.unscored, found.items) == (1, 1, 0, 4)
    assert found.chance == 1.0


def test_a_clear_difference_is_told_with_its_interval() -> None:
    old, new = [True] * 40 + [False] * 60, [True] * 65 + [False] * 35
    part = measure(run(*old), run(*new), "correct")
    assert (part.old.value, part.new.value) == pytest.approx((0.40, 0.65))
    assert part.difference.value == pytest.approx(0.25)
    assert 0.15 < part.difference.low < 0.25 < part.difference.high < 0.35
    assert part.telling == "higher"
    assert measure(run(*new), run(*old), "correct").telling == "lower"


def test_an_interval_that_holds_zero_tells_no_difference() -> None:
    old = [True] * 40 + [False] * 60
    new = [False] * 4 + [True] * 41 + [False] * 55
    part = measure(run(*old), run(*new), "correct")
    assert part.difference.holds(0)
    assert part.telling == "no difference can be told"


def test_five_changed_items_tell_nothing_though_their_interval_leaves_out_zero() -> None:
    old, new = [False] * 5 + [True] * 95, [True] * 100
    part = measure(run(*old), run(*new), "correct")
    assert part.difference.low > 0
    assert part.telling == "no difference can be told"


def test_costs_are_compared_only_where_both_are_known() -> None:
    old = run(*[True] * 10, cost=0.01)
    new = run(*[True] * 10, cost=0.03)
    new.records["q0"]["cost"] = None
    part = measure(old, new, "cost")
    assert part.items == 9
    assert part.difference.value == pytest.approx(0.02)
    assert part.telling == "higher"


def test_a_skewed_cost_of_few_items_tells_nothing_though_its_interval_leaves_out_zero() -> None:
    old, new = run(*[True] * 8), run(*[True] * 8)
    for number in range(5):
        new.records[f"q{number}"]["cost"] = 0.01 + 0.01 * (number + 1)
    part = measure(old, new, "cost")
    assert part.difference.low > 0
    assert part.telling == "no difference can be told"


def test_a_mean_that_a_few_items_turn_round_is_called_neither_higher_nor_lower() -> None:
    old, new = run(*[True] * 40), run(*[True] * 40)
    for number in range(40):
        new.records[f"q{number}"]["cost"] = 0.009 if number < 30 else 1.0
    part = measure(old, new, "cost")
    assert part.difference.low > 0
    assert part.telling == "no difference can be told"


def test_costs_that_differ_by_rounding_alone_are_the_same() -> None:
    part = measure(run(*[True] * 20, cost=0.1 + 0.2), run(*[True] * 20, cost=0.3), "cost")
    assert (part.difference.value, part.difference.low) == (0, 0)
    assert part.telling == "no difference can be told"


def test_seconds_depend_on_the_load_and_nothing_is_told_from_them() -> None:
    part = measure(run(*[True] * 40, seconds=1.0), run(*[True] * 40, seconds=9.0), "seconds")
    assert part.difference.value == 8
    assert part.telling == "depends on the load"


def test_a_measure_that_nobody_knows_is_unknown_and_not_zero() -> None:
    found = compare_runs(run(None, None, cost=None), run(None, None))
    assert found.unknown == ["correct", "cost"]
    assert [part.measure for part in found.differences] == ["calls", "seconds"]
    assert found.unscored == 2


def test_items_of_one_run_alone_are_named_and_not_compared() -> None:
    old = run(True, True, False)
    new = EvaluatedRun({"q1": record("q1"), "q2": record("q2"), "extra": record("extra")})
    found = compare_runs(old, new)
    assert (found.items, found.only_old, found.only_new) == (2, ["q0"], ["extra"])
    assert len(found.won) == 1


def test_runs_without_a_common_id_are_refused() -> None:
    with pytest.raises(MoAError, match="no item's id is in both"):
        compare_runs(run(True), EvaluatedRun({"other": record("other")}))


def test_runs_with_other_gold_answers_are_refused() -> None:
    with pytest.raises(
        MoAError, match="1 of 2 items that are in both have another gold answer, such as 'q1'"
    ):
        compare_runs(run(True, True), EvaluatedRun({"q0": record("q0"), "q1": record("q1", gold=["7", "8"])}))


def test_without_gold_answers_the_questions_must_be_the_same() -> None:
    one, other = run(None, gold=None), run(None, gold=None)
    first, second = (EvaluatedRun(each.records, f"{n}.jsonl", str(n)) for n, each in enumerate((one, other)))
    with pytest.raises(MoAError, match=r"0\.jsonl and 1\.jsonl"):
        compare_runs(first, second)
    assert compare_runs(first, EvaluatedRun(other.records, "2.jsonl", "0")).items == 1
    assert compare_runs(one, other).items == 1


def test_a_failed_item_shows_no_answer() -> None:
    old, new = run(False, extracted=None, answer=None), run(True)
    assert [(change.old, change.new) for change in compare_runs(old, new).won] == [(None, "4")]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_folder_is_read_with_the_dataset_that_it_names(tmp_path: Path) -> None:
    write(tmp_path / "records.jsonl", json.dumps({"id": 1, "correct": True}), "")
    write(tmp_path / "evaluation.json", json.dumps({"dataset": {"file": "d.jsonl", "digest": "abc"}}))
    found = read_run(tmp_path)
    assert (found.records, found.dataset) == ({"1": {"id": 1, "correct": True}}, "d.jsonl")
    assert (found.digest, found.fields, found.places) == ("abc", Fields(), (Path("d.jsonl"),))
    pinned = {"file": "d.jsonl", "path": "../d.jsonl", "digest": "abc", "fields": {"question": "q"}}
    write(tmp_path / "evaluation.json", json.dumps({"dataset": pinned}))
    found = read_run(tmp_path)
    assert found.fields == Fields(question="q")
    assert found.places == (Path("d.jsonl"), tmp_path / "../d.jsonl")


def test_of_several_records_of_an_item_the_last_counts(tmp_path: Path) -> None:
    lines = [json.dumps(record("a", False)), "", json.dumps(record("a", True))]
    assert read_run(write(tmp_path / "r.jsonl", *lines)).records["a"]["correct"] is True


def test_a_last_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "r.jsonl", json.dumps(record("a")), json.dumps(record("b"))[:20])
    assert list(read_run(file).records) == ["a"]


@pytest.mark.parametrize("line", ["no json", "[1]", '{"correct": true}', "[" * 100_000, "1" * 5000])
def test_a_line_that_is_no_record_is_refused_with_its_place(line: str, tmp_path: Path) -> None:
    file = write(tmp_path / "r.jsonl", json.dumps(record("a")), line, "")
    with pytest.raises(MoAError, match=r"r\.jsonl:2: not a record"):
        read_run(file)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(MoAError, match=r"records\.jsonl: cannot be read: No such file"):
        read_run(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(MoAError, match="not UTF-8 text"):
        read_run(tmp_path / "binary")
    with pytest.raises(MoAError, match="holds no records"):
        read_run(write(tmp_path / "empty", ""))


def _read_by(tmp_path: Path, name: str, how: Any) -> EvaluatedRun:
    folder = tmp_path / name
    folder.mkdir()
    lines = [{"id": number, "correct": number < 3, "cost": 0.1, "calls": 1} for number in range(8)]
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "evaluation.json").write_text(json.dumps({"extract": how}))
    return read_run(folder)


def test_answers_that_were_read_in_different_ways_have_no_verdict(tmp_path: Path) -> None:
    one = _read_by(tmp_path, "one", {"by": "number"})
    other = _read_by(tmp_path, "other", {"by": "regex", "pattern": "x"})
    found = compare_runs(one, other)
    assert found.readings == ("number", '{"by": "regex", "pattern": "x"}')
    assert "correct" not in [part.measure for part in found.differences]
    assert "calls" in [part.measure for part in found.differences]


def test_answers_that_were_read_alike_are_compared(tmp_path: Path) -> None:
    one = _read_by(tmp_path, "one", {"by": "number"})
    # What a folder does not say, or says in a way that is not known here, tells nothing.
    for number, how in enumerate([{"by": "number", "equality": "number"}, None, {"by": "stars"}]):
        found = compare_runs(one, _read_by(tmp_path, str(number), how))
        assert not found.readings
        assert "correct" in [part.measure for part in found.differences]


def test_a_cost_that_is_no_number_is_unknown(tmp_path: Path) -> None:
    runs = [_read_by(tmp_path, name, None) for name in ("one", "other")]
    for run in runs:
        for record in run.records.values():
            record["cost"] = float("nan")
    assert "cost" in compare_runs(*runs).unknown
