"""A thread as it stands: rows that were changed by somebody are not believed, and nothing is called."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from moa_graph.errors import QuorumNotMet, StoreError, ThreadError
from moa_graph.runs.stores import Store, open_store
from tests.runs.cast import THREE, TWO, Cast

Row = tuple[str, Any]


async def interrupted(store: Store) -> Cast:
    """Leave a thread in the middle of its second layer, a fork of it, and an answered one."""
    cast = Cast(TWO, layer={"refine": {"quorum": 2}})
    cast.fail("d")
    runs = cast.runs(store)
    with pytest.raises(QuorumNotMet):
        await runs.start("Why?", thread="t")
    await runs.fork("t", to="fork")
    cast.mend()
    await runs.start("Why?", thread="done")
    return cast


def rows_of(path: Path, table: str, thread: str) -> list[int]:
    with closing(sqlite3.connect(path)) as file:
        found = file.execute(f"SELECT rowid FROM {table} WHERE thread_id = ? ORDER BY rowid", (thread,))
        return [row for (row,) in found]


def overwrite(path: Path, table: str, row: int, column: str, value: bytes) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))


def column(path: Path, table: str, row: int, name: str) -> bytes:
    with closing(sqlite3.connect(path)) as file:
        found: bytes = file.execute(f"SELECT {name} FROM {table} WHERE rowid = ?", (row,)).fetchone()[0]
        return found


STRANGE: list[Any] = [
    None,
    "text",
    7,
    [],
    ["text"],
    {},
    {"draft/a": "text"},
    {"draft/a": {"id": "draft/a"}},
    {"type": "human", "content": "Why?"},
    {"id": "draft/a", "layer": "draft", "proposer": "a", "status": "ok", "text": 7},
    {"message": 1, "proposals": {"draft/a": 1}},
    {"proposals": 1},
]


async def believe_or_refuse(path: Path, cast: Cast, thread: str) -> None:
    """Look at a thread in each way and go on with it: StoreError is right, another error is not."""
    before = cast.sent
    async with open_store(f"sqlite:///{path}") as store:
        runs = cast.runs(store)
        for look in (
            lambda: runs.status(thread),
            lambda: runs.history(thread),
            lambda: runs.show(thread),
            lambda: runs.fork(thread),
            lambda: runs.resume(thread),
        ):
            try:
                await look()
            except (StoreError, ThreadError):  # the second where the marks of moa_graph's threads are gone
                assert cast.since(before) == {}
        await runs.threads()
        await runs.delete(thread)


@pytest.mark.parametrize("thread", ["t", "fork", "done"])
async def test_rows_of_another_shape_are_refused_or_harmless(tmp_path: Path, thread: str) -> None:
    path = tmp_path / "moa.db"
    async with open_store(f"sqlite:///{path}") as store:
        await interrupted(store)
    original = path.read_bytes()
    for number, row in enumerate(rows_of(path, "writes", thread)):
        for value in STRANGE[number % 6 :: 6]:
            path.write_bytes(original)
            overwrite(path, "writes", row, "value", ormsgpack.packb(value))
            cast = Cast(TWO, layer={"refine": {"quorum": 2}})
            await believe_or_refuse(path, cast, thread)


CHANGES: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("another thread's", lambda record: record.update(thread="other")),
    ("no turns", lambda record: record.update(turns=[])),
    ("a strange status", lambda record: record["turns"][0].update(status="paid")),
    ("something more", lambda record: record.update(more=1)),
    ("a later format", lambda record: record.update(format=2)),
    ("no text", lambda record: record["turns"][0].update(question=7)),
    ("another spec", lambda record: record.update(spec=record["spec"].replace("cast", "caste"))),
    ("a broken spec", lambda record: record.update(spec="moa: [")),
    ("a strange failure", lambda record: record["turns"][0].update(failures=[{"id": 1}])),
]


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in CHANGES])
async def test_a_changed_record_is_refused_and_nothing_is_called(
    store: Store, change: Callable[[dict[str, Any]], Any]
) -> None:
    cast = await interrupted(store)
    record = await store.read("t")
    assert record is not None
    change(record)
    await store.write("t", record)
    before = cast.sent
    runs = cast.runs(store)
    for attempt in (
        lambda: runs.resume("t"),
        lambda: runs.start("Why?", thread="t"),
        lambda: runs.status("t"),
        lambda: runs.history("t"),
        lambda: runs.fork("t"),
        lambda: runs.edit("t", "draft/a", text="x"),
    ):
        with pytest.raises(StoreError):
            await attempt()
    assert cast.since(before) == {}
    assert {summary.thread for summary in await runs.threads()} == {"t", "fork", "done"}
    await runs.delete("t")
    assert await store.keys() == ["done", "fork"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    path, kept = tmp_path / "moa.db", tmp_path / "kept.db"
    if not kept.exists():
        async with open_store(f"sqlite:///{kept}") as store:
            await interrupted(store)
    path.write_bytes(kept.read_bytes())
    thread = data.draw(st.sampled_from(["t", "fork", "done"]))
    table, name = data.draw(
        st.sampled_from([("writes", "value"), ("checkpoints", "checkpoint"), ("checkpoints", "metadata")])
    )
    rows = [row for row in rows_of(path, table, thread) if column(path, table, row, name)]
    assume(rows)
    row = data.draw(st.sampled_from(rows))
    value = bytearray(column(path, table, row, name))
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del value[place:]
    overwrite(path, table, row, name, bytes(value))
    await believe_or_refuse(path, Cast(TWO, layer={"refine": {"quorum": 2}}), thread)


async def test_a_proposal_that_no_run_wrote_is_refused(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", breakpoints=["aggregator"])
    graph = runs._mixture(await runs.record("t")).graph(store)
    config: Any = {
        "configurable": {"thread_id": "t"},
        "metadata": {"moa_turn": (await runs.status("t")).turn},
    }
    await graph.aupdate_state(config, {"proposals": {"draft/a": {"text": 7}}}, as_node="draft")
    before = cast.sent
    with pytest.raises(StoreError, match=r"draft/a\.text is not what a run writes"):
        await runs.resume("t")
    assert cast.since(before) == {}
