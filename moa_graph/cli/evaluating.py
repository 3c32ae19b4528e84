"""Conduct an evaluation in view of the user, and show what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from moa_graph.cli.faults import RUN_FAILED, complain
from moa_graph.cli.stopping import run_until_stopped
from moa_graph.cli.tables import columns
from moa_graph.cli.tally import tally_of
from moa_graph.cli.text import count, dollars, one_line, to_json, tokens
from moa_graph.errors import AggregatorFailed
from moa_graph.evaluation.evaluate import evaluate, summary_json, summary_of
from moa_graph.evaluation.formats import file_of

if TYPE_CHECKING:
    from pathlib import Path

    from moa_graph.evaluation.evaluate import Order
    from moa_graph.evaluation.reports import Summary
    from moa_graph.evaluation.running import Evaluation
    from moa_graph.evaluation.scoring import ItemError
    from moa_graph.evaluation.statistics import Interval

__all__ = ["conduct"]

_BIASED = (
    "* cut or not asked in other items: where agreement ends a layer or a run early, the items left are the "
    "harder ones. To compare proposers, evaluate a spec without `stop`"
)
_INTERRUPTED = {"type": "Interrupted", "message": "the evaluation was interrupted", "hint": ""}


def conduct(order: Order, *, as_json: bool, quiet: bool) -> None:
    """Run an evaluation and show its summary; raise typer.Exit unless every item was answered."""
    show = _Show(order, as_json=as_json, quiet=quiet)
    try:
        evaluation = run_until_stopped(
            evaluate(order, restored=show.begin, watch=show.tally.happened), show.stopped
        )
    finally:
        show.tally.close()
    summary = summary_of(evaluation)
    show.summary(evaluation, summary)
    if summary["answered"] < summary["items"]:
        raise typer.Exit(RUN_FAILED)


class _Show:
    def __init__(self, order: Order, *, as_json: bool, quiet: bool) -> None:
        self.order = order
        self.tally = tally_of(quiet=quiet)
        self._as_json = as_json
        self._quiet = quiet
        self._evaluation: Evaluation | None = None

    def begin(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self.tally.restored(evaluation)

    def stopped(self) -> None:
        """Say how far it came; the process ends next."""
        self.tally.close()
        error = dict(_INTERRUPTED)
        if self._evaluation is not None:
            done = len(self._evaluation.records)
            error["hint"] = (
                f"What is done is kept: {done} of {count(len(self.order.items), 'item')}. "
                "The same command goes on."
            )
        if self._as_json:
            typer.echo(to_json({"out": str(self.order.out), "error": error}))
        complain(error)

    def summary(self, evaluation: Evaluation, summary: Summary) -> None:
        """Write the summary to stdout, and to stderr what is to be known beside it."""
        order = self.order
        outputs = order.out / file_of(order.form, order.spec.name) if order.form else None
        if self._as_json:
            about = {"spec": order.spec.name, "dataset": order.dataset.file, "out": str(order.out)}
            extra = {
                "outputs": None if outputs is None else str(outputs),
                "left_ids": _left(evaluation),
                "stopped": evaluation.hopeless or _reached(evaluation),
            }
            typer.echo(to_json({**about, **summary_json(summary), **extra}))
        else:
            for line in [*_head(order, summary), *_accuracies(summary), *_took(summary)]:
                typer.echo(line)
        if not self._quiet:
            for line in _remarks(evaluation, summary, order, outputs):
                typer.echo(line, err=True)


def _reached(evaluation: Evaluation) -> ItemError | None:
    """Return that the ceiling is why items are left, in the form of an error; None where it is not."""
    ceiling = evaluation.plan.ceiling
    if ceiling is None or not evaluation.left:
        return None
    message = f"the ceiling of {dollars(ceiling.dollars)} is reached, {dollars(ceiling.spent)} spent"
    return {"type": "CeilingReached", "message": message}


def _left(evaluation: Evaluation) -> list[str | int]:
    return [item.id for item in evaluation.left]


def _head(order: Order, summary: Summary) -> list[str]:
    parts = [f"{summary['answered']} answered", f"{summary['failed']} failed"]
    if summary["left"]:
        parts.append(f"{summary['left']} left")
    name = one_line(order.dataset.name)
    return [f"{order.spec.name} on {name}: {count(summary['items'], 'item')}: {', '.join(parts)}"]


def _accuracies(summary: Summary) -> list[str]:
    """Return the accuracy of the answers and of each proposer, below each other."""
    if summary["accuracy"] is None:
        return []
    rows = [["", "accuracy", "of", "failed", "unread"]]

    def add(name: str, accuracy: Interval | None, *counts: int) -> None:
        rows.append([name, "–" if accuracy is None else f"{accuracy:.1%}", *map(str, counts)])

    add("answer", summary["accuracy"], summary["judged"], summary["failed"], summary["unread"])
    if summary["failed"] and summary["accuracy_of_answered"] is not None:
        of = (summary["judged_of_answered"], 0, summary["unread"])
        add("answer, failed left out", summary["accuracy_of_answered"], *of)
    for proposer in summary["proposers"]:
        counts = (proposer["judged"], proposer["failed"], proposer["unread"])
        mark = " *" if proposer["unasked"] and proposer["judged"] else ""
        add(one_line(proposer["id"]) + mark, proposer["accuracy"], *counts)
    note = [_BIASED] if any(row[0].endswith(" *") for row in rows) else []
    return [*columns(rows, right={1, 2, 3, 4}), *note]


def _took(summary: Summary) -> list[str]:
    took = summary["item_seconds"]
    if summary["calls"] is None or took is None:
        return []
    cost = f"cost {dollars(summary['cost'])}"
    if summary["item_cost"] is not None and summary["cost"]:
        cost += f", per item {summary['item_cost']:.3g} USD"
    time = f"time per item {took.value:.2f} s [{took.low:.2f} s, {took.high:.2f} s]"
    lines = [
        f"calls per item {summary['calls']:.3f}, {time}",
        f"{cost}, {tokens(summary['usage'])} tokens",
        "in brackets: 95 % intervals over the items; Wilson's for accuracies, by bootstrap for means",
    ]
    if summary["failures"]:
        kinds = ", ".join(f"{kind} {number}" for kind, number in summary["failures"].items())
        lines.insert(0, f"failures: {kinds}")
    return lines


def _failed(summary: Summary, order: Order) -> list[str]:
    # Who votes asks no model: the same proposals stay as unreadable as they are.
    votes = order.spec.aggregator.reduce == "vote"
    unread = summary["failures"].get(AggregatorFailed.__name__, 0) if votes else 0
    lines = []
    if unread:
        lines.append(
            f"{count(unread, 'item')} failed because the vote gave no answer, which no other try "
            "changes: a spec with `on_error: first` under `aggregator` takes the first proposal then"
        )
    if again := summary["failed"] - unread:
        lines.append(f"{count(again, 'item')} failed: the same command tries again")
    return lines


def _remarks(evaluation: Evaluation, summary: Summary, order: Order, outputs: Path | None) -> list[str]:
    lines = []
    ceiling, stopped = evaluation.plan.ceiling, evaluation.hopeless
    if summary["left"] and stopped is not None:
        lines.append(
            f"stopped with {count(summary['left'], 'item')} left, for none can be answered: "
            f"{one_line(stopped['message'])}; when that is mended, the same command goes on"
        )
    elif summary["left"] and ceiling is not None:
        lines.append(
            f"the ceiling of {dollars(ceiling.dollars)} is reached: {count(summary['left'], 'item')} left, "
            f"{dollars(ceiling.spent)} spent; a greater --max-cost goes on"
        )
    if any(item.gold for item in order.items) and evaluation.plan.how is None:
        lines.append("nothing was judged: say how an answer is read, with --extract")
    if order.how is None and evaluation.plan.how not in {None, order.spec.aggregator.extract}:
        lines.append(f"answers are read as before: {evaluation.plan.how.by}; --extract says otherwise")
    lines += _failed(summary, order)
    lines.append(f"records: {order.out / 'records.jsonl'}")
    if outputs is not None:
        without = summary["items"] - summary["answered"]
        lacks = f"; {count(without, 'item')} without an answer left out" if without else ""
        lines.append(f"outputs for {order.form}: {outputs}{lacks}")
    return lines
