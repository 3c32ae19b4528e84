"""`moa judge`: a model judges the answers of one evaluation against those of another."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moa_graph.cli.faults import RUN_FAILED
from moa_graph.cli.options import Json, Quiet
from moa_graph.cli.text import count, dollars, one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moa_graph.evaluation.judging import Judgement
    from moa_graph.evaluation.pairing import Paired
    from moa_graph.evaluation.statistics import Interval
    from moa_graph.evaluation.verdicts import Verdict
    from moa_graph.spec.schema import MoASpec

__all__ = ["judge"]


@dataclass(frozen=True)
class _Found:
    """Hold what is shown: the judgement, and the win rate at equal lengths or why there is none."""

    judgement: Judgement
    paired: Paired
    controlled: Interval | None
    uncontrolled: str
    file: Path


def judge(
    run: Annotated[str, typer.Argument(metavar="RUN_A", help="A folder of moa eval: the baseline.")],
    other: Annotated[str, typer.Argument(metavar="RUN_B", help="Another one over the same dataset.")],
    *,
    model: Annotated[
        str, typer.Option("--model", metavar="JUDGE", help="Who judges: provider:model, or a spec file.")
    ],
    dataset: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The questions; default: the dataset that RUN_A names."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where the verdicts are kept, as they come.")
    ] = Path("verdicts.jsonl"),
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, help="Verdicts asked for at once.")] = 8,
    max_cost: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0.0, help="What all verdicts in FILE may cost; needs prices."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Let a model judge the answers of RUN_B against those of RUN_A.

    Every pair is judged twice with the answers' places swapped; if the verdicts disagree, it is a tie. The
    same command again asks only for verdicts that are lacking. Exit code 1 as long as some are.
    """
    from moa_graph.cli.stopping import run_until_stopped  # noqa: PLC0415 -- the graph costs start-up time
    from moa_graph.evaluation.judging import Judge  # noqa: PLC0415 -- see above
    from moa_graph.evaluation.verdicts import VerdictFile  # noqa: PLC0415 -- see above

    paired = _paired(run, other, dataset)
    work = Judge(_spec(model)).judge(
        paired.pairs,
        VerdictFile(out),
        concurrency=concurrency,
        max_cost=max_cost,
        on_verdict=None if quiet else _progress(),
    )

    def on_stop() -> None:
        typer.echo(f"\nstopped; the verdicts so far are in {out}: the same command goes on", err=True)

    found = _with_lengths(run_until_stopped(work, on_stop), paired, out)
    if not quiet and sys.stderr.isatty():
        typer.echo(err=True)
    if as_json:
        typer.echo(to_json(_record(found)))
    else:
        typer.echo("\n".join(_lines(found)))
    if found.judgement.failed or found.judgement.unasked:
        raise typer.Exit(RUN_FAILED)


def _paired(run: str, other: str, dataset: Path | None) -> Paired:
    from moa_graph.evaluation.comparing import read_run  # noqa: PLC0415 -- costs start-up time
    from moa_graph.evaluation.datasets import read_dataset  # noqa: PLC0415 -- see above
    from moa_graph.evaluation.pairing import pair_up  # noqa: PLC0415 -- see above

    runs = read_run(run), read_run(other)
    named = dataset or runs[0].dataset or runs[1].dataset
    if named is None:
        raise typer.BadParameter("the runs do not say which dataset they answer", param_hint="--dataset")
    return pair_up(*runs, read_dataset(Path(named)))


def _spec(model: str) -> MoASpec:
    from moa_graph.evaluation.judging import judge_spec  # noqa: PLC0415 -- costs start-up time
    from moa_graph.spec.loading import load_spec  # noqa: PLC0415 -- see above

    return load_spec(model) if model.endswith((".yaml", ".yml", ".json")) else judge_spec(model)


def _progress() -> Callable[[Verdict], None]:
    """Return what counts verdicts on a terminal's last line; elsewhere each would be a line of a log."""
    done = 0

    def tell(_: Verdict) -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            typer.echo(f"\r{count(done, 'verdict')} …", err=True, nl=False)

    return tell


def _with_lengths(judgement: Judgement, paired: Paired, file: Path) -> _Found:
    from moa_graph.errors import MoAError  # noqa: PLC0415 -- with the two below
    from moa_graph.evaluation.length_controlled import Judged, length_controlled  # noqa: PLC0415 -- numpy

    judged = Judged(
        preference=[judgement.preferences[pair.id] for pair in paired.pairs],
        length=[len(pair.answer) for pair in paired.pairs],
        baseline_length=[len(pair.baseline) for pair in paired.pairs],
    )
    try:
        return _Found(judgement, paired, length_controlled(judged).rate, "", file)
    except MoAError as error:
        return _Found(judgement, paired, None, error.message, file)


def _lines(found: _Found) -> Iterator[str]:
    said = found.judgement
    yield f"{count(len(found.paired.pairs), 'pair')}, each judged in both orders"
    if found.paired.unanswered:
        yield f"left out, without an answer in one run: {count(len(found.paired.unanswered), 'item')}"
    if found.paired.only_one:
        yield f"left out, in one run only: {count(found.paired.only_one, 'item')}"
    if said.win is None:
        yield "no pair has both verdicts: there is no win rate"
    else:
        win = said.win
        yield f"win rate of RUN_B: {_rate(win.rate, win.items)}"
        yield f"won {win.wins}, lost {win.losses}, tied {win.ties}, not judged {win.unjudged}"
        controlled = _rate(found.controlled, win.items) if found.controlled else "unknown"
        yield f"length-controlled: {controlled}{found.uncontrolled and f' ({found.uncontrolled})'}"
        share = 100 * said.inconsistent / win.items
        yield f"verdicts that changed with the order: {share:.1f} % of the pairs"
    yield f"won by the answer in the first place: {said.first}, in the second: {said.second}"
    yield f"verdicts unparsable: {said.unparsable}, failed: {said.failed}, not asked for: {said.unasked}"
    took = f"{count(said.calls, 'call')}, cost {dollars(said.cost)}"
    yield f"{took}; the verdicts are in {one_line(str(found.file))}"


def _rate(rate: Interval, items: int) -> str:
    from moa_graph.evaluation.statistics import can_be_told  # noqa: PLC0415 -- costs start-up time

    telling = "no difference can be told"
    if can_be_told(rate, items, against=0.5):
        telling = f"RUN_{'B' if rate.value > 0.5 else 'A'} is preferred"
    return f"{rate.times(100)} %: {telling}"


def _record(found: _Found) -> dict[str, Any]:
    return {
        **asdict(found.judgement),
        "inconsistent_share": found.judgement.inconsistent_share,
        "length_controlled": asdict(found.controlled) if found.controlled else None,
        "unanswered": found.paired.unanswered,
        "only_one": found.paired.only_one,
    }
