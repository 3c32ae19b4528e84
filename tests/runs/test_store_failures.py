"""A store that fails in mid-run: the run goes on or ends with a typed error, and hands its answer over."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from moa_graph.errors import QuorumNotMet, StoreError
from moa_graph.resources import Registered
from moa_graph.runs import guard
from moa_graph.runs.running import Running
from moa_graph.runs.sqlite import _QuickSaver
from moa_graph.runs.stores import Store, open_store
from moa_graph.runs.threads import Runs
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model

Fails = Callable[[str, Any], bool]
IDS = ["draft/a", "draft/b", "refine/a", "refine/b"]


class Mixture:
    """Two layers of two models and an aggregator, which count their calls."""

    def __init__(self, parts: dict[str, Any] | None = None, **models: Model) -> None:
        names = ("draft-a", "draft-b", "refine-a", "refine-b", "z")
        self.models = {name: models.get(name.replace("-", "_"), Model(f"By {name}.")) for name in names}
        m = self.models
        layers = {
            "draft": {"a": m["draft-a"], "b": m["draft-b"]},
            "refine": {"a": m["refine-a"], "b": m["refine-b"]},
        }
        parts = dict(parts or {})
        layer = {"refine": {"quorum": parts.pop("quorum", 1)}}
        self.spec = mixture(layers, {"z": m["z"]}, layer=layer, **parts).spec

    def runs(self, store: Store) -> Runs:
        return Runs(store, self.spec, Registered(self.models))

    @property
    def calls(self) -> dict[str, int]:
        return {name: len(model.calls) for name, model in self.models.items()}


async def follow(running: Running, events: list[Any]) -> None:
    """Take down what a run reports, also when it fails."""
    async for event in running:
        events.append(event)  # noqa: PERF401 -- what came before an error is wanted as well


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moa_graph.runs.sqlite._BUSY", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moa.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{path}") as opened:
        yield opened


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, store: Store) -> Callable[[Fails], None]:
    """Give a function that makes the disk full for "writes", "checkpoint" or "record", as a test chooses."""

    def full() -> sqlite3.OperationalError:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        return error

    def install(fails: Fails) -> None:
        aput_writes, aput, write = _QuickSaver.aput_writes, _QuickSaver.aput, store.write

        async def refusing_writes(self: Any, config: Any, writes: Any, *args: Any) -> None:
            if fails("writes", writes):
                raise full()
            await aput_writes(self, config, writes, *args)

        async def refusing_checkpoint(
            self: Any, config: Any, checkpoint: Any, metadata: Any, *args: Any
        ) -> Any:
            if fails("checkpoint", metadata):
                raise full()
            return await aput(self, config, checkpoint, metadata, *args)

        async def refusing_record(key: str, record: dict[str, Any]) -> None:
            if fails("record", record):
                raise StoreError("database or disk is full")
            await write(key, record)

        monkeypatch.setattr(_QuickSaver, "aput_writes", refusing_writes)
        monkeypatch.setattr(_QuickSaver, "aput", refusing_checkpoint)
        monkeypatch.setattr(store, "write", refusing_record)

    return install


def until(mended: asyncio.Event, chosen: Fails) -> Fails:
    return lambda kind, what: not mended.is_set() and chosen(kind, what)


def of_call(text: str) -> Fails:
    """Choose the commit of a call's result."""
    return lambda kind, what: kind == "writes" and what[0][0] == "__return__" and text in repr(what)


async def test_a_full_disk_at_a_proposals_commit_ends_the_run_with_all_that_was_made(
    store: Store, fail: Callable[[Fails], None]
) -> None:
    mended, made = asyncio.Event(), Mixture()
    fail(until(mended, of_call("By refine-a.")))
    runs = made.runs(store)
    events: list[Any] = []
    with pytest.raises(StoreError, match="disk is full") as raised:
        await follow(runs.start("Why?", thread="t"), events)
    texts = {record["id"]: record["text"] for record in raised.value.proposals}
    assert (
        texts.items()
        >= {"draft/a": "By draft-a.", "draft/b": "By draft-b.", "refine/a": "By refine-a."}.items()
    )
    assert raised.value.calls >= 3
    told = next(e["proposal"] for e in events if e["type"] == "call.finished" and e["id"] == "refine/a")
    assert "disk is full" in told["warnings"][0]
    assert made.calls["z"] == 0
    mended.set()
    run = await runs.resume("t")
    assert (run.status, run.saved, [p["id"] for p in run.proposals]) == ("answered", True, IDS)
    assert made.calls.items() >= {"draft-a": 1, "draft-b": 1, "z": 1}.items()
    assert max(made.calls.values()) <= 2


@pytest.mark.parametrize(
    ("place", "chosen", "again"),
    [
        ("answer's commit", of_call("By z."), 1),
        (
            "last step",
            lambda kind, what: kind == "writes" and what[-1][0] == "messages" and "By z." in repr(what),
            0,
        ),
        ("last checkpoint", lambda kind, what: kind == "checkpoint" and what["step"] == 3, 0),
        ("record", lambda kind, what: kind == "record" and what["turns"][-1]["status"] == "answered", 0),
    ],
)
async def test_an_answer_that_was_computed_is_handed_over_when_the_disk_is_full_at_its(
    place: str, chosen: Fails, again: int, store: Store, fail: Callable[[Fails], None]
) -> None:
    mended, made = asyncio.Event(), Mixture()
    fail(until(mended, chosen))
    runs = made.runs(store)
    run = await runs.start("Why?", thread="t")
    assert (run.status, run.answer, run.saved) == ("answered", "By z.", False), place
    assert (run.answered_by, run.calls, [p["id"] for p in run.proposals]) == ("z", 5, IDS)
    assert "not saved" in run.warnings[0]
    assert run.message is not None
    assert (run.message.text, run.message.response_metadata["moa"]["calls"]) == ("By z.", 5)
    mended.set()
    resumed = await runs.resume("t")
    assert (resumed.status, resumed.answer, resumed.saved) == ("answered", "By z.", True)
    assert made.calls == {"draft-a": 1, "draft-b": 1, "refine-a": 1, "refine-b": 1, "z": made.calls["z"]}
    assert made.calls["z"] <= 1 + again


async def test_a_failure_that_cannot_be_noted_does_not_end_the_run(
    store: Store, fail: Callable[[Fails], None]
) -> None:
    fail(
        lambda kind, what: (
            kind == "record"
            and what["turns"][-1]["status"] == "running"
            and bool(what["turns"][-1]["failures"])
        )
    )
    made = Mixture(draft_a=Model(ValueError("down")))
    run = await made.runs(store).start("Why?", thread="t")
    assert (run.status, run.saved, run.proposals[0]["status"]) == ("answered", True, "failed")


async def test_a_run_that_failed_says_why_even_if_that_cannot_be_noted(
    store: Store, fail: Callable[[Fails], None]
) -> None:
    mended = asyncio.Event()
    fail(until(mended, lambda kind, what: kind == "record" and bool(what["turns"][-1]["failures"])))
    made = Mixture(draft_a=Model(ValueError("down"), "A"), draft_b=Model(ValueError("down"), "B"))
    runs = made.runs(store)
    with pytest.raises(QuorumNotMet):
        await runs.start("Why?", thread="t")
    mended.set()
    assert (await runs.status("t")).status == "interrupted"
    assert (await runs.resume("t")).status == "answered"


async def test_a_disk_that_is_really_full_costs_at_most_what_was_not_committed(store: Store) -> None:
    made = Mixture(refine_a=Model("long " * 40_000), refine_b=Model("long " * 40_000))
    runs = made.runs(store)
    events: list[Any] = []
    connection = store.saver().conn  # type: ignore[attr-defined]
    await connection.execute("PRAGMA max_page_count=60")
    with pytest.raises(StoreError, match="full") as raised:
        await follow(runs.start("Why?", thread="t"), events)
    finished = [event for event in events if event["type"] == "call.finished"]
    told = [event["id"] for event in finished if not event["proposal"]["warnings"]]
    assert told[:2] in (["draft/a", "draft/b"], ["draft/b", "draft/a"])
    assert {"draft/a", "draft/b"} < {record["id"] for record in raised.value.proposals}
    await connection.execute("PRAGMA max_page_count=100000")
    run = await runs.resume("t")
    assert (run.status, run.saved) == ("answered", True)
    assert made.calls.items() >= {"draft-a": 1, "draft-b": 1, "z": 1}.items()
    assert all(made.calls[id_.replace("/", "-")] == 1 for id_ in told)


async def test_a_database_that_another_program_locks_for_a_moment_only_delays_the_run(
    store: Store, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        def lock(_: Any) -> str:
            other.execute("BEGIN IMMEDIATE")
            asyncio.get_running_loop().call_later(0.3, other.execute, "ROLLBACK")
            return "By draft-a."

        made = Mixture(draft_a=Model(lock))
        running = made.runs(store).start("Why?", thread="t")
        told = [event["type"] == "call.finished" and other.in_transaction async for event in running]
    assert not any(told)  # nothing is reported finished while it cannot be committed
    assert running.result is not None
    assert (running.result.status, running.result.saved) == ("answered", True)
    assert set(made.calls.values()) == {1}


async def test_a_run_gives_up_a_database_that_stays_locked_and_goes_on_later(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.2)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:

        def lock(_: Any) -> str:
            if not other.in_transaction:
                other.execute("BEGIN IMMEDIATE")
            return "By refine-a."

        made = Mixture(refine_a=Model(lock, "By refine-a."))
        runs = made.runs(store)
        with pytest.raises(StoreError, match="locked") as raised:
            await runs.start("Why?", thread="t")
        other.execute("ROLLBACK")
    assert {"draft/a", "draft/b", "refine/a"} <= {record["id"] for record in raised.value.proposals}
    assert (await runs.status("t")).status in ("interrupted", "failed")
    run = await runs.resume("t")
    assert (run.status, run.saved) == ("answered", True)
    assert made.calls["draft-a"] == made.calls["draft-b"] == 1


async def test_a_cancelled_run_still_commits_what_it_was_writing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, aput_writes = asyncio.Event(), asyncio.Event(), _QuickSaver.aput_writes

    async def slow(self: Any, config: Any, writes: Any, *args: Any) -> None:
        if of_call("By z.")("writes", writes):
            begun.set()
            await go_on.wait()
        await aput_writes(self, config, writes, *args)

    monkeypatch.setattr(_QuickSaver, "aput_writes", slow)
    made = Mixture()
    runs = made.runs(store)
    events: list[Any] = []
    work = asyncio.create_task(follow(runs.start("Why?", thread="t"), events))
    await begun.wait()
    work.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await work
    finished = [event["id"] for event in events if event["type"] == "call.finished"]
    assert sorted(finished) == IDS
    run = await runs.resume("t")
    assert (run.status, run.answer) == ("answered", "By z.")
    assert set(made.calls.values()) == {1}
