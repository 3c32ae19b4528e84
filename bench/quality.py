"""What ways to combine models reach on recorded answers, and at how many calls: tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.recorded import POOL, TASKS, Outcome, Stage, Task, answer, plurality, spec_of, write_replays
from bench.tables import count, difference, percent, table
from moa_graph.evaluation.statistics import mean_interval

__all__ = ["SMALL", "STRONG", "Measured", "cascades", "cost", "numbers", "selected", "weighted"]

SMALL = ("Meta-Llama-3.1-8B-Instruct", "Qwen2-7B-Instruct", "gemma-2-9b-it")
STRONG = "Mistral-Large-2"
"""A cascade: three families with 7 to 9 billion parameters, and after them one model with 123."""

Measured = dict[tuple[str, str], Outcome]
"""What is measured already: by task "vote" and "agreement", on math-l5 also "vote of texts" and so on."""


def cost(tasks: dict[str, Task], measured: Measured) -> list[str]:
    """Return the table of cost against quality."""
    rows = []
    for name in TASKS:
        task = tasks[name]
        best = task.best_of(POOL)
        single, vote, two = task.correct[best], measured[name, "vote"], measured[name, "agreement"]
        shown = f"{name}, n = {len(task)}"
        ways: list[tuple[str, Sequence[float], str]] = [
            (f"best single ({best})", single, "1"),
            ("vote of six", vote.right, count(vote.calls())),
            ("one by one until two agree", two.right, count(two.calls())),
        ]
        rows += [
            [shown, way, percent(right), calls, difference(single, right), difference(vote.right, right)]
            for way, right, calls in ways
        ]
        somebody = [max(each) for each in zip(*(task.correct[model] for model in POOL), strict=True)]
        rows.append([shown, "somebody right", percent(somebody), "6", "", ""])
    all_six, until_two = (
        f"{mean_interval(measured['math-l5', f'{way} of texts'].written):,.0f}"
        for way in ("vote", "agreement")
    )
    head = ["task", "way", "right, %", "calls", "− best single", "− vote of six"]
    written = f"the six write {all_six} characters a question, one by one until two agree {until_two}"
    return [*table(head, rows), "", f"On math-l5, where the texts are recorded, {written}."]


async def numbers(tasks: dict[str, Task], measured: Measured, folder: Path) -> list[str]:
    """Return the table of votes of k models: of the first k through the graph, and the mean of all teams."""
    task = tasks["math-l5"]
    files = write_replays(folder, task, POOL, "answers")
    specs = (spec_of(files, "answers", [Stage(POOL[:k])]) for k in range(1, len(POOL)))
    reached = [(await answer(spec, task, "answers")).right for spec in specs]
    reached.append(measured["math-l5", "vote"].right)
    rows = []
    for k, right in enumerate(reached, 1):
        gain = difference(reached[k - 2], right) if k > 1 else ""
        teams = (percent(_all_teams(tasks[name], k)) for name in TASKS)
        rows.append([str(k), percent(right), gain, *teams])
    head = ["k", "math-l5, first k", "− first k − 1", *(f"{name}, all teams of k" for name in TASKS)]
    return table(head, rows)


async def weighted(tasks: dict[str, Task], measured: Measured, folder: Path) -> list[str]:
    """Return the table of votes weighted by the accuracy on even questions, tested on odd ones."""
    rows = []
    for name in TASKS:
        task = tasks[name]
        odd = range(1, len(task), 2)
        weights = {model: fmean(task.correct[model][::2]) for model in POOL}
        files = write_replays(folder, task, POOL, "answers")
        spec = spec_of(files, "answers", [Stage(POOL)], weights=weights)
        new = (await answer(spec, task, "answers", odd)).right
        old = measured[name, "vote"].right[1::2]
        rows.append([f"{name}, n = {len(odd)}", percent(old), percent(new), difference(old, new)])
    return table(["task", "vote of six", "weighted by accuracy", "difference"], rows)


async def selected(tasks: dict[str, Task], measured: Measured, folder: Path) -> list[str]:
    """Return the table of votes after a selection by the texts of math-l5."""
    task = tasks["math-l5"]
    files = write_replays(folder, task, POOL, "texts")
    ways: dict[str, Mapping[str, Any]] = {
        "`random`, keep 3": {"by": "random", "keep": 3},
        "`diversity`, keep 3": {"by": "diversity", "keep": 3},
        "`cluster`": {"by": "cluster"},
    }
    whole = measured["math-l5", "vote of texts"].right
    reached = {"none: vote of six": whole}
    for way, select in ways.items():
        spec = spec_of(files, "texts", [Stage(POOL, select=select)])
        reached[way] = (await answer(spec, task, "texts")).right
    by_chance = reached["`random`, keep 3"]
    rows = [
        [way, percent(right), difference(whole, right), difference(by_chance, right)]
        for way, right in reached.items()
    ]
    return table(["`select`", "right, %", "− vote of six", "− `random`"], rows)


async def cascades(tasks: dict[str, Task], folder: Path) -> list[str]:
    """Return the table of three small models that a strong one follows where they do not agree."""
    rows = []
    for name in TASKS:
        task = tasks[name]
        files = write_replays(folder, task, [*SMALL, STRONG], "answers")
        alone, small = task.correct[STRONG], plurality(task, SMALL)
        shown = f"{name}, n = {len(task)}"
        rows.append([shown, f"{STRONG} alone", percent(alone), "0", "1", "–"])
        rows.append([shown, "vote of the small ones", percent(small), "3", "0", difference(alone, small)])
        for agree, way in ((3, "strong unless all three agree"), (2, "strong unless two agree")):
            stages = [Stage(SMALL, concurrency=1), Stage([STRONG])]
            outcome = await answer(spec_of(files, "answers", stages, agree=agree), task, "answers")
            calls = count(outcome.calls(SMALL)), count(outcome.calls([STRONG]))
            rows.append([shown, way, percent(outcome.right), *calls, difference(alone, outcome.right)])
    return table(["task", "way", "right, %", "small calls", "strong calls", "− strong alone"], rows)


def _all_teams(task: Task, k: int) -> list[float]:
    """Return for each question the share of all teams of k, in the pool's order, whose vote is right."""
    votes = [plurality(task, team) for team in combinations(POOL, k)]
    return [fmean(each) for each in zip(*votes, strict=True)]
