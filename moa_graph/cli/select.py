"""`moa select`: choose proposers from recorded results, by performance and diversity."""

from __future__ import annotations

import errno
import math
import os
import stat
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moa_graph.cli.files import write_whole
from moa_graph.cli.options import Json
from moa_graph.cli.tables import columns
from moa_graph.cli.text import count, one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from moa_graph.evaluation.layers import Change
    from moa_graph.evaluation.selection import Row, Selection
    from moa_graph.evaluation.statistics import Interval

__all__ = ["select"]

_SUFFIXES = (".png", ".svg")
_HEAD = ("policy", "agreement", "members", "somebody right", "vote", "vote − best single")


class _Policy(StrEnum):
    TOP = "top"
    SCORE = "score"
    COVERAGE = "coverage"
    VOTE = "vote"


def select(
    *,
    answers: Annotated[
        Path,
        typer.Option(
            "--answers", metavar="FILE", help="Recorded results (JSON, JSONL), or a folder of `moa eval`."
        ),
    ],
    k: Annotated[int, typer.Option("--k", metavar="K", min=1, help="How many proposers to choose.")] = 6,
    policy: Annotated[
        _Policy, typer.Option(metavar="|".join(_Policy), help="Whose team is taken.")
    ] = _Policy.SCORE,
    trade_off: Annotated[
        float,
        typer.Option(
            "--lambda", metavar="L", min=0.0, help="What agreement costs in `score`: score − L · agreement."
        ),
    ] = 0.5,
    split: Annotated[
        str,
        typer.Option(
            "--split", metavar="HOW", help="Choose on one half, test on the other: even-odd, random:SEED."
        ),
    ] = "even-odd",
    task: Annotated[
        str | None, typer.Option("--task", metavar="NAME", help="The task, if FILE holds several.")
    ] = None,
    among: Annotated[
        list[str] | None,
        typer.Option("--among", metavar="MODEL", help="Choose among these models only. Repeatable."),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", metavar="SPEC", help="Edit this spec in place; else the layer goes to stdout."
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="The layer to write; default: the first one."),
    ] = None,
    slot: Annotated[
        list[str] | None,
        typer.Option(
            "--slot", metavar="MODEL=SLOT", help="The slot of a model under another name. Repeatable."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw quality against diversity: .png or .svg."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose proposers from recorded results, by performance and diversity.

    Teams are chosen on one half of the questions and tested on the other one. `top` takes the best models,
    `score` weighs their scores against their agreement, `coverage` counts the questions that somebody gets
    right, `vote` those that the plurality vote gets right.
    """
    if plot is not None and plot.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter(f"{plot}: the suffix must be .png or .svg", param_hint="--plot")
    if slot and into is None:
        raise typer.BadParameter("it says a slot of a spec: name that with --into", param_hint="--slot")
    if not math.isfinite(trade_off):
        raise typer.BadParameter(f"{trade_off} is no finite number", param_hint="--lambda")
    slots = dict(_pair(each) for each in slot or [])
    selection = _selection(answers, task, among, k, trade_off, split)
    if policy == _Policy.VOTE and not selection.known.votes:
        raise typer.BadParameter("a vote needs `answers`, which are not recorded here", param_hint="--policy")
    for warning in selection.warnings:
        typer.echo(f"warning: {warning}", err=True)
    team = selection.teams[policy.value]
    found = {"task": task, "split": split, **_record(selection, policy, team)}
    if plot is not None:
        _draw(selection, plot)
    # The spec comes last: whatever fails before leaves it as it was.
    change = _write_into(into, layer, team, slots) if into is not None else None
    if as_json:
        written = {"name": change.layer, "before": change.before, "after": change.after} if change else None
        typer.echo(to_json({**found, "layer": written}))
        return
    typer.echo("\n".join(_lines(selection, policy, team)))
    if change is None:
        typer.echo("\n" + _layer(layer or "draft", team), nl=False)


def _pair(text: str) -> tuple[str, str]:
    model, equals, slot = text.rpartition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not MODEL=SLOT", param_hint="--slot")
    return model, slot


def _selection(
    file: Path, task: str | None, among: Sequence[str] | None, k: int, trade_off: float, split: str
) -> Selection:
    from moa_graph.evaluation.results import read_results  # noqa: PLC0415 -- pydantic costs start-up time
    from moa_graph.evaluation.selection import select as prepare  # noqa: PLC0415 -- see above

    results = read_results(file, task)
    if among:
        results = results.among(among)
    return prepare(results, k, trade_off=trade_off, how=split)


def _write_into(file: Path, layer: str | None, team: Sequence[str], slots: Mapping[str, str]) -> Change:
    """Edit a spec in place, and say on stderr what was there; a spec that would not load is left alone."""
    from moa_graph.evaluation.layers import slots_of, with_proposers  # noqa: PLC0415 -- pydantic, as above
    from moa_graph.spec.loading import load_spec  # noqa: PLC0415 -- see above

    chosen = slots_of(load_spec(file), team, slots)
    try:
        text = file.read_bytes().decode()
        if not os.access(file, os.W_OK):  # a folder that may be written to would let it be replaced
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        change = with_proposers(text, layer, chosen, file=str(file))
        if change.text != text:
            mode = stat.S_IMODE(file.stat().st_mode)
            write_whole(file, change.text.encode(), force=True)
            file.chmod(mode)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror or error}", param_hint="--into") from error
    if change.text == text:
        typer.echo(f"{file}: nothing is changed", err=True)
    else:
        typer.echo(f"{file}: the layer {change.layer} is changed", err=True)
        typer.echo(f"  before: {', '.join(change.before)}\n  now:    {', '.join(change.after)}", err=True)
    return change


def _draw(selection: Selection, file: Path) -> None:
    from moa_graph.evaluation.figures import draw_selection, save  # noqa: PLC0415 -- of the extra `eval`

    try:
        save(draw_selection(selection), file)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror or error}", param_hint="--plot") from error
    typer.echo(f"wrote {file}", err=True)


def _layer(name: str, team: Sequence[str]) -> str:
    from moa_graph.evaluation.layers import layer_text  # noqa: PLC0415 -- pydantic costs start-up time

    return layer_text(name, team)


def _lines(selection: Selection, policy: str, team: Sequence[str]) -> Iterator[str]:
    known, held_out = selection.known.results, selection.held_out.results
    yield (
        f"{selection.k} of {len(known.models)} models, chosen on {count(len(known.ids), 'question')}, "
        f"tested on {len(held_out.ids)} others: {selection.measure} in %, with 95 % intervals over questions"
    )
    if selection.left_out:
        left_out = count(selection.left_out, "question")
        cut = f"; in {known.cut} of them a proposer was cut or not asked" if known.cut else ""
        yield f"{left_out} left out: not every model has a score for them{cut}"
    if known.unscored:
        names = ", ".join(map(one_line, known.unscored))
        yield f"{count(len(known.unscored), 'model')} left out, of which no scores are recorded: {names}"
    if selection.likeness == "scores":
        yield "neither answers nor texts are recorded: agreement is that of scores"
    yield ""
    yield from columns([_HEAD, *map(_cells, selection.rows)], right={1})
    yield ""
    spread = next(row.range for row in selection.rows if row.range is not None)
    low, high = (f"{100 * end:.1f}" for end in spread)
    what = "votes" if selection.held_out.votes else "means of members"
    yield f"95 % of the {selection.seeds} random teams: {what} from {low} to {high}"
    yield f"best single: {one_line(selection.best)}"
    yield f"{policy}: {', '.join(map(one_line, team))}"


def _cells(row: Row) -> tuple[str, ...]:
    agreement = "–" if row.agreement is None else f"{100 * row.agreement:.1f}"
    return (row.name, agreement, *map(_percent, (row.mean, row.right, row.vote)), _percent(row.gain, "+.1f"))


def _percent(interval: Interval | None, form: str = ".1f") -> str:
    return "–" if interval is None else format(interval.times(100), form)


def _record(selection: Selection, policy: str, team: Sequence[str]) -> dict[str, Any]:
    return {
        "measure": selection.measure,
        "agreement_of": selection.likeness,
        "k": selection.k,
        "lambda": selection.trade_off,
        "chosen_on": len(selection.known.results.ids),
        "tested_on": len(selection.held_out.results.ids),
        "left_out": selection.left_out,
        "cut": selection.known.results.cut,
        "warnings": selection.warnings,
        "unscored": list(selection.known.results.unscored),
        "rows": [asdict(row) for row in selection.rows],
        "policy": policy,
        "models": list(team),
    }
