"""Runs of threads in processes that can be killed at any point, and the check of what that cost."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any

from moa_graph.errors import MoAError
from moa_graph.runs.threads import Runs
from moa_graph.spec.loading import dump_spec, parse_spec
from moa_graph.spec.schema import MoASpec
from moa_graph.state import Proposal, is_proposal
from tests.fakes.process import ServerProcess
from tests.fakes.specs import moa_spec

__all__ = ["CALLS", "AidedRound", "Round", "Worker", "check_aided", "contend", "seeded", "work"]

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

    `finished` are the records that were reported finished, `answer` is the answer's; `failed` counts requests
    of calls that were reported failed; `run` is what came out, `error` the name of the error's class. With
    `dies_after` the process kills itself right after that many events of a kind ("call.finished",
    "aggregator" for the answer).
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
        self.failed = 0
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
            elif value["type"] == "call.failed":
                self.failed += value["proposal"]["attempts"]
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


class AidedRound(Round):
    """Kill the processes of a thread in which models are asked about proposals, too.

    `shape` is "judged": two layers with all that can be asked about proposals, and windows; or "agreed":
    proposers that are asked two by two until three agree, and one who chooses, whose first request fails.
    """

    def __init__(self, server: ServerProcess, url: str, name: str, shape: str) -> None:
        self.server, self.url, self.name, self.shape = server, url, name, shape
        self.told, self.kills, self.failed = {}, 0, 0
        says, layers, rest = _SHAPES[shape]
        self.slots = {slot: f"after-0.02-{text}@{name}-{slot}" for slot, text in says.items()}
        kept = {"base_url": server.base_url, "api_key_env": "none", "temperature": None}
        models = {slot: {"model": f"openai:{model}", **kept} for slot, model in self.slots.items()}
        document = {"moa": 1, "name": "aided", "models": models, "layers": layers, **rest}
        self.spec = MoASpec.model_validate(document)

    def note(self, worker: Worker) -> None:
        """Check that nothing that was told before was told otherwise now, or requested again."""
        before = Counter(map(self._slot_of, self.told))
        told = worker.finished | ({worker.answer["id"]: worker.answer} if worker.answer else {})
        for id_, record in told.items():
            assert self.told.setdefault(id_, record) == record, f"{id_} changed"
        asked = self.counts()
        for slot, (most, _) in _CALLS[self.shape].items():
            new = asked[slot] - self.asked.get(slot, 0)
            assert new <= most - before[slot], f"{slot}: {new} requests, {before[slot]} of {most} were done"
        self.asked, self.failed = asked, self.failed + worker.failed
        self.kills += worker.run is None

    def finish(self, *, check: bool = True) -> Worker:
        """Let a new process end the thread; check that all is there, and that nothing was paid twice."""
        with work(self.url, self.spec, self.name) as worker:
            worker.end()
        self.note(worker)
        assert worker.error is None, worker.error
        run = worker.run
        assert run is not None, "the process ended without a word"
        assert (run["status"], run["saved"]) == ("answered", True)
        made = {record["id"]: dict(record) for record in [*run["proposals"], *run["aides"]]}
        for record in made.values():
            record.pop("left_out", None)  # which is said of it later
        for id_, record in self.told.items():
            assert made.get(id_, record) == record, f"{id_} is not what was told"
            assert id_ in made or (record["layer"] == "aggregator" and is_proposal(record)), f"{id_} is lost"
        done = Counter(map(self._slot_of, [*self.told]))
        for slot, (_, least) in _CALLS[self.shape].items():
            assert done[slot] >= least, f"{slot}: {done[slot]} of {least}"
        paid = sum(record["attempts"] for record in self.told.values())
        assert paid + self.failed <= run["calls"] <= sum(self.counts().values())
        return worker

    def counts(self) -> dict[str, int]:
        """Return how often each slot was requested so far."""
        models = self.server.stats()["models"]
        return {slot: models.get(model, {"started": 0})["started"] for slot, model in self.slots.items()}

    asked: Mapping[str, int] = MappingProxyType({})
    """The requests up to the last note."""

    def _slot_of(self, id_: str) -> str:
        requested = self.told[id_]["requested_model"].removeprefix("openai:")
        return next((slot for slot, model in self.slots.items() if model == requested), "")


def check_aided(thread: AidedRound) -> None:
    """Let the thread end, and check that it ends as one that nobody killed."""
    run = thread.finish().run
    assert run is not None
    if thread.shape == "judged":
        # A digest of the whole prompt: of what was selected, summed up, compared, and folded.
        if thread.server.port not in _answers:
            undisturbed = AidedRound(thread.server, thread.url, "undisturbed", "judged").finish().run
            _answers[thread.server.port] = undisturbed["answer"] if undisturbed else ""
        assert run["answer"] == _answers[thread.server.port]
        kept = [record["id"] for record in run["proposals"] if not record.get("left_out")]
        assert kept == ["draft/p0", "draft/p1", "draft/p3", "deep/d0", "deep/d1"]
        assert run["stopped"] is None
    else:
        assert run["answer"] == "I get 12", run["answer"]
        assert run["stopped"] == {"layer": "draft", "reason": "3 proposals agree on 12"}, run["stopped"]


_answers: dict[int, str] = {}
"""What a round of the shape "judged" gives that nobody kills, by the server's port."""
_PROPOSERS = [{"model": f"p{number}"} for number in range(4)]
_SHAPES: dict[str, tuple[dict[str, str], list[dict[str, Any]], dict[str, Any]]] = {
    "judged": (
        {
            **{f"p{number}": f"says-I_get_1{number}" for number in range(4)},
            **{f"d{number}": f"says-Deeper,_1{number}" for number in range(3)},
            "ranker": "says-2_>_1_>_4_>_3",
            "judge": "says-CONTINUE",
            "sums-up": "says-In_short",
            "pairs": "says-1",
            "compares": "says-They_agree",
            "last": "echo-hash",
        },
        [
            {
                "name": "draft",
                "concurrency": 2,
                "proposers": _PROPOSERS,
                "select": {"by": "rank", "model": "ranker", "keep": 3},
            },
            {
                "name": "deep",
                "proposers": [{"model": f"d{number}"} for number in range(3)],
                "references": {"payload": "summary", "summarizer": "sums-up"},
                "select": {"by": "pairwise", "model": "pairs", "keep": 2},
                "residual": {"model": "compares"},
            },
        ],
        {
            "stop": {"by": "judge", "model": "judge"},
            "aggregator": {"model": "last", "window": 2, "references": {"from": "all"}},
        },
    ),
    "agreed": (
        {
            **{f"p{number}": f"says-I_get_{text}" for number, text in enumerate(("12", "13", "12", "12"))},
            "d": "says-Needless",
            "fails": "400-then-says-1",
            "chooses": "says-1",
        },
        [
            {"name": "draft", "concurrency": 2, "proposers": [*_PROPOSERS, {"model": "p3", "id": "late"}]},
            {"name": "deep", "proposers": ["d"]},
        ],
        {
            "stop": {"by": "agreement", "agree": 3, "extract": "number"},
            "aggregator": {"model": "fails", "fallbacks": ["chooses"], "reduce": "pick"},
        },
    ),
}
_CALLS: dict[str, dict[str, tuple[int, int]]] = {
    "judged": {
        **{f"p{number}": (1, 1) for number in range(4)},
        **{f"d{number}": (1, 1) for number in range(3)},
        "ranker": (1, 1),
        "judge": (1, 1),
        "sums-up": (3, 3),
        "pairs": (6, 6),
        "compares": (1, 1),
        "last": (4, 4),
    },
    "agreed": {
        "p0": (1, 1),
        "p1": (1, 0),
        "p2": (1, 1),
        "p3": (2, 1),
        "d": (0, 0),
        "fails": (1, 0),
        "chooses": (1, 0),
    },
}
"""How often each slot has to be asked at most, and how often it has to answer."""


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
                        for name in ("status", "saved", "answer", "proposals", "aides", "stopped", "calls")
                    },
                )
            )
    except MoAError as error:
        mouth.send(("error", f"{type(error).__name__}: {error.message}"))
