"""Pairwise judging: a model says which of two answers is better, each pair twice with places swapped."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel

from moa_graph.errors import MoAError, RunError
from moa_graph.estimate import estimate
from moa_graph.evaluation.hopeless import is_hopeless
from moa_graph.evaluation.judgement import Judgement, Pair, summarize
from moa_graph.evaluation.marking import answering_mark
from moa_graph.evaluation.placing import Placed, placed
from moa_graph.evaluation.purse import Purse, paid
from moa_graph.evaluation.verdicts import SIDES, Choice, Side, Verdict, VerdictFile
from moa_graph.graph import build_graph
from moa_graph.models.pool import ModelPool
from moa_graph.spec.loading import load_spec
from moa_graph.spec.schema import MoASpec
from moa_graph.text import clean
from moa_graph.usage import estimate_tokens

__all__ = ["Judge", "judge_spec", "read_choice"]

_VERDICT = re.compile(r"[\s*_#`]*verdict[\s*_`]*:[\s*_`\"'(\[]*(a|b|tie)[\s*_`\"')\].]*", re.IGNORECASE)
"""The last line of a reply, emphasised or not, but not quoted with `>`: an answer may be quoted."""


class Judge:
    """Ask one model, or a whole mixture, about pairs of answers.

    The spec says who judges: the calls have its retries, limits and prices.
    """

    def __init__(self, spec: MoASpec, *, models: Mapping[str, BaseChatModel] | None = None) -> None:
        self.spec = spec
        self._graph: Any = build_graph(spec, models=models).compile()
        self._price = ModelPool(spec, models).price
        self._mark = answering_mark(spec)

    async def judge(
        self,
        pairs: Sequence[Pair],
        file: VerdictFile,
        *,
        concurrency: int = 8,
        max_cost: float | None = None,
        on_verdict: Callable[[Verdict], None] | None = None,
    ) -> Judgement:
        """Ask for all verdicts that are not in the file yet, and return what all of them say.

        Each verdict is appended to the file as it comes; those that failed are asked for again next time.
        No request is sent that might cost more than is left of `max_cost` USD, which counts what the file
        says was paid before; a call of unknown cost counts with the most that it may cost. Raises MoAError
        for such a ceiling without prices, ThreadBusy while somebody else judges into the file,
        ModelNotReady, and RunError where the judge cannot be reached at all (a wrong key, no quota, no such
        model).
        """
        if len({pair.id for pair in pairs}) < len(pairs):
            raise MoAError("two pairs have the same id")
        orders = [order for pair in pairs for order in placed(self._mark, pair)]
        with file.held():
            there = file.read()
            done = {known.key for known in there if known.status != "failed"}
            due = deque(order for order in orders if order.key not in done)
            bounds = (
                {} if max_cost is None or not due else {order.key: self._bound(order) for order in orders}
            )
            purse = Purse(max_cost, sum(paid(known, bounds) for known in there))

            async def work() -> None:
                while due and purse.reserve(bound := bounds.get(due[0].key, 0.0)):
                    order = due.popleft()
                    verdict, hopeless = await self._ask(order)
                    purse.settle(bound, bound if verdict.cost is None else verdict.cost)
                    file.append(verdict)
                    if hopeless:
                        raise hopeless
                    if on_verdict:
                        on_verdict(verdict)

            await _all([work() for _ in range(concurrency)])
            keys = {order.key for order in orders}
            found = summarize(pairs, [known for known in file.read() if known.key in keys])
        return replace(found, ceiling=purse.reached([bounds[order.key] for order in due]) if due else None)

    def _bound(self, order: Placed) -> float:
        """Return USD that a verdict costs at most when all goes well; raise MoAError where it is unknown."""
        tokens = sum(estimate_tokens(str(text)) for _, text in order.messages())
        bound = estimate(self.spec, self._price, (), tokens)
        if bound.max_cost is None:
            raise MoAError(
                f"a cost ceiling needs to know what a verdict costs at most: {bound.unknown}",
                hint="Describe the judge by a spec whose slot has a price and max_tokens.",
            )
        return bound.max_cost

    async def _ask(self, order: Placed) -> tuple[Verdict, RunError | None]:
        """Return a verdict, and the error that ended it if no other call can do better."""
        began = time.monotonic()
        verdict = Verdict(id=order.id, key=order.key, first=order.first, status="failed")
        try:
            state = await self._graph.ainvoke({"messages": order.messages()})
        except RunError as error:
            reason = clean(_reason(error))[0]
            verdict = replace(verdict, error=reason, calls=error.calls, cost=error.cost)
            return _timed(verdict, began), _unreachable(error)
        message = state["messages"][-1]
        said = message.response_metadata["moa"]
        reply = clean(str(message.text))[0]
        letter = read_choice(reply)
        verdict = replace(
            verdict,
            status="unparsable" if letter is None else "judged",
            choice=_choice(letter, order.first),
            reply=reply,
            calls=said["calls"],
            cost=said["cost"],
        )
        return _timed(verdict, began), None


def judge_spec(model: str) -> MoASpec:
    """Return a spec whose only model judges, at temperature 0; `model` is `provider:model`.

    Raises SpecError for another form.
    """
    slot = {"model": model, "temperature": 0.0, "max_tokens": 1024}
    return load_spec({"moa": 1, "name": "judge", "models": {"judge": slot}, "aggregator": {"model": "judge"}})


def read_choice(reply: str) -> Literal["A", "B", "tie"] | None:
    """Return the verdict in the last line of a judge's reply that is not blank, None if there is none."""
    found = _VERDICT.fullmatch(reply.rstrip().rpartition("\n")[2])
    choices: dict[str, Literal["A", "B", "tie"]] = {"a": "A", "b": "B", "tie": "tie"}
    return choices[found[1].lower()] if found else None


def _unreachable(error: RunError) -> RunError | None:
    """Return the error of a judge who can give no verdict at all, None if another call may do better."""
    if not is_hopeless(error):
        return None
    return RunError(
        f"the judge cannot give any verdict: {_reason(error)}",
        hint="Mend the judge (its key, quota or name): the same command goes on.",
        proposals=error.proposals,
        usage=error.usage,
        cost=error.cost,
        calls=error.calls,
    )


def _reason(error: RunError) -> str:
    """Return why a judge gave no verdict, in its own words rather than those of a mixture."""
    failures = [record["failure"] for record in error.proposals if record["failure"]]
    reasons = dict.fromkeys(f"{failure['kind']}: {failure['message']}" for failure in failures)
    return "; ".join(reasons) or error.message


def _choice(letter: str | None, first: Side) -> Choice | None:
    if letter in {None, "tie"}:
        return "tie" if letter else None
    return first if letter == "A" else next(side for side in SIDES if side != first)


def _timed(verdict: Verdict, began: float) -> Verdict:
    return replace(verdict, seconds=round(time.monotonic() - began, 3))


async def _all(work: Sequence[Any]) -> None:
    """Await all; when one fails, or this is cancelled, cancel the others and wait for their end."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
