"""`moa attribute`: which proposals an answer is worded like, and what it becomes without one of them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, Json, KeyEnv, ThreadId
from moa_graph.cli.place import place_of
from moa_graph.cli.proposals import decided
from moa_graph.cli.store import with_runs
from moa_graph.cli.text import at_most, count, one_line, plain, to_json
from moa_graph.errors import MoAError, ThreadError
from moa_graph.runs.commands import thread_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moa_graph.evaluation.attribution import Attribution, SentenceOrigin
    from moa_graph.evaluation.dropping import Plan, Rerun
    from moa_graph.runs.run import Run
    from moa_graph.runs.threads import Runs

__all__ = ["attribute"]

_NO_CAUSE = "similar wording, which is no proof of cause"
_ONE_DRAW = "one rerun each: a single draw, no estimate"
_NO_CONTROL = "a model that samples changes its answer without any cause, too: compare with --control"


def attribute(
    command: typer.Context,
    thread: ThreadId,
    *,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Compare with this layer's proposals, not the last's."),
    ] = None,
    drop: Annotated[
        str | None,
        typer.Option(
            "--drop", metavar="PROPOSAL", help="Instead, run again without it (LAYER/NAME) in a fork."
        ),
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="With --drop: also run again with nothing dropped.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --drop: do not ask.")] = False,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    as_json: Json = False,
) -> None:
    """Show sentence by sentence which proposals a thread's answer is worded like.

    That is similar wording, not cause. What the answer owes to a proposal is seen with --drop: a fork
    without it is run again, after it is said what that takes. Asks on a terminal; elsewhere --yes is needed.
    """
    if drop is None:
        if control or yes:
            raise typer.BadParameter("this goes with --drop", param_hint="--control" if control else "--yes")
        run, name, found = with_runs(db, key_env, lambda runs: _compare(runs, thread, layer))
        record = {"thread": thread, "layer": name, "decision": run.decision, "note": _NO_CAUSE}
        typer.echo(to_json(record | found.record()) if as_json else "\n".join(_lines(run, name, found)))
        return
    if layer is not None:
        raise typer.BadParameter("use either --layer or --drop", param_hint="--layer")
    _drop(command, drop, control=control, yes=yes)


async def _compare(runs: Runs, thread: str, layer: str | None) -> tuple[Run, str, Attribution]:
    from moa_graph.evaluation.attribution import attribute as origins_of  # noqa: PLC0415 -- start-up time

    run = await runs.show(thread)
    if run.answer is None:
        raise ThreadError(f"thread {thread!r} has no answer yet", hint="Go on with it: moa resume.")
    made = [proposal for proposal in run.proposals if proposal["status"] == "ok"]
    names = list(dict.fromkeys(proposal["layer"] for proposal in made))
    if not names or (layer is not None and layer not in names):
        raise ThreadError(
            f"there are no proposals of {'a layer' if layer is None else repr(layer)} to compare with",
            hint=f"There are some of: {', '.join(names)}." if names else "",
        )
    name = layer or names[-1]
    # Terminal escapes have letters and digits that would be compared as words.
    proposals = {proposal["id"]: plain(proposal["text"]) for proposal in made if proposal["layer"] == name}
    return run, name, origins_of(plain(run.answer), proposals, question=run.question)


def _lines(run: Run, layer: str, found: Attribution) -> Iterator[str]:
    counts = ", ".join(f"{number} {label}" for label, number in found.counts.items())
    sentences = count(len(found.sentences), "sentence")
    yield f"{thread_name(run.thread)}: {sentences} beside the proposals of {one_line(layer)}: {counts}"
    if run.decision is not None:
        taken = one_line(str(run.decision["proposal"]))
        yield f"the answer is {taken}, word for word: it was taken, not written ({decided(run.decision)})"
    yield f"({_NO_CAUSE})"
    for sentence in found.sentences:
        yield ""
        yield from _sentence(sentence)


def _sentence(sentence: SentenceOrigin) -> Iterator[str]:
    yield f"[{sentence.label}] {sentence.text}"
    for likeness in sentence.near:
        # A sentence that stands there whole need not be repeated.
        run = f": “{one_line(likeness.run)}”" if likeness.run and likeness.similarity < 1 else ""
        yield f"    {one_line(likeness.proposal)}, similarity {likeness.similarity:.2f}{run}"


def _drop(command: typer.Context, drop: str, *, control: bool, yes: bool) -> None:
    """Run a thread again without a proposal; leave nothing behind if the user does not want that."""
    from moa_graph.evaluation.dropping import carry_out, give_up, plan_without  # noqa: PLC0415 -- start-up time

    thread, db, key_env = (command.params[name] for name in ("thread", "db", "key_env"))
    plan = with_runs(db, key_env, lambda runs: plan_without(runs, thread, drop, control=control))
    takes = f"{count(plan.calls, 'call')}, {at_most(plan.cost)}, if nothing is tried twice"
    if yes:
        typer.echo(f"running again: {takes}", err=True)
    else:
        try:
            _ask(f"Run again without {one_line(drop)} ({takes})?")
        except BaseException:
            with_runs(db, key_env, lambda runs: give_up(runs, plan))
            raise
    places = [place_of(command, fork.thread, db, key_env) for fork in plan.forks]
    try:
        rerun = with_runs(db, key_env, lambda runs: carry_out(runs, plan))
    except MoAError:
        for place in places:
            typer.echo(f"what was paid for is kept: {place.command('resume')}", err=True)
        raise
    if command.params["as_json"]:
        typer.echo(to_json({"thread": thread, **asdict(rerun)}))
        return
    typer.echo("\n".join(_rerun(plan, rerun)))
    for place in places:
        typer.echo(f"see it: {place.command('show')}", err=True)


def _ask(question: str) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise MoAError(f"nobody can be asked here: {question}", hint="Add --yes. Nothing was called.")
    typer.confirm(question, abort=True, err=True)


def _rerun(plan: Plan, rerun: Rerun) -> Iterator[str]:
    from moa_graph.cli.differences import differing  # noqa: PLC0415 -- difflib costs start-up time

    again = "" if rerun.control is None else f"; asked again with nothing dropped, {rerun.control:.2f}"
    without = f"without {one_line(plan.proposal)}: similarity to the answer before"
    yield f"{without} {rerun.similarity:.2f}{again}"
    yield f"({_ONE_DRAW if rerun.control is not None else _NO_CONTROL})"
    yield ""
    yield differing(rerun.before, rerun.after)
