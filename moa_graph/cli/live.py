"""Progress as a live table on a terminal: a row per call under its layer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from moa_graph.cli.lines import describe
from moa_graph.cli.text import dollars, one_line, reason, seconds, tokens
from moa_graph.usage import add_usage, total_cost

if TYPE_CHECKING:
    from rich.console import RenderableType

    from moa_graph.cli.progress import Progress, Row, RowState
    from moa_graph.events import Event

__all__ = ["LiveTable", "table"]

_LOOKS: dict[RowState, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "running": ("▸", "cyan"),
    "retrying": ("↻", "yellow"),
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "cut": ("–", "yellow"),
    "dropped": ("–", "dim"),
    "not needed": ("–", "dim"),
}
_TOLD = frozenset({"retrieval.finished", "retrieval.failed", "layer.selected", "layers.stopped"})
_ROOM = 6
"""Lines of the terminal that are left to the header, the aggregator and the shell's prompt."""

_MOST_OF_A_KIND = 4
"""Calls of one kind about a layer's proposals that have a row each; more are told in one row."""

_FIGURES = 54
"""Columns of the terminal that state, time, tokens and cost take."""


class LiveTable:
    """Draw the progress on stderr again and again, until the answer begins or the run ends."""

    def __init__(self, progress: Progress) -> None:
        # Model text and provider messages are untrusted: no markup, no highlighting.
        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._live = Live(
            get_renderable=lambda: table(progress, console.width, console.height),
            console=console,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress = progress
        self._live.start()

    def event(self, event: Event) -> None:
        """Show the end of a layer at once, and as a line what no row tells; the clock redraws the rest."""
        if event["type"] == "layer.joined":
            self._live.refresh()
        elif event["type"] in _TOLD:
            self.say(describe(event))

    def say(self, line: str) -> None:
        """Write a line above the table."""
        self._live.console.print(Text(line))

    def pause(self) -> None:
        """Leave the last table and stop: the answer is written to the same terminal."""
        self._live.stop()

    def close(self) -> None:
        """Leave the last table, if there is one, and give the cursor back."""
        self._live.transient = not self._progress.layers and not self._progress.aggregators
        self._live.stop()


def table(progress: Progress, width: int, height: int) -> RenderableType:
    """Return the rows as a table; layers that do not run are folded when it would be too high."""
    if not progress.layers and not progress.aggregators:
        return Text("loading the models …", "dim")
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for title, justify in (("", "left"), ("state", "left"), ("time", "right"), ("tokens", "right")):
        grid.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    grid.add_column("cost", justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    # Rich would shrink every column alike to make room for a long reason; so the reason is cut here.
    rest = max(12, width - max((len(row.name) for row in progress.rows()), default=0) - _FIGURES)
    now = time.monotonic()
    layers = list(progress.layers.items())
    fold = sum(len(rows) + 1 for _, rows in layers) + _ROOM > height
    for layer, rows in layers:
        asked = [row for row in rows if not row.is_aide]
        done = sum(row.state == "done" for row in asked)
        skipped = bool(asked) and all(row.state == "not needed" for row in asked)
        grid.add_row(Text(layer, "bold"), Text("not needed" if skipped else f"{done} of {len(asked)}", "dim"))
        if any(row.state in ("running", "retrying") for row in rows) or not (fold or skipped):
            _add(grid, rows, now, rest)
    if progress.aggregators:
        grid.add_row(Text("aggregator", "bold"))
        _add(grid, progress.aggregators, now, rest)
    return grid


def _add(grid: Table, rows: list[Row], now: float, rest: int) -> None:
    kinds: dict[str, list[Row]] = {}
    for row in list(rows):
        kinds.setdefault(row.name.partition(":")[0] if row.is_aide else row.name, []).append(row)
    for kind, same in kinds.items():
        if len(same) > _MOST_OF_A_KIND:
            _add_together(grid, kind, same)
        else:
            _add_each(grid, same, now, rest)


def _add_together(grid: Table, kind: str, rows: list[Row]) -> None:
    """Add one row for many calls of a kind, such as the comparisons of all pairs."""
    ended = [row for row in rows if row.seconds is not None]
    failed = sum(row.state != "done" for row in ended)
    sign, style = _LOOKS["done" if len(ended) == len(rows) else "running"]
    grid.add_row(
        f"  {sign} {kind}",
        Text(f"{len(ended) - failed} of {len(rows)}", style),
        "",
        tokens(add_usage(row.usage for row in ended)) if ended else "",
        dollars(total_cost({"cost": row.cost, "usage": row.usage} for row in ended)) if ended else "",
        Text(f"{failed} failed" if failed else "", "dim"),
    )


def _add_each(grid: Table, rows: list[Row], now: float, rest: int) -> None:
    for row in rows:
        sign, style = _LOOKS[row.state]
        elapsed = row.elapsed(now)
        ended = row.seconds is not None
        grid.add_row(
            f"  {sign} {row.name}",
            Text(row.state, style),
            "" if elapsed is None else seconds(elapsed),
            tokens(row.usage) if ended else "",
            dollars(row.cost) if ended and row.usage else "",
            Text(one_line(_remark(row), rest), "dim"),
        )


def _remark(row: Row) -> str:
    if row.failure is not None and row.state == "not needed":
        return "enough proposals agree"
    if row.failure is not None and row.state != "done":
        return reason(row.failure)
    return f"left out: {row.left_out}" if row.left_out else row.model
