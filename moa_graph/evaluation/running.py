"""Run the items of a dataset as threads: bounded, resumable, paid once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moa_graph.errors import MoAError, RunError, StoreError, ThreadBusy
from moa_graph.evaluation.ceiling import Ceiling
from moa_graph.evaluation.datasets import Item, question_digest
from moa_graph.evaluation.hopeless import is_hopeless
from moa_graph.evaluation.scoring import ItemError, Record, error_of, score
from moa_graph.runs.run import Run
from moa_graph.runs.threads import Runs
from moa_graph.spec.extracting import ExtractSpec

__all__ = ["Evaluation", "Happened", "Plan", "thread_of"]

_LONGEST_LABEL = 200
"""Characters of a thread's id that say which item it is; a digest follows."""


@dataclass(frozen=True)
class Plan:
    """Say what is evaluated: under which name, which items, how answers are read, how many at once.

    `others` are the dataset's other items: none of them is asked, but what they have cost counts.
    """

    name: str
    items: Sequence[Item]
    how: ExtractSpec | None = None
    concurrency: int = 8
    ceiling: Ceiling | None = None
    others: Sequence[Item] = ()


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


def _check_store(lost: Sequence[str], answered: int) -> None:
    if lost:
        raise MoAError(
            f"{len(lost)} of the {answered} answers in records.jsonl are not in the store of the threads, "
            f"such as that of {lost[0]!r}",
            hint="Put the store back, or name the one that has them: --db URL. To ask and pay anew, move "
            "records.jsonl away. Nothing was asked.",
        )


class Evaluation:
    """Evaluate the items of a plan; `records` are by an item's place in it.

    `restore` takes from the store what is there already, which costs nothing; `run` does the rest, in which
    failed and interrupted items go on where they stood. `watch` is told of every item. `other_records` are
    those of the plan's other items, as earlier processes left them. `hopeless` is the failure that every
    further item would meet as well, for which no more was begun.
    """

    def __init__(self, runs: Runs, plan: Plan, watch: Callable[[Happened], None] = lambda _: None) -> None:
        self.plan = plan
        self.records: dict[int, Record] = {}
        self.other_records: list[Record] = []
        self.hopeless: ItemError | None = None
        self._runs = runs
        self._watch = watch
        self._costs: dict[int, float | None] = {}
        self._standing: dict[int, list[Run]] = {}
        self._due: deque[int] = deque()
        self._running: set[int] = set()
        self._turn = asyncio.Condition()

    async def restore(self, answered: Collection[str] = ()) -> None:
        """Read from the store what earlier processes did; raise MoAError if it lacks one of `answered`."""
        known = {summary.thread for summary in await self._runs.threads()}
        _check_store([thread for thread in answered if thread not in known], len(answered))
        # What the other items have cost is booked under the places that follow those of the plan's own.
        for place, item in enumerate([*self.plan.items, *self.plan.others]):
            thread = thread_of(self.plan.name, item)
            if thread not in known:
                continue
            runs = await self._read(item, thread)
            self._book(place, runs)
            last = runs[-1]
            ended = last.status == "answered" and len(runs) == len(item.turns)
            if place >= len(self.plan.items):
                if ended or last.status == "failed":
                    error = None if ended else error_of(last)
                    self.other_records.append(score(item, runs, self.plan.how, error))
            elif ended:
                self._end(place, runs, None, "restored")
            else:
                self._standing[place] = runs
                if last.status == "failed":
                    self.records[place] = score(item, runs, self.plan.how, error_of(last))

    async def run(self) -> None:
        """Run what is not done yet, after `restore`; an item that fails is recorded, and the others go on.

        Raises what would fail every item alike: a model that is not ready, another spec's thread, a store
        that fails, a thread that somebody else runs. What was done until then is kept. After a failure that
        is hopeless no more begins, and those that are under way end.
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
        """Return USD for the plan's items, also those that have not ended; None where a cost is unknown."""
        costs: list[Any] = [cost for place, cost in self._costs.items() if place < len(self.plan.items)]
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
        try:
            return await self._runs.start(question, thread=thread, turn=f"turn-{number}")
        except ThreadBusy as error:
            raise ThreadBusy(
                error.message,
                hint="Another evaluation whose folder has the same name works in this store: wait until it "
                "has ended, or give another --db or --out.",
            ) from error

    async def _work(self) -> None:
        while (place := await self._next()) is not None:
            await self._answer(place)
            async with self._turn:
                self._running.discard(place)
                self._turn.notify_all()

    async def _next(self) -> int | None:
        """Return the next item that may begin; None when there is none, or no more may.

        Items that are under way cost less than they may: what does not fit now may fit when they have ended.
        """
        async with self._turn:
            while self._due and self.hopeless is None:
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
            self.hopeless = failure if is_hopeless(error) else self.hopeless
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
