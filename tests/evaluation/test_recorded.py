"""What the benchmark on recorded data relies on; on the data themselves only where they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import quality
from bench.recorded import (
    POOL,
    TASKS,
    Stage,
    Task,
    answer,
    plurality,
    read_tasks,
    spec_of,
    until_two_agree,
    write_dataset,
    write_replays,
)
from bench.selection import shared_data
from bench.tables import count, difference, table
from moa_graph.evaluation.datasets import read_dataset

RECORDED = shared_data() / "zeroeval"
there = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded data are not here")

SAID = {
    "ann": ["4.0", "9.0", None, "7.0", None],
    "bob": ["4.0", "8.0", None, "6.0", ""],
    "eve": ["5.0", "8.0", "2.0", "5.0", ""],
}
GOLD = ["4", "8", "2", "7", "1"]


@pytest.fixture
def small() -> Task:
    right = {
        model: [float(said == f"{gold}.0") for said, gold in zip(each, GOLD, strict=True)]
        for model, each in SAID.items()
    }
    texts = {
        model: [f"I say {said}" if said else "I don't know" for said in each] for model, each in SAID.items()
    }
    return Task("small", [f"Question {n}?" for n in range(5)], GOLD, SAID, right, texts)


async def test_recorded_answers_vote_in_the_graph_as_they_are_counted(small: Task, tmp_path: Path) -> None:
    files = write_replays(tmp_path, small, SAID, "answers")
    vote = await answer(spec_of(files, "answers", [Stage([*SAID])]), small, "answers")
    assert vote.right == plurality(small, [*SAID]) == [1, 1, 1, 1, 0]  # the tie goes to ann, who is right
    assert vote.calls() == [3] * 5
    two = await answer(spec_of(files, "answers", [Stage([*SAID], 1)], agree=2), small, "answers")
    assert (two.right, two.calls()) == until_two_agree(small, [*SAID]) == ([1, 1, 1, 1, 0], [2, 3, 3, 3, 3])


async def test_texts_are_read_by_our_extractor_and_judged_by_the_gold_answers(
    small: Task, tmp_path: Path
) -> None:
    files = write_replays(tmp_path, small, SAID, "texts")
    some = await answer(spec_of(files, "texts", [Stage([*SAID])]), small, "texts", [1, 4])
    assert some.right == [1, 0]
    assert some.written == [3 * len("I say 9.0"), 3 * len("I don't know")]


async def test_weights_a_selection_and_a_second_stage_are_in_the_spec(small: Task, tmp_path: Path) -> None:
    files = write_replays(tmp_path, small, SAID, "answers")
    heavy = spec_of(files, "answers", [Stage([*SAID])], weights={"eve": 3.0})
    assert (await answer(heavy, small, "answers")).right == small.correct["eve"]
    two_stages = [Stage(["ann", "bob"], concurrency=1), Stage(["eve"])]
    cascade = await answer(spec_of(files, "answers", two_stages, agree=2), small, "answers")
    assert cascade.calls(["eve"]) == [0, 1, 1, 1, 1]
    assert cascade.right == [1, 1, 1, 0, 0]
    chosen = spec_of(files, "answers", [Stage([*SAID], select={"by": "random", "keep": 1})])
    assert set((await answer(chosen, small, "answers")).right) <= {0.0, 1.0}
    assert chosen.layers[0].select is not None


def test_the_dataset_is_one_that_moa_eval_reads(small: Task, tmp_path: Path) -> None:
    data = read_dataset(write_dataset(tmp_path / "small.jsonl", small))
    assert [item.gold for item in data.items] == [(gold,) for gold in GOLD]
    assert [turn[0]["content"] for item in data.items for turn in item.turns] == small.questions


@pytest.mark.parametrize(
    ("changed", "bold"),
    [((20, 2), True), ((20, 15), False), ((5, 0), False)],
    ids=["many in one direction", "many in both", "too few for McNemar's test"],
)
def test_a_difference_is_bold_only_where_it_can_be_told(changed: tuple[int, int], bold: bool) -> None:
    gained, lost = changed
    old = [0.0] * gained + [1.0] * lost + [1.0] * 60
    new = [1.0] * gained + [0.0] * lost + [1.0] * 60
    assert difference(old, new).startswith("**+") is bold
    assert difference(old, old) == "–"


def test_counts_have_an_interval_only_where_they_vary() -> None:
    assert count([6.0, 6.0]) == "6"
    assert count([2.0, 4.0] * 50).startswith("3.000 [2.")
    assert table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_the_section_is_replaced_between_its_marks_and_nowhere_else() -> None:
    bench = pytest.importorskip("bench.evaluation")
    page = f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n"
    new = bench.between(page, "new\n")
    assert new == f"before\n{bench.BEGIN}\n\nnew\n\n{bench.END}\nafter\n"
    assert bench.between(new, "new") == new
    with pytest.raises(ValueError, match="lacks"):
        bench.between("no marks", "new")
    assert bench.between(bench.PAGE.read_text(encoding="utf-8"), "new")


@there
def test_what_is_known_of_the_recorded_data_is_what_is_counted() -> None:
    tasks = read_tasks(RECORDED)
    assert [len(tasks[name]) for name in TASKS] == [721, 800, 1319]
    task = tasks["math-l5"]

    def share(right: Sequence[float]) -> float:
        return round(100 * sum(right) / len(task), 4)

    assert share(task.correct[task.best_of(POOL)]) == 48.5437
    assert share(plurality(task, POOL)) == 53.6755
    right, calls = until_two_agree(task, POOL)
    assert share(right) == 54.0915
    assert round(sum(calls) / len(task), 3) == 3.573


@there
@pytest.mark.parametrize("name", TASKS)
async def test_recorded_tasks_go_through_the_graph_as_they_are_counted(name: str, tmp_path: Path) -> None:
    bench = pytest.importorskip("bench.evaluation")
    whole = read_tasks(RECORDED)[name]
    task = first(whole, 40)
    files = write_replays(tmp_path, task, POOL, "answers")
    vote = await answer(spec_of(files, "answers", [Stage(POOL)]), task, "answers")
    two = await answer(spec_of(files, "answers", [Stage(POOL, 1)], agree=2), task, "answers")
    assert vote.right == plurality(task, POOL)
    assert (two.right, two.calls()) == until_two_agree(task, POOL)
    rows = bench.of_answers(task, vote, two)
    # Forty questions of math-l5 do not reach what 721 do: the goal can be missed.
    assert [row.met for row in rows] == [name != "math-l5"] * 2


@there
async def test_tables_of_ways_hold_every_task(tmp_path: Path) -> None:
    tasks = {name: first(task, 12) for name, task in read_tasks(RECORDED).items()}
    measured: quality.Measured = {}
    for name, task in tasks.items():
        for kind in ("answers", "texts") if task.texts else ("answers",):
            files = write_replays(tmp_path, task, POOL, kind)
            suffix = " of texts" if kind == "texts" else ""
            vote = await answer(spec_of(files, kind, [Stage(POOL)]), task, kind)
            two = await answer(spec_of(files, kind, [Stage(POOL, 1)], agree=2), task, kind)
            measured |= {(name, f"vote{suffix}"): vote, (name, f"agreement{suffix}"): two}
    lines = quality.cost(tasks, measured)
    assert len(lines) == 2 + 4 * len(TASKS) + 2
    assert len(await quality.numbers(tasks, measured, tmp_path)) == 2 + len(POOL)
    assert len(await quality.weighted(tasks, measured, tmp_path)) == 2 + len(TASKS)
    assert len(await quality.selected(tasks, measured, tmp_path)) == 2 + 4
    assert len(await quality.cascades(tasks, tmp_path)) == 2 + 4 * len(TASKS)


def first(task: Task, number: int) -> Task:
    """Return the first questions of a task."""

    def cut(columns):
        return {model: values[:number] for model, values in columns.items()}

    return Task(
        task.name,
        task.questions[:number],
        task.gold[:number],
        cut(task.answers),
        cut(task.correct),
        cut(task.texts),
    )
