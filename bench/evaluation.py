"""Measure on recorded data and write the tables of docs/evaluation.md: `python -m bench.evaluation`."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import psutil  # type: ignore[import-untyped]

from bench import quality, winrates
from bench.figures import Figure, no_more_than, plain
from bench.recorded import (
    HOW,
    POOL,
    TASKS,
    Outcome,
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
from bench.run import QUIET, ROOT, verdict
from bench.selection import shared_data
from bench.tables import count, percent, table
from moa_graph.evaluation.datasets import read_dataset
from moa_graph.evaluation.evaluate import Order, evaluate, summary_of
from moa_graph.evaluation.results import read_results
from moa_graph.evaluation.selection import Row, select
from moa_graph.evaluation.statistics import share_interval
from moa_graph.spec.extracting import ExtractSpec

__all__ = ["BEGIN", "END", "Measuring", "between", "main", "of_answers", "of_texts"]

PAGE = ROOT / "docs" / "evaluation.md"
BEGIN = "<!-- begin: written by `make bench-eval` -->"
END = "<!-- end: written by `make bench-eval` -->"

VOTE, AGREEMENT, CALLS = 53.6755, 54.0915, 3.573
"""What the recorded answers of math-l5 are known to give: the shares in percent, the calls per question."""
CLOSE = 1.0
LIMIT = 60.0
"""Seconds for 721 questions to six replayed proposers, on two cores."""

NOTES = {
    "Cost against quality": """\
No prices are recorded: the cost is counted in calls. *Somebody right* is what a choice would reach that
always finds the right proposal. Recorded answers.""",
    "How many vote": """\
The first k of the six through the graph; beside it the mean of the votes of all teams of k, counted without
the graph: every model is in as many of them, but ties still go by the order of the six. Recorded answers;
n = 721, 800 and 1,319.""",
    "Weighted votes": """\
A vote counts as much as its model's accuracy on the even questions; tested on the odd ones. Recorded
answers.""",
    "A selection by the texts, then a vote": """\
Texts of math-l5, n = 721. What `diversity` and `cluster` compare are whole texts (TF-IDF), not the answers in
them.""",
    "A cascade": f"""\
{", ".join(quality.SMALL)} (7 to 9 billion parameters) are asked one by one.
{quality.STRONG} (123 billion) is asked where they do not agree, and then its answer is taken. They were
chosen by their size, not by their results. Recorded answers.""",
    "Six of 28 models": """\
Chosen on the even questions and tested on the odd ones, as `moa select` does it, without the graph. A cell
holds the accuracy of the vote in % (*best single*: its own), then its difference to the best single model;
McNemar's test cannot judge averages over teams, so nothing is bold. [selection.md](selection.md) has more of
this, and says what can be read from it.""",
    "Win rates against the leaderboard": """\
From AlpacaEval's recorded judgements (805 instructions), without the graph; [win-rates.md](win-rates.md)
describes the method. *Shifted* is what comes out when the difficulties of the instructions are dealt by
position after the items that are not judged were taken out, as in the published procedure. The intervals of
the length-controlled rates are of 200 resamples.""",
}
"""What is said before a table."""


class Measuring:
    """Measure what the tables hold; `measured` keeps what several of them need."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data = data
        self.folder = folder
        self.tasks = read_tasks(data / "zeroeval")
        self.measured: quality.Measured = {}

    async def tables(self) -> dict[str, Sequence[str]]:
        """Return the lines under each heading."""
        goals = [row for task in self.tasks.values() for row in await self.answers(task)]
        goals += [*await self.texts(), await self.eval()]
        rates = winrates.compute(self.data / "alpaca_eval")
        goals += winrates.figures(rates)
        tasks, measured, folder = self.tasks, self.measured, self.folder
        return {
            "What is known, and what comes out": table(
                ["what", "measured", "goal", "met"],
                ([row.what, row.figure, row.goal, verdict(row)] for row in goals),
            ),
            "Cost against quality": quality.cost(tasks, measured),
            "How many vote": await quality.numbers(tasks, measured, folder),
            "Weighted votes": await quality.weighted(tasks, measured, folder),
            "A selection by the texts, then a vote": await quality.selected(tasks, measured, folder),
            "A cascade": await quality.cascades(tasks, folder),
            "Six of 28 models": _policies(self.data / "zeroeval" / "answers28.json.xz"),
            "Win rates against the leaderboard": _rates(rates),
        }

    async def answers(self, task: Task) -> list[Figure]:
        """Return the rows of the recorded answers of a task."""
        files = write_replays(self.folder, task, POOL, "answers")
        vote = await answer(spec_of(files, "answers", [Stage(POOL)]), task, "answers")
        two = await answer(spec_of(files, "answers", [Stage(POOL, 1)], agree=2), task, "answers")
        self.measured |= {(task.name, "vote"): vote, (task.name, "agreement"): two}
        return of_answers(task, vote, two)

    async def texts(self) -> list[Figure]:
        """Return the rows of the texts of math-l5."""
        task = self.tasks["math-l5"]
        files = write_replays(self.folder, task, POOL, "texts")
        vote = await answer(spec_of(files, "texts", [Stage(POOL)]), task, "texts")
        two = await answer(spec_of(files, "texts", [Stage(POOL, 1)], agree=2), task, "texts")
        self.measured |= {("math-l5", "vote of texts"): vote, ("math-l5", "agreement of texts"): two}
        return [*of_texts(task, vote, two), _time(f"{len(task)} × 6 texts through the graph", vote.seconds)]

    async def eval(self) -> Figure:
        """Return the row of the same vote by what `moa eval` does, every question a thread on SQLite."""
        task = self.tasks["math-l5"]
        files = write_replays(self.folder, task, POOL, "texts")
        dataset = read_dataset(write_dataset(self.folder / "math-l5.jsonl", task))
        spec, out = spec_of(files, "texts", [Stage(POOL)]), self.folder / "math-l5"
        began = time.monotonic()
        evaluation = await evaluate(
            Order(spec=spec, dataset=dataset, items=dataset.items, out=out, how=ExtractSpec(**HOW["texts"]))
        )
        seconds = time.monotonic() - began
        right = self.measured["math-l5", "vote of texts"].right
        if summary_of(evaluation)["accuracy"] != share_interval(int(sum(right)), len(right)):
            raise ValueError("`moa eval` and the plain graph differ")
        return _time(f"{len(task)} × 6 texts by `moa eval`, threads on SQLite: the same accuracy", seconds)


def of_answers(task: Task, vote: Outcome, two: Outcome) -> list[Figure]:
    """Return the rows of recorded answers; the goal is what is known, or counted without the package."""
    counted, (right, calls) = plurality(task, POOL), until_two_agree(task, POOL)
    same = vote.right == counted, (two.right, two.calls()) == (right, calls)
    goals = ("as counted without the package",) * 2
    if task.name == "math-l5":
        goals = f"{VOTE}", f"{AGREEMENT} at {CALLS} calls"
        known = (_mean(two.right, 100, 4), _mean(two.calls(), 1, 3)) == (AGREEMENT, CALLS)
        same = same[0] and _mean(vote.right, 100, 4) == VOTE, same[1] and known
    label = f"{task.name}, recorded answers, n = {len(task)}"
    until_two = f"{percent(two.right, '.4f')} at {count(two.calls())} calls"
    return [
        Figure(f"{label}: vote of six", percent(vote.right, ".4f"), goals[0], same[0]),
        Figure(f"{label}: one by one until two agree", until_two, goals[1], same[1]),
    ]


def of_texts(task: Task, vote: Outcome, two: Outcome) -> list[Figure]:
    """Return the rows of texts, from which our own extractor reads the answers."""
    label = f"{task.name}, texts, n = {len(task)}"
    close = abs(100 * fmean(vote.right) - VOTE) <= CLOSE
    until_two = f"{percent(two.right, '.4f')} at {count(two.calls())} calls"
    return [
        Figure(f"{label}: vote of six", percent(vote.right, ".4f"), f"{VOTE} ± {CLOSE:g}", close),
        plain(f"{label}: one by one until two agree", until_two),
    ]


def between(page: str, section: str) -> str:
    """Return a page with the section between the two marks; raise ValueError where they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{section.strip()}\n\n{END}{after}"


def main() -> None:
    """Measure, and write the tables into the page; say so where the data are not there."""
    data = shared_data()
    if not data.is_dir():
        print(f"{data} is not there: nothing to measure", file=sys.stderr)
        return
    began, busy = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        tables = asyncio.run(Measuring(data, Path(folder)).tables())
    parts = [_circumstances(time.monotonic() - began, busy)]
    for title, lines in tables.items():
        note = [NOTES[title], ""] if title in NOTES else []
        parts.append("\n".join([f"### {title}", "", *note, *lines]))
    section = "\n\n".join(parts)
    print(section)
    PAGE.write_text(between(PAGE.read_text(encoding="utf-8"), section), encoding="utf-8")
    print(f"Wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)


def _policies(file: Path) -> list[str]:
    chosen = {name: select(read_results(file, name), len(POOL)) for name in TASKS}
    heads = [f"{name}, n = {len(each.held_out.results.ids)}" for name, each in chosen.items()]
    rows = [
        [each[0].name, *map(_reached, each)]
        for each in zip(*(each.rows for each in chosen.values()), strict=True)
    ]
    best = ", ".join(f"{each.best} on {name}" for name, each in chosen.items())
    return [*table(["policy", *heads], rows), "", f"Best single: {best}."]


def _reached(row: Row) -> str:
    shown = f"{(row.vote or row.mean).times(100):.1f}"
    return f"{shown}; {row.gain.times(100):+.1f}" if row.gain else shown


def _rates(rates: Sequence[winrates.Row]) -> list[str]:
    off, bound = [row for row in rates if not row.close], winrates.CLOSE
    without = sum(bool(row.missing) for row in off)
    return [
        f"{len(off)} of {len(rates)} are over {bound} points off; {without} of them lack judgements:",
        "",
        winrates.table(off),
        "",
        f"<details><summary>The {len(rates) - len(off)} others</summary>",
        "",
        winrates.table([row for row in rates if row.close]),
        "",
        "</details>",
    ]


def _mean(values: Sequence[float], factor: float, digits: int) -> float:
    return round(factor * fmean(values), digits)


def _time(what: str, seconds: float) -> Figure:
    return no_more_than(what, seconds, LIMIT, f"{seconds:.1f} s", " s")


def _circumstances(seconds: float, busy: float) -> str:
    memory = psutil.virtual_memory().total / 2**30
    disturbed = f" Other work was going on (load {busy:.1f} at the beginning)." if busy > QUIET else ""
    machine = (
        f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"
    )
    return f"Measured on {datetime.now(UTC):%Y-%m-%d} in {seconds:.0f} s on {machine}.{disturbed}"


if __name__ == "__main__":
    main()
