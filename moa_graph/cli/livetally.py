"""Progress of an evaluation on a terminal: one line that is drawn again, and failures above it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from moa_graph.cli.tally import describe, kept
from moa_graph.cli.text import dollars, seconds

if TYPE_CHECKING:
    from moa_graph.evaluation.running import Evaluation, Happened

__all__ = ["LiveTally"]


class LiveTally:
    """Draw how many items are done, run and failed, on stderr again and again."""

    def __init__(self) -> None:
        self._evaluation: Evaluation | None = None
        self._running = 0
        self._began = time.monotonic()
        # Provider messages are untrusted: no markup, no highlighting.
        self._console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._live = Live(
            get_renderable=self._line,
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def restored(self, evaluation: Evaluation) -> None:
        """Begin, with what was done before."""
        self._evaluation = evaluation
        if line := kept(evaluation):
            self._live.console.print(Text(line))

    def happened(self, happened: Happened) -> None:
        """Count an item; one that failed is told above the line."""
        if happened.type == "started":
            self._running += 1
        elif happened.type == "ended" and happened.record is not None:
            self._running -= 1
            if happened.record["error"] is not None:
                self._live.console.print(Text(describe(happened.record)))

    def close(self) -> None:
        """Leave the last line, and give the cursor back."""
        self._live.stop()

    def _line(self) -> Text:
        if self._evaluation is None:
            return Text("reading what is done …", "dim")
        records = list(self._evaluation.records.values())
        failed = sum(record["status"] == "failed" for record in records)
        right = sum(record["correct"] is True for record in records)
        judged = sum(record["correct"] is not None for record in records)
        parts = [
            (f"{len(records)} of {len(self._evaluation.plan.items)} items", "bold"),
            (f"▸ {self._running} running", "cyan"),
            (f"✗ {failed} failed", "red" if failed else "dim"),
            *([(f"✓ {right} of {judged} correct", "green")] if judged else []),
            (f"cost {dollars(self._evaluation.cost)}", ""),
            (seconds(time.monotonic() - self._began), "dim"),
        ]
        return Text("  ").join(Text(text, style) for text, style in parts)
