"""Background turns as jobs in a real PostgreSQL that several processes share."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job as QueuedJob
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager
from psycopg import OperationalError
from psycopg.errors import UndefinedTable

from moa_graph.errors import ModelNotReady, StoreError, ThreadBusy
from moa_graph.runs.postgres.server import Server
from moa_graph.runs.stores import Store
from moa_graph.server.background import open_background, queued
from moa_graph.server.background.jobs import Job
from moa_graph.server.background.queued import QueuedBackground
from moa_graph.server.background.tables import SCHEMA, set_up
from tests.fakes.postgres import PASSWORD, PostgresServer
from tests.server.backstage import THREAD, TURN, Backstage, at_last, made, standing, submit

pytestmark = pytest.mark.postgres


@pytest.fixture
def stage(database: str) -> Backstage:
    return Backstage(database)


async def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    async with await Server(url).connect() as connection:
        return [tuple(row.values()) for row in await (await connection.execute(query)).fetchall()]


@asynccontextmanager
async def gone(stage: Backstage) -> AsyncIterator[None]:
    """Leave the queue as after a worker that was killed with a job: no sign of life from it any more."""
    async with await Server(stage.db).connect() as connection:
        await connection.execute(f"SET search_path TO {SCHEMA}")
        await connection.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES ('2001-01-01')")
        await connection.execute(
            "UPDATE procrastinate_jobs SET status = 'doing',"
            " worker_id = (SELECT min(id) FROM procrastinate_workers WHERE last_heartbeat < '2002-01-01')"
        )
        yield


async def test_a_server_that_runs_none_itself_leaves_them_to_workers(stage: Backstage) -> None:
    async with stage.server(background=0) as served:
        await submit(served)
        async with stage.server() as worker:
            await at_last(served, "answered")
            await worker.background.drain()
    assert await rows(stage.db, f"SELECT * FROM {SCHEMA}.procrastinate_jobs") == []


async def test_a_worker_leaves_alone_what_other_specs_are_asked_for(stage: Backstage) -> None:
    other = stage.cast.changed(lambda document: document.update(name="other"))
    async with stage.server(background=0) as served, stage.server(other):
        await submit(served)
        async with stage.server(other) as elsewhere:
            await submit(elsewhere, "local/resp/b")
            await at_last(elsewhere, "answered", "local/resp/b")
        assert (await standing(served)).reason == "queued"


async def test_a_turn_is_cancelled_in_whatever_process_it_runs(stage: Backstage) -> None:
    stage.cast.hold("a")
    async with stage.server(background=0) as served, stage.server():
        await submit(served)
        await stage.cast.asked("a")
        assert await served.background.cancel(THREAD, TURN)
        assert (await standing(served)).reason == "cancelled"
        assert stage.cast.models["a"].cancelled == 1


async def test_a_cancelled_turn_is_noted_by_its_worker_when_who_cancels_has_no_time(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    noting = queued.cancelled

    async def only_the_worker(store: Store, job: Job) -> bool:
        if not job.model:  # which the one who cancels does not know
            raise ThreadBusy("no time")
        return await noting(store, job)

    monkeypatch.setattr(queued, "cancelled", only_the_worker)
    stage.cast.hold("a")
    async with stage.server(background=0) as served, stage.server():
        await submit(served)
        await stage.cast.asked("a")
        assert await served.background.cancel(THREAD, TURN)
        await at_last(served, lambda run: "cancelled" in run.notes)


async def test_what_a_killed_worker_had_begun_another_one_ends(stage: Backstage) -> None:
    async with stage.server(background=0) as served:
        await submit(served)
        async with gone(stage), stage.server():
            await at_last(served, "answered")


async def test_a_turn_that_is_cancelled_after_its_worker_was_killed_leaves_nothing_behind(
    stage: Backstage,
) -> None:
    async with stage.server(background=0) as served:
        await submit(served)
        async with gone(stage):
            assert await served.background.cancel(THREAD, TURN)
            await served.background._put_back()  # type: ignore[attr-defined]
            assert (await standing(served)).reason == "cancelled"
        async with await Server(stage.db).connect() as connection:
            await connection.execute(f"UPDATE {SCHEMA}.procrastinate_events SET at = '2001-01-01'")
        async with stage.server() as worker:
            await submit(worker, "local/resp/b")
            await at_last(worker, "answered", "local/resp/b")
            await worker.background.drain()
    assert await rows(stage.db, f"SELECT * FROM {SCHEMA}.procrastinate_jobs") == []
    assert dict(stage.cast.sent) == dict.fromkeys("abcdz", 1)


async def test_a_lost_job_whose_turn_is_queued_again_is_given_up(stage: Backstage) -> None:
    async with stage.server(background=0) as served:
        await submit(served)
        async with gone(stage):
            background = served.background
            assert isinstance(background, QueuedBackground)
            job = QueuedJob(
                queue="other",
                lock=None,
                queueing_lock=queued._name(THREAD, TURN),
                task_name="other",
            )
            await background._app.job_manager.defer_job_async(job)
            await background._put_back()
            left = await rows(stage.db, f"SELECT task_name FROM {SCHEMA}.procrastinate_jobs")
    assert left == [("other",)]


async def test_two_that_look_for_lost_jobs_at_once_put_them_back_once(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, go_on = asyncio.Event(), asyncio.Event()
    found, stalled = [], JobManager.get_stalled_jobs

    async def slow(*given: Any, **options: Any) -> Any:
        looking.set()
        await go_on.wait()
        found.append(await stalled(*given, **options))
        return found[-1]

    async with stage.server(background=0) as one, stage.server(background=0) as two:
        await submit(one)
        async with gone(stage):
            monkeypatch.setattr(JobManager, "get_stalled_jobs", slow)
            first = asyncio.create_task(one.background._put_back())  # type: ignore[attr-defined]
            await looking.wait()
            await two.background._put_back()  # type: ignore[attr-defined]
            assert not found
            go_on.set()
            await first
    assert [len(jobs) for jobs in found] == [1]


async def test_what_a_worker_puts_back_at_its_end_another_goes_on_with(stage: Backstage) -> None:
    stage.cast.hold("d")
    async with stage.server(background=0) as served:
        async with stage.server():
            await submit(served)
            await stage.cast.asked("d")
            await made(served, "refine/c")
        assert (await standing(served)).reason == "queued"
        stage.cast.release()
        async with stage.server():
            await at_last(served, "answered")
    assert dict(stage.cast.sent) == dict.fromkeys("abcdz", 1)


@pytest.mark.parametrize("method", ["fetch_job", "finish_job"])
async def test_a_job_is_not_lost_with_the_connection_that_it_was_taken_or_ended_by(
    method: str, stage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued, "SWEEP", 0.05)
    done, over, finish = [], asyncio.Event(), JobManager.finish_job

    async def cut(*given: Any, **options: Any) -> Any:
        result = await ask(*given, **options) if method == "fetch_job" or done else None
        if (result is not None or method == "finish_job") and not done:
            done.append(result)
            raise ConnectorException from OperationalError("the connection is lost")
        return result

    async def finished(*given: Any, **options: Any) -> None:
        await finish(*given, **options)
        over.set()

    monkeypatch.setattr(JobManager, "finish_job", finished)
    ask = getattr(JobManager, method)
    monkeypatch.setattr(JobManager, method, cut)
    async with stage.server() as served:
        await submit(served)
        await asyncio.wait_for(over.wait(), 20)
        assert (await standing(served)).status == "answered"
        assert await rows(stage.db, f"SELECT * FROM {SCHEMA}.procrastinate_jobs") == []
    assert len(done) == 1
    assert dict(stage.cast.sent) == dict.fromkeys("abcdz", 1)


async def test_a_worker_outlives_a_restart_of_the_database(
    stage: Backstage, postgres: PostgresServer
) -> None:
    async with stage.server(drain=1.0) as served:
        await submit(served)
        await at_last(served, "answered")
        await asyncio.to_thread(postgres.restart, "immediate")
        await submit(served, "local/resp/b")
        await at_last(served, "answered", "local/resp/b", patience=30.0)


async def test_a_sweep_that_fails_is_followed_by_the_next(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued, "SWEEP", 0.01)
    tried, stalled = [], JobManager.get_stalled_jobs

    async def away(*given: Any, **options: Any) -> Any:
        tried.append(1)
        if len(tried) == 1:
            raise ConnectorException
        return await stalled(*given, **options)

    monkeypatch.setattr(JobManager, "get_stalled_jobs", away)
    async with stage.server(background=0) as served:
        await submit(served)
        async with gone(stage), stage.server():
            await at_last(served, "answered")
    assert len(tried) > 1


async def test_a_short_trouble_of_the_database_keeps_no_turn_from_being_queued(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, listed = [], JobManager.list_jobs_async

    async def away(*given: Any, **options: Any) -> Any:
        tried.extend([1] if "queueing_lock" in options else [])  # the worker looks for its own, too
        if len(tried) == 1:
            raise ConnectorException from OperationalError("the connection is lost")
        return await listed(*given, **options)

    monkeypatch.setattr(JobManager, "list_jobs_async", away)
    async with stage.server() as served:
        await submit(served)
        await at_last(served, "answered")
    assert len(tried) == 2


async def test_a_trouble_that_does_not_pass_is_told(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise ConnectorException from UndefinedTable("no such table")

    async with stage.server() as served:
        monkeypatch.setattr(JobManager, "list_jobs_async", broken)
        with pytest.raises(StoreError, match="no such table"):
            await submit(served)


async def test_a_worker_that_breaks_begins_anew(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried, register = [], JobManager.register_worker

    async def broken(manager: JobManager) -> int:
        tried.append(1)
        if len(tried) == 1:
            raise ZeroDivisionError
        return await register(manager)

    monkeypatch.setattr(JobManager, "register_worker", broken)
    async with stage.server() as served:
        await submit(served)
        await at_last(served, "answered")
    assert "background turns wait" in caplog.text


async def test_a_turn_that_waits_once_more_already_is_not_put_back(stage: Backstage) -> None:
    async with stage.idle() as served:
        await submit(served)
        background = served.background
        assert isinstance(background, QueuedBackground)
        assert [job.status for job in await background._jobs(THREAD, TURN)] == ["todo"]
        await background.submit("cast", THREAD, TURN, "local")
        assert len([*await background._jobs(THREAD, TURN)]) == 1


async def test_processes_that_start_at_once_make_the_tables_once(database: str) -> None:
    await asyncio.gather(*(set_up(Server(database)) for _ in range(6)))
    async with open_background(database), open_background(database):
        pass


async def test_tables_of_an_older_package_are_changed(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_up(Server(database))
    (tmp_path / "99.00.00_01_pre_add.sql").write_text("CREATE TABLE added (id int); SELECT '100 %';")
    (tmp_path / "00.01.00_01_old.sql").write_text("SELECT 1 / 0;")
    monkeypatch.setattr(SchemaManager, "get_migrations_path", lambda: str(tmp_path))
    await asyncio.gather(*(set_up(Server(database)) for _ in range(3)))
    assert await rows(database, f"SELECT count(*) FROM {SCHEMA}.added") == [(0,)]


async def test_who_cannot_reach_the_database_is_told_without_the_password(postgres: PostgresServer) -> None:
    url = postgres.url("nowhere")
    with pytest.raises(StoreError) as caught:
        async with open_background(url):
            pass
    assert "nowhere" in str(caught.value)
    assert PASSWORD not in str(caught.value)


async def test_a_missing_package_is_named_with_what_installs_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "moa_graph.server.background.queued")
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    with pytest.raises(ModelNotReady, match=r"pip install 'moa-graph\[worker\]'"):
        open_background(database)
