"""The causal check: drop a proposal, run what comes after it again, and compare the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moa_graph.errors import ThreadError
from moa_graph.evaluation.attribution import similarity_of
from moa_graph.runs.comparing import Piece, word_diff
from moa_graph.runs.run import Run
from moa_graph.runs.thread import AGGREGATOR
from moa_graph.runs.threads import Runs
from moa_graph.state import is_shown

__all__ = ["Plan", "Rerun", "carry_out", "give_up", "plan_without", "without"]


@dataclass(frozen=True)
class Rerun:
    """Say how the answer of a thread changed when a proposal was dropped.

    `forks` are the threads it was run in; `similarity` (0 to 1, of words) and `diff` compare the answer of
    the first with the one before. `control` is the similarity of an answer that was asked for again with
    nothing dropped, None if it was not: models that sample change their answers without any cause. `calls`
    and `cost` (USD, None if unknown) are what was foreseen. One rerun is one draw, not a distribution.
    """

    proposal: str
    forks: list[str]
    before: str
    after: str
    similarity: float
    diff: list[Piece]
    control: float | None
    calls: int
    cost: float | None


@dataclass(frozen=True)
class Plan:
    """Hold the forks of a thread in which its answer is asked for again; nothing is called yet.

    The first one lacks the proposal; the second, the control if there is one, lacks nothing. `calls` counts
    the calls that both take when all goes well, `cost` is USD that they cost at most then, None if unknown.
    """

    run: Run
    proposal: str
    forks: list[Run]

    @property
    def calls(self) -> int:
        """Count the calls that the forks take."""
        return sum(fork.calls_left for fork in self.forks)

    @property
    def cost(self) -> float | None:
        """Return USD that the forks cost at most, None if a price is unknown."""
        costs = [fork.cost_left for fork in self.forks]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None


async def without(
    runs: Runs,
    thread: str,
    proposal: str,
    *,
    agree: Callable[[Plan], bool] = lambda _plan: True,
    control: bool = False,
) -> Rerun | None:
    """Drop a proposal of an answered thread, run what comes after it again, and compare the answers.

    Before anything is called, `agree` is shown how many calls that takes and what it costs at most; unless
    it agrees, None is returned and nothing is left behind. Raises as `plan_without` and `carry_out`.
    """
    plan = await plan_without(runs, thread, proposal, control=control)
    agreed = False
    try:
        agreed = agree(plan)
    finally:
        if not agreed:
            await give_up(runs, plan)
    return await carry_out(runs, plan) if agreed else None


async def plan_without(runs: Runs, thread: str, proposal: str, *, control: bool = False) -> Plan:
    """Fork a thread before the first step that saw a proposal, and drop that in the fork; call nothing.

    With `control` there is a second fork that keeps the proposal. The thread itself stays as it is. Raises
    ThreadError for a thread without an answer, for a proposal that nobody saw, and for the only one of a
    layer: without any there is nothing to go on with.
    """
    run = await runs.show(thread)
    before = await _first_reader(runs, run, proposal)
    forks = [await runs.fork(thread, before=before)]
    try:
        forks[0] = await runs.edit(forks[0].thread, proposal, drop=True)
        if control:
            forks.append(await runs.fork(thread, before=before))
    except BaseException:
        await give_up(runs, Plan(run, proposal, forks))
        raise
    return Plan(run, proposal, forks)


async def carry_out(runs: Runs, plan: Plan) -> Rerun:
    """Run what was planned, and compare the answers; raises what the runs raise, and can be repeated then."""
    old = str(plan.run.answer)
    new, *again = [str((await runs.resume(fork.thread)).answer) for fork in plan.forks]
    return Rerun(
        proposal=plan.proposal,
        forks=[fork.thread for fork in plan.forks],
        before=old,
        after=new,
        similarity=similarity_of(old, new),
        diff=word_diff(old, new),
        control=similarity_of(old, again[0]) if again else None,
        calls=plan.calls,
        cost=plan.cost,
    )


async def give_up(runs: Runs, plan: Plan) -> None:
    """Delete the forks of a plan."""
    for fork in plan.forks:
        await runs.delete(fork.thread)


async def _first_reader(runs: Runs, run: Run, proposal: str) -> str:
    """Return the first step with the proposal in a prompt, or among what it chose the answer from."""
    if run.answer is None:
        raise ThreadError(
            f"thread {run.thread!r} has no answer yet", hint="Drop the proposal by an edit, and go on."
        )
    layer = proposal.partition("/")[0]
    seen = {id_: readers for record in run.proposals if (readers := _readers(run, id_ := record["id"]))}
    if proposal not in seen:
        raise ThreadError(
            f"nobody saw a proposal {proposal!r}", hint=f"There are: {', '.join(seen) or 'none'}."
        )
    shown = [record["id"] for record in run.proposals if is_shown(record) and record["layer"] == layer]
    if shown == [proposal]:
        raise ThreadError(
            f"{proposal!r} is the only proposal of its layer that was shown: "
            "without it there is nothing to go on with",
            hint=f"Fork the thread before {layer!r} and edit it, or drop one of a wider layer.",
        )
    names = [each.name for each in (await runs.record(run.thread)).load_spec().layers]
    return next(step for step in [*names, AGGREGATOR] if step in seen[proposal])


def _readers(run: Run, proposal: str) -> set[str]:
    """Return the later steps with a proposal in a prompt, also in one about proposals (a ranker's, say)."""
    layer = proposal.partition("/")[0]
    return {
        str(record["layer"])
        for record in [*run.proposals, *run.aides, *run.aggregators]
        if proposal in record["references"] and record["layer"] != layer
    }
