"""Run the items of a dataset as threads: bounded, resumable, paid once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moa_graph.errors import MoAError, RunError, StoreError
from moa_graph.evaluation.ceiling import Ceiling
from moa_graph.evaluation.datasets import Item, question_digest
from moa_graph.evaluation.scoring import ItemError, Record, error_of, score
from moa_graph.runs.run import Run
from moa_graph.runs.threads import Runs
from moa_graph.spec.extracting import ExtractSpec

__all__ = ["Evaluation", "Happened", "Plan", "thread_of"]

_LONGEST_LABEL = 200
"""Characters of a thread's id that say which item it is; a digest follows."""


@dataclass(frozen=True)
class Plan:
    """Say what is evaluated: under which name, which items, how answers are read, how many at once."""

    name: str
    items: Sequence[Item]
    how: ExtractSpec | None = None
    concurrency: int = 8
    ceiling: Ceiling | None = None


@dataclass(frozen=True)
class Happened:
    """Tell that an item began, ended, or was found done already; `record` is None for one that began."""

    type: Literal["started", "ended", "restored"]
    item: Item
    record: Record | None = None


def thread_of(name: str, item: Item) -> str:
    """Return the id of an item's thread: of the evaluation's name, the item's id and what it asks."""
    key = f"{name}\0{item.id}\0{question_digest(item)}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{f'{name}/{item.id}'[:_LONGEST_LABEL]}-{digest}"


class Evaluation:
    """Evaluate the items of a plan; `records` are by an item's place in it.

    `restore` takes from the store what is there already, which costs nothing; `run` does the rest, in which
    failed and interrupted items go on where they stood. `watch` is told of every item.
    """

    def __init__(self, runs: Runs, plan: Plan, watch: Callable[[Happened], None] = lambda _: None) -> None:
        self.plan = plan
        self.records: dict[int, Record] = {}
        self._runs = runs
        self._watch = watch
        self._costs: dict[int, float | None] = {}
        self._standing: dict[int, list[Run]] = {}
        self._due: deque[int] = deque()
        self._running: set[int] = set()
        self._turn = asyncio.Condition()

    async def restore(self) -> None:
        """Read from the store what earlier processes did."""
        known = {summary.thread for summary in await self._runs.threads()}
        for place, item in enumerate(self.plan.items):
            thread = thread_of(self.plan.name, item)
            if thread not in known:
                continue
            runs = await self._read(item, thread)
            self._book(place, runs)
            last = runs[-1]
            if last.status == "answered" and len(runs) == len(item.turns):
                self._end(place, runs, None, "restored")
            else:
                self._standing[place] = runs
                if last.status == "failed":
                    self.records[place] = score(item, runs, self.plan.how, error_of(last))

    async def run(self) -> None:
        """Run what is not done yet, after `restore`; an item that fails is recorded, and the others go on.

        Raises what would fail every item alike: a model that is not ready, another spec's thread, a store
        that fails, a thread that somebody else runs. What was done until then is kept.
        """
        done = {place for place, record in self.records.items() if record["status"] == "answered"}
        self._due.extend(place for place in range(len(self.plan.items)) if place not in done)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.plan.concurrency, len(self._due))):
                    group.create_task(self._work())
        except ExceptionGroup as errors:
            # One reason ends all; those of the others are the same, or follow from it.
            known = [error for error in errors.exceptions if isinstance(error, MoAError)]
            raise (known or errors.exceptions)[0] from None

    @property
    def left(self) -> list[Item]:
        """Return the items that have not ended, in the order of the plan."""
        return [item for place, item in enumerate(self.plan.items) if place not in self.records]

    @property
    def cost(self) -> float | None:
        """Return USD for all items, with those that have not ended; None where a cost is unknown."""
        costs: list[Any] = list(self._costs.values())
        return None if None in costs else sum(costs)

    def in_order(self) -> list[Record]:
        """Return the records of what has ended, in the order of the plan."""
        return [self.records[place] for place in sorted(self.records)]

    async def _read(self, item: Item, thread: str) -> list[Run]:
        begun = len((await self._runs.record(thread)).turns)
        # Asked again under their names, turns that are answered cost nothing.
        earlier = [await self._ask(item, thread, number) for number in range(1, begun)]
        return [*earlier, await self._runs.status(thread)]

    async def _ask(self, item: Item, thread: str, number: int) -> Run:
        question = [dict(message) for message in item.turns[number - 1]]
        return await self._runs.start(question, thread=thread, turn=f"turn-{number}")

    async def _work(self) -> None:
        while (place := await self._next()) is not None:
            await self._answer(place)
            async with self._turn:
                self._running.discard(place)
                self._turn.notify_all()

    async def _next(self) -> int | None:
        """Return the next item that may begin; None when there is none, or the ceiling is reached.

        Items that are under way cost less than they may: what does not fit now may fit when they have ended.
        """
        async with self._turn:
            while self._due:
                if self._fits(self._due[0]):
                    place = self._due.popleft()
                    self._running.add(place)
                    return place
                if not self._running:
                    break
                await self._turn.wait()
            return None

    def _fits(self, place: int) -> bool:
        """Tell whether an item may begin, and book what it may cost."""
        ceiling = self.plan.ceiling
        if ceiling is None:
            return True
        runs = self._standing.get(place, [])
        begun = runs[-1] if runs and runs[-1].status != "answered" else None
        return ceiling.reserve(place, begun, turns=len(runs))

    async def _answer(self, place: int) -> None:
        item = self.plan.items[place]
        thread = thread_of(self.plan.name, item)
        self._watch(Happened("started", item))
        runs: list[Run] = []
        failure: ItemError | None = None
        try:
            for number in range(1, len(item.turns) + 1):
                runs.append(await self._ask(item, thread, number))  # noqa: PERF401 -- kept if a later one fails
        except StoreError:
            raise  # it would fail the others as well
        except RunError as error:
            failure = {"type": type(error).__name__, "message": error.message}
            runs.append(await self._runs.status(thread))
        self._book(place, runs)
        self._end(place, runs, failure, "ended")
        if lost := next((run for run in runs if not run.saved), None):
            raise StoreError(f"the answer of thread {thread!r} could not be kept: {lost.reason}")

    def _book(self, place: int, runs: Sequence[Run]) -> None:
        costs: list[Any] = [run.cost for run in runs]
        cost = None if None in costs else sum(costs)
        self._costs[place] = cost
        if self.plan.ceiling is not None:
            self.plan.ceiling.settle(place, cost)

    def _end(
        self,
        place: int,
        runs: Sequence[Run],
        failure: ItemError | None,
        how: Literal["ended", "restored"],
    ) -> None:
        item = self.plan.items[place]
        record = score(item, runs, self.plan.how, failure)
        self.records[place] = record
        self._watch(Happened(how, item, record))
