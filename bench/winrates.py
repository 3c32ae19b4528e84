"""AlpacaEval's published (length-controlled) win rates, computed again from its recorded preferences."""

from __future__ import annotations

import csv
import json
import lzma
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Figure
from moa_graph.evaluation.length_controlled import Anchors, Judged, length_controlled, read_anchors
from moa_graph.evaluation.statistics import Interval
from moa_graph.evaluation.winrates import win_rate

__all__ = ["Row", "compute", "data_folder", "figures", "table"]

CLOSE = 0.3
"""Points within which a published figure counts as reproduced."""
GOAL = 85.0
BASELINE = "gpt4_1106_preview"


@dataclass(frozen=True)
class Row:
    """Hold one model: its figures in percent, the published ones, and how many items have no preference.

    `shifted` is the length-controlled win rate when the items without a preference are taken out before the
    difficulties are dealt to the items in order, so that later items get a neighbour's; None where none lack.
    """

    model: str
    win: Interval
    published_win: float
    controlled: Interval
    published: float
    missing: int
    shifted: float | None

    @property
    def off(self) -> float:
        """Return by how many points the length-controlled win rate differs from the published one."""
        return self.controlled.value - self.published

    @property
    def close(self) -> bool:
        """Tell whether the published figure is reproduced."""
        return abs(self.off) <= CLOSE


def data_folder() -> Path:
    """Return the folder of the recorded data; `MOA_SHARED_DATA` says where it is."""
    root = Path(__file__).resolve().parents[1]
    return Path(os.environ.get("MOA_SHARED_DATA") or root.parent / "shared" / "data") / "alpaca_eval"


def compute(folder: Path, *, resamples: int = 200) -> list[Row]:
    """Return a row for each model that has published figures, but the baseline, which is 50 by definition."""
    with lzma.open(folder / "lc_kit.json.xz") as file:
        kit = json.load(file)
    with (folder / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        published = {row[""]: row for row in csv.DictReader(file)}
    anchors = read_anchors(folder / "df_gamed.csv")
    return [
        _row(model, kit, published[model], anchors, resamples)
        for model in kit["preference"]
        if model in published and model != BASELINE
    ]


def figures(rows: Sequence[Row]) -> list[Figure]:
    """Return the rows of the benchmarks' table."""
    wins = sum(abs(row.win.value - row.published_win) <= 0.01 for row in rows)
    close = sum(row.close for row in rows)
    share = 100 * close / len(rows)
    lacking = [row for row in rows if row.shifted is not None]
    mended = sum(abs((row.shifted or 0) - row.published) <= CLOSE for row in lacking)
    return [
        Figure("win rates as published (± 0.01)", f"{wins} of {len(rows)}", "all", wins == len(rows)),
        Figure(
            "length-controlled win rates within 0.3 points of the published ones",
            f"{close} of {len(rows)} ({share:.1f} %)",
            f"≥ {GOAL:g} %",
            share >= GOAL,
        ),
        Figure(
            "the same for models with items that lack a preference, difficulties dealt as published",
            f"{mended} of {len(lacking)} (else {sum(row.close for row in lacking)})",
        ),
    ]


def table(rows: Sequence[Row]) -> str:
    """Return all models as a Markdown table, the ones that are furthest off first."""
    lines = [
        "| model | win rate | published | length-controlled | published | off | not judged | shifted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: -abs(row.off)):
        shifted = "" if row.shifted is None else f"{row.shifted:.2f}"
        lines.append(
            f"| {row.model} | {row.win:.2f} | {row.published_win:.2f} | {row.controlled:.2f} "
            f"| {row.published:.2f} | {row.off:+.2f} | {row.missing or ''} | {shifted} |"
        )
    return "\n".join(lines)


def _row(model: str, kit: Any, published: dict[str, str], anchors: Anchors, resamples: int) -> Row:
    preference, length = kit["preference"][model], kit["length"][model]
    difficulty, baseline = kit["instruction_difficulty"], kit["baseline_len"]
    found = length_controlled(Judged(preference, length, baseline, difficulty), anchors, resamples=resamples)
    there = [place for place, value in enumerate(preference) if value is not None]
    shifted = None
    if len(there) < len(preference):
        judged = Judged(
            [preference[place] for place in there],
            [length[place] for place in there],
            [baseline[place] for place in there],
            difficulty[: len(there)],
        )
        shifted = 100 * length_controlled(judged, anchors, resamples=1).rate.value
    return Row(
        model=model,
        win=win_rate(preference).rate.times(100),
        published_win=float(published["win_rate"]),
        controlled=found.rate.times(100),
        published=float(published["length_controlled_winrate"]),
        missing=len(preference) - len(there),
        shifted=shifted,
    )


if __name__ == "__main__":
    computed = compute(data_folder())
    print(table(computed))
    for figure in figures(computed):
        print(f"{figure.what}: {figure.figure} {figure.goal}")
