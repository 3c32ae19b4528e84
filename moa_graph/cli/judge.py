"""`moa judge`: a model judges the answers of one evaluation against those of another."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moa_graph.cli.faults import RUN_FAILED
from moa_graph.cli.judges import judge_of
from moa_graph.cli.options import Json, Quiet
from moa_graph.cli.run_names import run_names
from moa_graph.cli.text import count, dollars, one_line, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moa_graph.evaluation.judgement import Judgement
    from moa_graph.evaluation.length_controlled import LengthControlled
    from moa_graph.evaluation.pairing import Paired
    from moa_graph.evaluation.statistics import Interval
    from moa_graph.evaluation.verdicts import Side, Verdict

__all__ = ["judge"]


@dataclass(frozen=True)
class _Found:
    """Hold what is shown: the judgement, and the win rate at equal lengths or why there is none."""

    judgement: Judgement
    paired: Paired
    controlled: LengthControlled | None
    uncontrolled: str
    names: tuple[str, str]
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
    same command again asks only for verdicts that were not given. Exit codes: 0 every pair has both
    verdicts, 1 some are lacking or unparsable.
    """
    from moa_graph.cli.stopping import run_until_stopped  # noqa: PLC0415 -- the graph costs start-up time
    from moa_graph.evaluation.judging import Judge  # noqa: PLC0415 -- see above
    from moa_graph.evaluation.verdicts import VerdictFile  # noqa: PLC0415 -- see above

    paired = _paired(run, other, dataset)
    work = Judge(judge_of(model, "--model")).judge(
        paired.pairs,
        VerdictFile(out),
        concurrency=concurrency,
        max_cost=max_cost,
        on_verdict=None if quiet else _progress(),
    )

    def on_stop() -> None:
        typer.echo(f"\nstopped; the verdicts so far are in {out}: the same command goes on", err=True)

    judgement = run_until_stopped(work, on_stop)
    found = _Found(judgement, paired, *_at_equal_lengths(judgement, paired), run_names(run, other), out)
    if not quiet and sys.stderr.isatty():
        typer.echo(err=True)
    if as_json:
        typer.echo(to_json({"run_a": run, "run_b": other, **_record(found)}))
    else:
        typer.echo("\n".join(_lines(found)))
    if judgement.lacking:
        raise typer.Exit(RUN_FAILED)


def _paired(run: str, other: str, dataset: Path | None) -> Paired:
    from moa_graph.evaluation.evaluated import read_run  # noqa: PLC0415 -- costs start-up time
    from moa_graph.evaluation.pairing import dataset_of, pair_up  # noqa: PLC0415 -- see above

    runs = read_run(run), read_run(other)
    return pair_up(*runs, dataset_of(runs, dataset))


def _progress() -> Callable[[Verdict], None]:
    """Return what counts verdicts on a terminal's last line; elsewhere each would be a line of a log."""
    done = 0

    def tell(_: Verdict) -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            typer.echo(f"\r{count(done, 'verdict')} …", err=True, nl=False)

    return tell


def _at_equal_lengths(judgement: Judgement, paired: Paired) -> tuple[LengthControlled | None, str]:
    """Return the length-controlled win rate, or why there is none."""
    from moa_graph.errors import MoAError  # noqa: PLC0415 -- with the two below
    from moa_graph.evaluation.length_controlled import Judged, length_controlled  # noqa: PLC0415 -- numpy

    judged = Judged(
        preference=[judgement.preferences[pair.id] for pair in paired.pairs],
        length=[len(pair.answer) for pair in paired.pairs],
        baseline_length=[len(pair.baseline) for pair in paired.pairs],
    )
    try:
        return length_controlled(judged), ""
    except MoAError as error:
        return None, error.message


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
        win, names = said.win, found.names
        yield f"win rate of {names[1]} against {names[0]}: {_rate(win.rate, win.preferred, names)}"
        yield f"won {win.wins}, lost {win.losses}, tied {win.ties}, not judged {win.unjudged}"
        yield f"length-controlled: {_controlled(found)}"
        share = 100 * said.inconsistent / win.items
        yield f"verdicts that changed with the order: {share:.1f} % of the pairs"
    yield f"won by the answer in the first place: {said.first}, in the second: {said.second}"
    yield f"verdicts unparsable: {said.unparsable}, failed: {said.failed}, not asked for: {said.unasked}"
    yield from _lacking(said)
    took = f"{count(said.calls, 'call')}, cost {dollars(said.cost)}"
    yield f"{took}; the verdicts are in {one_line(str(found.file))}"


def _lacking(said: Judgement) -> Iterator[str]:
    """Say why verdicts are lacking, and what helps."""
    if said.unread is not None:
        yield (
            "unparsable, and not asked for again, is a reply whose last line is no verdict, such as: "
            f"{one_line(said.unread, 120) or 'nothing'}"
        )
    if said.reason is not None:
        yield f"failed, and asked for again by the same command: {one_line(said.reason)}"
    if said.ceiling is not None:
        spent, most, enough = said.ceiling.spent, said.ceiling.next, said.ceiling.enough
        yield (
            f"the ceiling is reached: {dollars(spent)} spent, and the next verdict may cost {dollars(most)}; "
            f"--max-cost {math.ceil(enough * 10_000) / 10_000:g} is enough for all"
        )


def _controlled(found: _Found) -> str:
    from moa_graph.evaluation.length_controlled import FEWEST_TO_TELL  # noqa: PLC0415 -- numpy

    if found.controlled is None:
        return f"unknown ({found.uncontrolled})"
    text = _rate(found.controlled.rate, found.controlled.preferred, found.names)
    few = f"under {FEWEST_TO_TELL} items " * (found.controlled.items < FEWEST_TO_TELL)
    return f"{text} ({few}its penalty pulls it towards 50 %, which the interval leaves out)"


def _rate(rate: Interval, preferred: Side | None, names: tuple[str, str]) -> str:
    telling = "no difference can be told"
    if preferred:
        telling = f"{names[1] if preferred == 'answer' else names[0]} is preferred"
    return f"{rate.times(100)} %: {telling}"


def _record(found: _Found) -> dict[str, Any]:
    names: dict[Side | None, str | None] = {"answer": "run_b", "baseline": "run_a", None: None}
    win, controlled = found.judgement.win, found.controlled
    return {
        **asdict(found.judgement),
        "preferred": names[win.preferred] if win else None,
        "inconsistent_share": found.judgement.inconsistent_share,
        "length_controlled": asdict(controlled.rate) if controlled else None,
        "length_controlled_preferred": names[controlled.preferred] if controlled else None,
        "length_controlled_unknown": found.uncontrolled or None,
        "unanswered": found.paired.unanswered,
        "only_one": found.paired.only_one,
    }
