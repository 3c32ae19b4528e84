"""`moa report`: figures of evaluated runs, in the style of the paper."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moa_graph.cli.judges import judge_of
from moa_graph.cli.options import Json
from moa_graph.cli.tables import columns
from moa_graph.cli.text import count, one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moa_graph.evaluation.curves import Shape
    from moa_graph.evaluation.figures import Curve
    from moa_graph.evaluation.measured import MeasuredRun
    from moa_graph.evaluation.statistics import Interval

__all__ = ["report"]

_SUFFIXES = (".png", ".svg")


class _Figure(StrEnum):
    BY_LAYER = "by-layer"
    BY_PROPOSERS = "by-proposers"
    SINGLE_MULTIPLE = "single-multiple"
    COST_QUALITY = "cost-quality"


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="The folders that `moa eval` wrote.")],
    *,
    figure: Annotated[
        _Figure, typer.Option(metavar="|".join(_Figure), help="What is shown.")
    ] = _Figure.BY_LAYER,
    against: Annotated[
        Path | None,
        typer.Option(metavar="BASE", help="Show win rates against this run, as a judge said."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="JUDGE", help="Who judged, as for `moa judge`.")
    ] = None,
    verdicts: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Where `moa judge` kept the verdicts. Repeatable."),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The questions; default: the dataset that BASE names."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Draw it: .png or .svg (needs the extra eval)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how good runs of `moa eval` are, as figures with intervals.

    `by-layer` follows each run layer after layer, `by-proposers` compares runs of different width,
    `single-multiple` those of one proposer model with those of several, `cost-quality` sets quality against
    USD a question. Quality is the accuracy, or with --against the win rate by verdicts that are there:
    nothing is asked. All runs must be over the same questions. The figures themselves go to stdout; -o draws
    them.
    """
    if output is not None and output.suffix.lower() not in _SUFFIXES:
        raise typer.BadParameter(f"{output}: the suffix must be .png or .svg", param_hint="-o")
    from moa_graph.evaluation.curves import curves_of  # noqa: PLC0415 -- pydantic costs start-up time

    read = _read(runs, against, model, verdicts, dataset)
    shape, curves = curves_of(figure.value, read)
    _tell_left_out([run.name for run in read], curves, figure)
    warnings = list(_biased(curves, len(read[0].items)))
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    if output is not None:
        _draw(shape, curves, output, against)
    if as_json:
        about = {"figure": figure, "measure": shape.measure, "against": against and str(against)}
        shown = {"questions": len(read[0].items), "curves": [*map(_record, curves)], "warnings": warnings}
        typer.echo(to_json({**about, **shown}))
    else:
        typer.echo("\n".join(_lines(shape, curves, len(read[0].items), against)))


def _read(
    runs: list[Path],
    against: Path | None,
    model: str | None,
    verdicts: list[Path] | None,
    dataset: Path | None,
) -> list[MeasuredRun]:
    from moa_graph.evaluation.measured import Match, read_measured, read_preferred  # noqa: PLC0415 -- as above

    if against is None:
        for option, value in (("--model", model), ("--verdicts", verdicts), ("--dataset", dataset)):
            if value is not None:
                raise typer.BadParameter("says nothing without --against", param_hint=option)
        return [read_measured(run) for run in runs]
    if model is None:
        raise typer.BadParameter("--against needs who judged", param_hint="--model")
    match = Match(against, judge_of(model, "--model"), verdicts or [Path("verdicts.jsonl")], dataset)
    read, left_out = read_preferred(runs, match)
    if left_out:
        typer.echo(f"{count(left_out, 'question')} left out: not judged in every run", err=True)
    return read


def _tell_left_out(names: Sequence[str], curves: Sequence[Curve], figure: _Figure) -> None:
    shown = {point.label for _, points in curves for point in points}
    for name in names if figure == _Figure.COST_QUALITY else ():
        if name not in shown:
            typer.echo(f"{one_line(name)} is left out: what some of its questions cost is unknown", err=True)


def _biased(curves: Sequence[Curve], questions: int) -> Iterator[str]:
    for name, points in curves:
        for point in points:
            if point.cut:
                yield (
                    f"{one_line(name)}, layer {_place(point.at)} is biased: for {point.cut} of "
                    f"{count(questions, 'question')} a proposer was cut or not asked. Where agreement ended "
                    "the layer early, only those count who agreed so soon: to compare proposals, evaluate a "
                    "spec without `stop`"
                )


def _draw(shape: Shape, curves: Sequence[Curve], file: Path, base: Path | None) -> None:
    from moa_graph.evaluation.figures import draw_curves, save  # noqa: PLC0415 -- pydantic costs start-up time

    picture = draw_curves(
        curves,
        title=shape.title,
        across=shape.across,
        upward=f"{shape.measure}{_beside(base)}, %",
        joined=shape.joined,
    )
    try:
        save(picture, file)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror or error}", param_hint="-o") from error
    typer.echo(f"wrote {file}", err=True)


def _beside(base: Path | None) -> str:
    return "" if base is None else f" against {one_line(base.resolve().name)}"


def _lines(shape: Shape, curves: Sequence[Curve], questions: int, base: Path | None) -> Iterator[str]:
    yield f"{shape.title}{_beside(base)}, in %, with 95 % intervals over {count(questions, 'question')}"
    yield ""
    rows = [
        (one_line(name), _place(point.at), str(point.value.times(100)), one_line(point.label))
        for name, points in curves
        for point in points
    ]
    yield from columns([("curve", shape.across.partition(";")[0], shape.measure, ""), *rows], right={1})


def _place(at: int | Interval) -> str:
    return str(at) if isinstance(at, int) else f"{at:.3g}"  # as `moa compare` writes costs


def _record(curve: Curve) -> dict[str, Any]:
    return {"curve": curve[0], "points": [asdict(point) for point in curve[1]]}
