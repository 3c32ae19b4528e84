"""Choose six models on the even questions of each recorded task and test them on the odd ones.

`python -m bench.selection` prints Markdown tables; the recorded data are found through MOA_SHARED_DATA.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from moa_graph.evaluation.results import Results, read_results
from moa_graph.evaluation.selection import Row, Selection, select
from moa_graph.evaluation.statistics import Interval

ROOT = Path(__file__).resolve().parents[1]
FILE = Path("zeroeval") / "answers28.json.xz"
TASKS = ("crux", "gsm", "math-l5")
K = 6
TRADE_OFFS = (0.5, 1.0)
REASONER = "o1-mini-2024-09-12"
"""The one model of the 28 that reasons at length before it answers: far ahead of the others on two tasks."""


def shared_data() -> Path:
    """Return the folder of recorded data."""
    return Path(os.environ.get("MOA_SHARED_DATA", ROOT.parent / "shared" / "data"))


def measured(file: Path) -> Iterator[str]:
    """Yield one table for each task and pool: all models, and all but the reasoner."""
    for task in TASKS:
        results = read_results(file, task)
        yield from _table(task, results)
        others = results.among([model for model in results.models if model != REASONER])
        yield from _table(f"{task}, without {REASONER}", others)


def _table(title: str, results: Results) -> Iterator[str]:
    selections = [select(results, K, trade_off=trade_off) for trade_off in TRADE_OFFS]
    first = selections[0]
    tested = len(first.held_out.results.ids)
    yield f"\n### {title}: {K} of {len(results.models)} models, {tested} questions held out\n"
    yield "| policy | agreement | mean of members | somebody right | vote | vote − best single |"
    yield "|---|---|---|---|---|---|"
    for name, row in _rows(selections):
        share = "–" if row.agreement is None else f"{100 * row.agreement:.1f}"
        cells = [name, share, *map(_percent, (row.mean, row.right, row.vote)), _percent(row.gain, "+.1f")]
        yield f"| {' | '.join(cells)} |"
    drawn = next(row for row in first.rows if row.range is not None)
    low, high = (f"{100 * end:.1f}" for end in drawn.range or ())
    yield f"\nBest single: {first.best}. 95 % of {first.seeds} random teams vote between {low} and {high}."


def _rows(selections: list[Selection]) -> Iterator[tuple[str, Row]]:
    """Yield each row once, but `score` for every λ."""
    for row in selections[0].rows:
        if row.name != "score":
            yield row.name, row
            continue
        for selection in selections:
            found = next(each for each in selection.rows if each.name == "score")
            yield f"score, λ = {selection.trade_off:g}", found


def _percent(interval: Interval | None, form: str = ".1f") -> str:
    return "–" if interval is None else format(interval.times(100), form)


def main() -> None:
    """Print the tables; say so where the data are not there."""
    file = shared_data() / FILE
    if not file.exists():
        print(f"{file} is not there: nothing to measure", file=sys.stderr)
        return
    began = time.monotonic()
    print("\n".join(measured(file)))
    print(f"measured in {time.monotonic() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
