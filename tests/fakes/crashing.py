"""Runs of threads in processes that can be killed at any point, and the check of what that cost."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from moa_graph.errors import MoAError
from moa_graph.runs.threads import Runs
from moa_graph.spec.loading import dump_spec, parse_spec
from moa_graph.spec.schema import MoASpec
from moa_graph.state import Proposal
from tests.fakes.process import ServerProcess
from tests.fakes.specs import moa_spec

__all__ = ["CALLS", "Round", "Worker", "contend", "seeded", "work"]

LAYERS, WIDTH = 3, 6
LATE = "ok-slow-0.03"
"""The behaviour of the models: an answer after 30 ms."""
CALLS = LAYERS * WIDTH + 1
PATIENCE = 60.0
"""Seconds to wait for word from a process; a machine under load is slow."""
_EVENTS = 50
"""About as many events as a whole run reports."""

# A forked process is there in milliseconds; the imports are done once, before any event loop.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.fakes.crashing", "moa_graph.models.openai", "moa_graph.runs.sqlite"])


def _prepare() -> None:
    """Start what the processes are forked from, once, without coverage: its files would be cut off, too."""
    measured = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("COVERAGE")}
    try:
        forkserver.ensure_running()
    finally:
        os.environ.update(measured)


class Worker:
    """Start or resume a thread in a process of its own, and hear what it is told.

    `finished` are the proposals that were reported finished, `answer` the answer's record; `run` is what
    came out, `error` the name of the error's class. With `dies_after` the process kills itself right
    after that many events of a kind ("call.finished", "aggregator" for the answer).
    """

    def __init__(
        self, url: str, spec: MoASpec, thread: str, *, dies_after: tuple[str, int] | None = None
    ) -> None:
        _prepare()
        self._ear, mouth = _context.Pipe(duplex=False)
        self.process = _context.Process(
            target=_main, args=(mouth, url, dump_spec(spec), thread, dies_after), daemon=True
        )
        self.process.start()
        mouth.close()
        self.before: str | None = None
        self.events: list[str] = []
        self.finished: dict[str, Proposal] = {}
        self.answer: Proposal | None = None
        self.run: dict[str, Any] | None = None
        self.error: str | None = None

    def hear(self, timeout: float = PATIENCE) -> bool:
        """Take in the next word; return False when there is none in time, or the process has ended."""
        if not self._ear.poll(timeout):
            return False
        try:
            kind, value = self._ear.recv()
        except (EOFError, OSError):
            return False
        if kind == "event":
            self.events.append(value["type"])
            if value["type"] == "call.finished" and value["role"] == "aggregator":
                self.answer = value["proposal"]
            elif value["type"] == "call.finished":
                self.finished[value["id"]] = value["proposal"]
        else:
            setattr(self, kind, value)
        return True

    def kill(self) -> None:
        """Kill the process, and hear what it had said before."""
        self.process.kill()
        self.end()

    def end(self) -> None:
        """Hear all until the process has ended."""
        while self.hear():
            pass
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, "the process hangs"


@contextmanager
def work(*args: Any, **options: Any) -> Iterator[Worker]:
    """Give a Worker that does not outlive the block."""
    worker = Worker(*args, **options)
    try:
        yield worker
    finally:
        worker.kill()


class Round:
    """Kill the processes of one thread, let the last one end, and check what was asked of the models.

    Every call has a model of its own, named by the round, so that the server's counters tell them apart.
    """

    def __init__(self, server: ServerProcess, url: str, name: str, *, final: str = "") -> None:
        def model(layer: int, place: int) -> str:
            return f"{LATE}@{name}-{layer}-{place}"

        layers = [
            {
                "proposers": [
                    {"model": model(layer, place), "id": f"p{place}"} for place in range(1, WIDTH + 1)
                ]
            }
            for layer in range(1, LAYERS + 1)
        ]
        self.models = {
            f"layer-{layer}/p{place}": model(layer, place)
            for layer in range(1, LAYERS + 1)
            for place in range(1, WIDTH + 1)
        }
        final = final or model(LAYERS + 1, 1)
        self.server, self.url, self.name = server, url, name
        self.spec = moa_spec(server.base_url, layers, final)
        self.models["aggregator"] = final
        self.told: dict[str, Proposal] = {}
        self.repeated: set[str] = set()
        self.kills = 0

    def counts(self) -> dict[str, int]:
        """Return how often each call was requested so far, by the proposal's id."""
        models = self.server.stats()["models"]
        return {id_: models.get(model, {"started": 0})["started"] for id_, model in self.models.items()}

    def kill_at(self, chance: random.Random) -> None:
        """Run the thread in a new process, and kill it at a random point."""
        with work(self.url, self.spec, self.name) as worker:
            for _ in range(chance.randrange(_EVENTS)):
                if not worker.hear():
                    break
            worker.process.join(chance.uniform(0, 0.03))
            worker.kill()
            self.note(worker)

    def kill_after(self, kind: str, count: int) -> None:
        """Run the thread in a new process that dies right after it is told something."""
        with work(self.url, self.spec, self.name, dies_after=(kind, count)) as worker:
            worker.end()
            assert worker.process.exitcode == -signal.SIGKILL, worker.error
            self.note(worker)

    def note(self, worker: Worker) -> None:
        """Check that nothing that was told before was told otherwise now; remember what may be repeated."""
        told = worker.finished | ({"aggregator": worker.answer} if worker.answer else {})
        for id_, proposal in told.items():
            assert self.told.setdefault(id_, proposal) == proposal, f"{id_} changed"
        # What had been requested, but not told by now, is what a kill may cost.
        self.repeated |= {id_ for id_, count in self.counts().items() if count and id_ not in self.told}
        self.kills += worker.run is None

    def finish(self, *, check: bool = True) -> Worker:
        """Let a new process end the thread; check that all is there, and that nothing was paid twice."""
        before, underway = self.counts(), set(self.repeated)
        with work(self.url, self.spec, self.name) as worker:
            worker.end()
        if not check:
            return worker
        self.note(worker)
        assert worker.error is None, worker.error
        run = worker.run
        assert run is not None, "the process ended without a word"
        assert run["status"] == "answered"
        assert run["saved"]
        assert run["answer"].startswith("Answer of ")
        made = {proposal["id"]: proposal for proposal in run["proposals"]}
        assert [*made] == [id_ for id_ in self.models if id_ != "aggregator"]
        assert all(proposal["status"] == "ok" for proposal in made.values())
        for id_, proposal in self.told.items():
            assert id_ == "aggregator" or made[id_] == proposal, f"{id_} is not what was told"
        counts = self.counts()
        for id_, count in counts.items():
            allowed = 1 + self.kills * (id_ in underway)
            assert 1 <= count <= allowed, f"{id_}: {count} requests, {before[id_]} before the last resume"
        assert sum(counts.values()) <= CALLS + self.kills * WIDTH
        return worker


def seeded(name: str) -> random.Random:
    """Return a chance of its own; the seed, which pytest-randomly's decides, is printed."""
    seed = random.randrange(2**32)
    print(f"{name}: seed {seed}")  # noqa: T201 -- pytest shows it when the test fails
    return random.Random(seed)


def contend(models: ServerProcess, url: str) -> None:
    """Let two processes go on with a thread, then a third after the first was killed; for all stores."""
    thread = Round(models, url, "both", final="gate@both")
    thread.kill_after("call.finished", 6)
    with work(url, thread.spec, thread.name) as first:
        while not models.count("gate@both"):
            assert first.hear(), first.error
        # The first cannot end before the gate is opened: all that the second does is done meanwhile.
        with work(url, thread.spec, thread.name) as second:
            second.end()
        assert (second.error or "").startswith("ThreadBusy: ")
        assert second.events == []
        first.kill()
        thread.note(first)
    models.release("gate@both")
    assert thread.finish().before == "interrupted"
    assert thread.counts()["aggregator"] == 2


def _main(mouth: Connection, url: str, spec: str, thread: str, dies_after: tuple[str, int] | None) -> None:
    with suppress(KeyboardInterrupt):
        asyncio.run(_pursue(mouth, url, parse_spec(spec), thread, dies_after))


async def _pursue(
    mouth: Connection, url: str, spec: MoASpec, thread: str, dies_after: tuple[str, int] | None
) -> None:
    left = dies_after[1] if dies_after else 0
    try:
        async with Runs.open(url, spec) as runs:
            known = {summary.thread for summary in await runs.threads()}
            if thread in known:
                mouth.send(("before", (await runs.status(thread)).status))
            running = runs.resume(thread) if thread in known else runs.start("Why?", thread=thread)
            async for event in running:
                mouth.send(("event", event))
                if dies_after and dies_after[0] in (event["type"], event.get("role")):
                    # an event of the aggregator counts when it is the answer
                    left -= event["type"] == "call.finished" or dies_after[0] == event["type"]
                    if not left:
                        os.kill(os.getpid(), signal.SIGKILL)
            run = running.result
            assert run is not None
            mouth.send(
                (
                    "run",
                    {
                        name: getattr(run, name)
                        for name in ("status", "saved", "answer", "proposals", "calls")
                    },
                )
            )
    except MoAError as error:
        mouth.send(("error", f"{type(error).__name__}: {error.message}"))
