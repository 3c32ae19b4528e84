"""Background turns as tasks of the one server process: what a process before left is taken up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from moa_graph.errors import StoreError
from moa_graph.runs.records import key_of, require_record
from moa_graph.server.background import open_background
from moa_graph.server.background.local import LocalBackground
from tests.server.backstage import THREAD, Backstage, at_last, note, standing, submit


@pytest.fixture
def stage(tmp_path: Path) -> Backstage:
    return Backstage(f"sqlite:///{tmp_path}/moa.db")


async def test_turns_are_run_in_memory_too() -> None:
    stage = Backstage("memory:")
    async with stage.server() as served:
        await submit(served)
        assert (await at_last(served, "answered")).answer == "z1"


async def test_what_was_noted_and_never_begun_is_taken_up(stage: Backstage) -> None:
    async with stage.idle() as served:
        await note(served)
        await note(served, "local/resp/b")
    async with stage.server() as served:
        await at_last(served, "answered")
        await at_last(served, "answered", "local/resp/b")


async def test_a_turn_whose_process_was_killed_is_taken_up(stage: Backstage) -> None:
    async with stage.idle() as served:
        await note(served)
        record = await require_record(served.performer.store, THREAD)
        record.turn.status = "running"
        await record.save(served.performer.store)
    async with stage.server() as served:
        await at_last(served, "answered")


async def test_only_background_turns_of_served_specs_that_nobody_runs_are_taken_up(stage: Backstage) -> None:
    other = stage.cast.changed(lambda document: document.update(name="other"))
    async with stage.server(other) as served:
        await served.background.drain()
        await note(served, "local/resp/other")
    stage.cast.hold("a")
    async with stage.idle() as before:
        await note(before, "local/resp/foreground", background=False)
        await note(before, "local/resp/run")
        elsewhere = asyncio.ensure_future(_resumed(before, "local/resp/run"))
        await stage.cast.asked("a")
        async with stage.server() as served:
            background = served.background
            assert isinstance(background, LocalBackground)
            assert background._search is not None
            await background._search
            assert not background._tasks
            stage.cast.release()
            await elsewhere
            assert (await standing(served, "local/resp/foreground")).reason == "queued"


async def test_a_thread_that_cannot_be_read_keeps_no_other_from_being_taken_up(
    stage: Backstage, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage.idle() as served:
        await note(served, "local/resp/b")
        await served.performer.store.write(key_of("local/resp/a"), {"turns": "none"})
    async with stage.server() as served:
        await at_last(served, "answered", "local/resp/b")
    assert "thread local/resp/a is not looked at" in caplog.text


async def test_a_store_that_cannot_be_read_keeps_no_server_from_starting(
    stage: Backstage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.idle() as served:
        kind = type(served.performer.store)

    async def broken(_: object) -> list[str]:
        raise StoreError("no disk")

    monkeypatch.setattr(kind, "keys", broken)
    async with stage.server() as served:
        await submit(served)
        await at_last(served, "answered")
    assert "are not taken up: no disk" in caplog.text


async def test_what_is_submitted_while_the_server_ends_waits_for_the_next(stage: Backstage) -> None:
    async with stage.server() as served:
        await served.background.drain()
        await submit(served)
        assert (await standing(served)).reason == "queued"
    async with stage.server() as served:
        await at_last(served, "answered")


async def test_one_that_never_began_ends_at_once() -> None:
    async with open_background("memory:") as background:
        assert isinstance(background, LocalBackground)


async def _resumed(served: object, thread: str) -> object:
    return await served.performer.runs("cast").resume(thread)  # type: ignore[attr-defined]
