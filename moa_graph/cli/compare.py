"""`moa compare`: how two evaluations differ, and whether the difference can be told."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moa_graph.cli.options import Json
from moa_graph.cli.run_names import run_names
from moa_graph.cli.tables import columns
from moa_graph.cli.text import count, one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moa_graph.evaluation.comparing import Change, Difference, RunComparison

__all__ = ["compare"]

_SHOWN = 20
_TITLES = {"correct": "correct, %", "cost": "cost, $", "calls": "calls", "seconds": "seconds"}
_FORMS = {"correct": ".1f", "cost": ".3g", "calls": ".2f", "seconds": ".2f"}
_WORDS = {"old": "run_a", "new": "run_b", "only_old": "only_run_a", "only_new": "only_run_b"}
"""What is called in JSON as on the command line."""


def compare(
    run: Annotated[str, typer.Argument(metavar="RUN_A", help="A folder of moa eval, or its records.")],
    other: Annotated[str, typer.Argument(metavar="RUN_B", help="Another one over the same dataset.")],
    *,
    every: Annotated[bool, typer.Option("--all", help="List all items that changed, not only 20.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="The seed of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare two evaluations over the same items: RUN_B minus RUN_A, with 95 % intervals.

    Intervals are of a paired bootstrap. Where one holds 0, or an exact sign test over the items that
    changed disagrees, it says that no difference can be told; of seconds, which depend on the load, it says
    nothing. Items that changed between right and wrong are listed with their ids. Of runs whose answers were
    read in different ways it says nothing about right and wrong.
    """
    from moa_graph.evaluation.comparing import compare_runs  # noqa: PLC0415 -- numpy takes time
    from moa_graph.evaluation.evaluated import read_run  # noqa: PLC0415 -- pydantic does

    found = compare_runs(read_run(run), read_run(other), seed=seed)
    if as_json:
        typer.echo(to_json({"run_a": run, "run_b": other, **_renamed(asdict(found))}))
    else:
        typer.echo("\n".join(_lines(found, run_names(run, other), None if every else _SHOWN)))


def _renamed(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed(part) for part in value]
    if isinstance(value, dict):
        return {_WORDS.get(name, name): _renamed(part) for name, part in value.items()}
    return value


def _lines(found: RunComparison, names: tuple[str, str], shown: int | None) -> Iterator[str]:
    first, second = names
    yield (
        f"{count(found.items, 'item')} in both runs; "
        f"{len(found.only_old)} only in {first}, {len(found.only_new)} only in {second}"
    )
    rows = [_cells(part, second) for part in found.differences]
    yield from columns([("", first, second, f"{second} − {first}", ""), *rows])
    for part in found.differences:
        if part.items < found.items:
            yield f"{part.measure}: known for {count(part.items, 'item')} in both runs"
    if found.unknown:
        yield f"unknown: {', '.join(found.unknown)}"
    if found.readings:
        from moa_graph.evaluation.evaluated import READ_ALIKE  # noqa: PLC0415 -- pydantic takes time

        how = f"{first} by {one_line(found.readings[0])}, {second} by {one_line(found.readings[1])}"
        yield f"no verdict on right answers: they were read in different ways, {how}. {READ_ALIKE}"
    if "correct" not in found.unknown:
        yield ""
        yield (
            f"{found.both_right} right in both, {found.both_wrong} wrong in both, "
            f"{len(found.won)} wrong → right, {len(found.lost)} right → wrong "
            f"(McNemar's exact test: p = {found.chance:.2g})"
        )
        yield from _changes("wrong → right", found.won, shown)
        yield from _changes("right → wrong", found.lost, shown)


def _cells(part: Difference, name: str) -> tuple[str, ...]:
    form, factor = _FORMS[part.measure], 100 if part.measure == "correct" else 1
    old, new, difference = (each.times(factor) for each in (part.old, part.new, part.difference))
    telling = f"{name} is {part.telling}" if part.telling in {"higher", "lower"} else part.telling
    return _TITLES[part.measure], f"{old:{form}}", f"{new:{form}}", f"{difference:+{form}}", telling


def _changes(title: str, changes: Sequence[Change], shown: int | None) -> Iterator[str]:
    if not changes:
        return
    yield f"── {title}"
    for change in changes[:shown]:
        gold = f" (gold: {one_line(change.gold, 60)})" if change.gold is not None else ""
        yield f"{one_line(change.id)}: {_said(change.old)} → {_said(change.new)}{gold}"
    if shown is not None and len(changes) > shown:
        yield f"and {len(changes) - shown} more: --all lists them"


def _said(answer: str | None) -> str:
    return "no answer" if answer is None else one_line(answer, 60)
