"""Threads in a real PostgreSQL: what is kept, who may run a thread, and what happens when the server goes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint

from moa_graph.errors import MoAError, StoreError, ThreadBusy
from moa_graph.runs import guard
from moa_graph.runs.postgres import leases, pool, server
from moa_graph.runs.postgres import store as postgres_store
from moa_graph.runs.stores import Store, open_store
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel
from tests.fakes.postgres import PASSWORD, PostgresServer
from tests.runs.conformance import check

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).parents[2]
_LEASING = "moa_graph leases%"
KEYS = ["plain", "Ünïcode 🦆 線", 'it\'s "quoted" -- ; DROP TABLE', "%s %% \\ \n\t", "é" * 500, "k" * 1100]
HOLDER = """
import asyncio, sys
from moa_graph.runs.stores import open_store

async def main():
    async with open_store(sys.argv[1]) as store, store.lease(sys.argv[2]):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        yield opened


async def put(saver: BaseCheckpointSaver[str], thread: str, step: int = 0) -> dict[str, Any]:
    """Write a checkpoint with a value that goes to a table of its own; return its config."""
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"messages": ["text", step], "status": "running"}
    checkpoint["channel_versions"] = {"messages": f"{step:032}", "status": f"{step:032}"}
    config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    versions = dict(checkpoint["channel_versions"])
    return await saver.aput(config, checkpoint, {"source": "loop", "step": step, "parents": {}}, versions)


async def lease_session(postgres: PostgresServer, database: str, *, count: int = 1) -> list[int]:
    """Return the pids of the sessions that hold leases."""
    pids = await _sessions(postgres, database, _LEASING)
    assert len(pids) == count
    return pids


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what another process does; nothing tells of it."""
    async with asyncio.timeout(10):
        while True:
            result = condition()
            if await result if isinstance(result, Awaitable) else result:
                return
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def child_that_holds(database: str, key: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, database, key, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"held\n"
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


# What is kept


async def test_the_conformance_suite_passes(postgres: PostgresServer) -> None:
    await check(lambda: open_store(postgres.new_database()))


async def test_records_come_back_as_they_were_written_and_keys_in_alphabetical_order(store: Store) -> None:
    record = {"text": "é\x00🦆", "list": [1, 2.5, None, True], "nested": {"k": {}}}
    for key in KEYS:
        assert await store.read(key) is None
        await store.write(key, {"a": 1})
        await store.write(key, record | {"key": key})
    assert [await store.read(key) for key in KEYS] == [record | {"key": key} for key in KEYS]
    assert await store.keys() == sorted(KEYS)


async def test_removing_a_thread_leaves_nothing_of_it_and_all_of_the_others(store: Store) -> None:
    for key in KEYS:
        await store.write(key, {})
    configs = {key: await put(store.saver(), key) for key in KEYS}
    for count, key in enumerate(KEYS, 1):
        await store.remove(key)
        assert await store.keys() == sorted(KEYS[count:])
        left = [other for other in KEYS if await store.saver().aget_tuple(configs[other])]
        assert left == KEYS[count:]


async def test_what_one_store_wrote_another_one_reads(database: str) -> None:
    async with open_store(database) as first:
        await first.write("t", {"a": 1})
        config = await put(first.saver(), "t")
    async with open_store(database) as second:
        assert await second.read("t") == {"a": 1}
        found = await second.saver().aget_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"messages": ["text", 0], "status": "running"}


async def test_every_run_gets_a_checkpointer_of_its_own(store: Store) -> None:
    assert store.saver() is not store.saver()


async def test_an_encrypted_store_keeps_no_plain_record(
    database: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_KEY", "k" * 32)
    async with open_store(database, key_env="STORE_KEY") as store:
        await store.write("t", {"a": "plainly readable"})
        assert await store.read("t") == {"a": "plainly readable"}
    rows = postgres.execute("SELECT record FROM moa_threads", database.rpartition("/")[2])
    assert b"readable" not in bytes(rows[0][0])  # type: ignore[call-overload]
    async with open_store(database) as store:
        with pytest.raises(StoreError, match="cannot be trusted"):
            await store.read("t")


async def test_a_question_with_nul_is_kept(store: Store) -> None:
    graph = mixture({"draft": {"a": ScriptedChatModel("x\x00y")}}, {"z": ScriptedChatModel("answer \x00")})
    config = {"configurable": {"thread_id": "t"}, "metadata": {"note": "a\x00b"}}
    compiled = graph.compile(checkpointer=store.saver())
    state = await compiled.ainvoke({"messages": [("user", "Why\x00?")]}, config, durability="sync")
    assert state["status"] == "answered"
    kept = await compiled.aget_state({"configurable": {"thread_id": "t"}})
    assert [message.text for message in kept.values["messages"]] == [m.text for m in state["messages"]]


# Opening


async def test_many_may_open_an_empty_database_at_once(database: str) -> None:
    async def use(number: int) -> None:
        async with open_store(database) as store:
            await store.write(f"t{number}", {})
            await put(store.saver(), f"t{number}")

    await asyncio.gather(*(use(number) for number in range(6)))
    async with open_store(database) as store:
        assert await store.keys() == [f"t{number}" for number in range(6)]


async def test_one_process_making_tables_for_too_long_is_reported(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_store, "_SETUP_PATIENCE", 0.2)
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(f"SELECT pg_advisory_lock({postgres_store._SETUP_NUMBER})")
        with pytest.raises(StoreError, match="another process"):
            async with open_store(database):
                pass


async def test_a_role_that_may_make_no_tables_can_use_them(postgres: PostgresServer, database: str) -> None:
    name = database.rpartition("/")[2]
    postgres.execute(f"CREATE ROLE user_{name} LOGIN PASSWORD 'x'")
    theirs = re.sub(r"//.*@", f"//user_{name}:x@", database)
    with pytest.raises(StoreError, match="permission denied"):
        async with open_store(theirs):
            pass
    async with open_store(database):
        pass
    postgres.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO user_{name}", name)
    async with open_store(theirs) as store, store.lease("t"):
        await store.write("t", {"a": 1})
        assert await store.read("t") == {"a": 1}


async def test_a_database_that_cannot_hold_every_text_is_refused(postgres: PostgresServer) -> None:
    url = postgres.new_database("ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreError, match="LATIN1"):
        async with open_store(url):
            pass


async def test_settings_of_the_url_reach_libpq(postgres: PostgresServer, database: str) -> None:
    name = database.rpartition("/")[2]
    postgres.execute("CREATE SCHEMA elsewhere", name)
    async with open_store(f"{database}?options=-csearch_path%3Delsewhere&application_name=mine") as there:
        await there.write("t", {"there": True})
        rows = postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mine'")
        assert rows[0][0] != 0
        async with open_store(database) as here, here.lease("t"), there.lease("t"):
            assert await here.read("t") is None


@pytest.mark.parametrize("setting", ["host", "query"])
async def test_no_message_holds_the_password(
    postgres: PostgresServer, database: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.2)
    name, wrong = database.rpartition("/")[2], "canary-secret"
    place = f"127.0.0.1:{postgres.port}/{name}"
    url = (
        f"postgresql://moa:{wrong}@{place}"
        if setting == "host"
        else f"postgresql://moa@{place}?password={wrong}"
    )
    for broken in (url, url.replace(name, wrong), url.replace(str(postgres.port), "1")):
        with pytest.raises(StoreError) as caught:
            async with open_store(broken):
                pass
        assert wrong not in str(caught.value)
        assert "postgresql://moa@127.0.0.1:" in str(caught.value)


async def test_the_url_of_a_store_shows_user_host_and_database_only(store: Store, database: str) -> None:
    assert store.url == re.sub(r":[^:]*@", "@", database)
    assert PASSWORD not in repr(vars(store)["url"])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://moa:p@canary@127.0.0.1/db",
        "postgresql://moa:p/canary@127.0.0.1/db",
        "postgresql://moa:p?x/canary@127.0.0.1/db",
        "postgresql://moa:100%canary@127.0.0.1/db",
        "postgresql://127.0.0.1/db?no_such_setting=canary",
    ],
)
def test_a_url_that_libpq_reads_otherwise_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(MoAError, match="cannot be read") as caught:
        open_store(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://", "postgresql://"),
        ("postgresql:///db?host=/run/pg", "postgresql://%2Frun%2Fpg/db"),
        ("postgresql://a@h1:1,h2:2/db", "postgresql://a@h1:1,h2:2/db"),
        ("postgres://a@h1,h2:7/db?sslpassword=s", "postgresql://a@h1,h2:7/db"),
    ],
)
def test_every_form_of_url_is_shown_as_one(url: str, shown: str) -> None:
    assert server.Server(url).url == shown


@pytest.mark.parametrize("fault", ["database", "password", "port"])
async def test_a_server_that_cannot_be_reached_is_told_at_once(
    postgres: PostgresServer, database: str, fault: str
) -> None:
    broken = {
        "database": f"{database}_missing",
        "password": re.sub(r":[^:]*@", ":wrong@", database),
        "port": database.replace(f":{postgres.port}", ":1"),
    }[fault]
    began = time.monotonic()
    with pytest.raises(StoreError):
        async with open_store(broken):
            pass
    assert time.monotonic() - began < 5


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in list(sys.modules):
        if module.startswith("moa_graph.runs.postgres."):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MoAError, match=r"pip install 'moa-graph\[postgres\]'"):
        open_store("postgresql://127.0.0.1/db")


# Rows that were changed


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE moa_threads SET record = '\\xc1'",
        "UPDATE moa_threads SET record = '\\x93010203'",
        "UPDATE moa_threads SET type = 'pickle'",
        "UPDATE moa_threads SET type = ''",
    ],
)
async def test_a_tampered_record_is_not_trusted(
    postgres: PostgresServer, database: str, store: Store, change: str
) -> None:
    await store.write("t", {"a": 1})
    postgres.execute(change, database.rpartition("/")[2])
    with pytest.raises(StoreError):
        await store.read("t")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoint_blobs SET blob = '\\xc1'",
        "UPDATE checkpoint_blobs SET type = 'pickle'",
        "UPDATE checkpoints SET checkpoint = '[]'",
        "UPDATE checkpoints SET checkpoint = '{\"v\": 4}'",
        "UPDATE checkpoints SET metadata = '7'",
        "UPDATE checkpoint_writes SET blob = '\\xc1'",
        "UPDATE checkpoint_writes SET type = 'json'",
    ],
)
async def test_a_tampered_checkpoint_is_not_trusted(
    postgres: PostgresServer, database: str, store: Store, change: str
) -> None:
    saver = store.saver()
    config = await put(saver, "t")
    await saver.aput_writes(config, [("messages", ["more"])], "task")
    postgres.execute(change, database.rpartition("/")[2])
    with pytest.raises(StoreError):
        await saver.aget_tuple(config)


# Leases


async def test_a_lease_is_exclusive_and_comes_back(database: str, store: Store) -> None:
    async with open_store(database) as other:
        async with store.lease("t"):
            for one in (store, other):
                assert await one.leased("t")
                assert not await one.leased("u")
                began = time.monotonic()
                with pytest.raises(ThreadBusy, match="somebody else"):
                    async with one.lease("t"):
                        pass
                assert time.monotonic() - began < 2
            async with other.lease("u"):
                pass
        assert not await store.leased("t")
        async with other.lease("t"):
            assert await store.leased("t")


async def test_a_lease_takes_every_key(database: str, store: Store) -> None:
    async with open_store(database) as other:
        for key in KEYS:
            async with store.lease(key):
                assert [one for one in KEYS if await other.leased(one)] == [key]


@pytest.mark.parametrize("in_other_store", [False, True])
async def test_who_waits_gets_the_lease_when_it_is_free(
    database: str, store: Store, in_other_store: bool
) -> None:
    got = asyncio.Event()

    async def waits(one: Store) -> None:
        async with one.lease("t", wait=True):
            got.set()

    async with open_store(database) as other:
        async with store.lease("t"):
            waiting = asyncio.create_task(waits(other if in_other_store else store))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(got.wait(), 0.3)
        await asyncio.wait_for(waiting, 5)


async def test_a_lease_ends_with_its_process(database: str, store: Store) -> None:
    async with child_that_holds(database, "t") as child:
        assert await store.leased("t")
        with pytest.raises(ThreadBusy):
            async with store.lease("t"):
                pass
        child.send_signal(signal.SIGKILL)
        async with asyncio.timeout(5), store.lease("t", wait=True):
            pass


async def test_many_runs_hold_their_leases_in_one_session(postgres: PostgresServer, store: Store) -> None:
    all_there = asyncio.Barrier(150)

    async def run(number: int) -> None:
        async with store.lease(f"t{number}"):
            await all_there.wait()
            await put(store.saver(), f"t{number}")

    watch = asyncio.gather(*(run(number) for number in range(150)))
    await watch
    rows = postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'moa_graph%'")
    assert 2 <= int(str(rows[0][0])) <= postgres_store.POOL_SIZE + 1
    assert not await store.leased("t0")


async def test_a_cancelled_taker_leaves_no_lease_behind(database: str, store: Store) -> None:
    async with open_store(database) as other:
        for turn in range(20):

            async def take() -> None:
                async with store.lease("t"):
                    await asyncio.Event().wait()

            task = asyncio.create_task(take())
            for _ in range(turn):
                await asyncio.sleep(0.0005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with other.lease("t"):
            pass


async def test_a_cancellation_from_outside_stays_one(store: Store) -> None:
    async def hold() -> None:
        async with store.lease("t"):
            inside.set()
            await asyncio.Event().wait()

    inside = asyncio.Event()
    task = asyncio.create_task(hold())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await store.leased("t")


async def test_the_session_ends_when_nobody_holds_a_lease(
    postgres: PostgresServer, database: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PING", 0.05)
    async with store.lease("t"):
        await lease_session(postgres, database)
    await until(lambda: vars(store)["_leases"]._watcher is None)
    await lease_session(postgres, database, count=0)
    async with store.lease("t"):
        await lease_session(postgres, database)


async def test_closing_the_store_frees_its_leases(database: str, store: Store) -> None:
    async with open_store(database) as other:
        lease = other.lease("t")
        await lease.__aenter__()
    async with store.lease("t", wait=True):
        pass
    await lease.__aexit__(None, None, None)


# When the server goes


async def test_a_holder_keeps_its_lease_over_a_restart(
    postgres: PostgresServer, database: str, store: Store
) -> None:
    async with store.lease("t"), store.lease("u"):
        await asyncio.to_thread(postgres.restart, "immediate")
        await until(lambda: store.leased("t"))
        async with open_store(database) as other:
            for key in ("t", "u"):
                with pytest.raises(ThreadBusy):
                    async with other.lease(key):
                        pass
    assert not await store.leased("t")


async def test_who_loses_a_lease_is_cancelled_and_told(
    postgres: PostgresServer, database: str, store: Store
) -> None:
    cancelled = False
    async with _rival(postgres, database, vars(store)["_leases"].number("t")) as get_in_line:
        with pytest.raises(StoreError, match="somebody else now runs thread 't'"):  # noqa: PT012 - it ends so
            async with store.lease("t"):
                await get_in_line()
                (pid,) = await lease_session(postgres, database)
                postgres.execute(f"SELECT pg_terminate_backend({pid})")
                try:
                    await asyncio.wait_for(asyncio.Event().wait(), 10)
                except asyncio.CancelledError:
                    cancelled = True
                    raise
    current = asyncio.current_task()
    assert cancelled
    assert current is not None
    assert not current.cancelling()
    async with store.lease("t"):
        pass


async def test_a_run_that_misses_the_loss_of_its_lease_is_cancelled_again(
    postgres: PostgresServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.2)
    monkeypatch.setattr(leases, "_CANCEL_AGAIN", 0.05)
    missed = 0
    with pytest.raises(StoreError, match="postgresql://"):  # noqa: PT012 - it ends so
        async with store.lease("t"):
            await asyncio.to_thread(postgres.stop, "immediate")
            for _ in range(3):
                try:
                    await asyncio.wait_for(asyncio.Event().wait(), 5)
                except asyncio.CancelledError:
                    missed += 1
            await asyncio.wait_for(asyncio.Event().wait(), 5)
    current = asyncio.current_task()
    assert current is not None
    assert (missed, current.cancelling()) == (3, 0)


@pytest.mark.parametrize("end", ["normal", "error", "cancelled"])
async def test_a_lost_lease_hides_no_other_end(
    postgres: PostgresServer, store: Store, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.2)

    async def hold() -> None:
        async with store.lease("t"):
            try:
                inside.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if end == "error":
                    raise KeyError("the block's own") from None
                if end == "cancelled":
                    asyncio.current_task().cancel()  # type: ignore[union-attr]
                    raise

    inside = asyncio.Event()
    task = asyncio.create_task(hold())
    await inside.wait()
    await asyncio.to_thread(postgres.stop, "immediate")
    expected = {"normal": StoreError, "error": KeyError, "cancelled": asyncio.CancelledError}[end]
    with pytest.raises(expected):
        await asyncio.wait_for(task, 10)


async def test_a_store_goes_on_after_a_restart_in_mid_use(postgres: PostgresServer, store: Store) -> None:
    done = dict.fromkeys([f"t{number}" for number in range(12)], 0)

    over = asyncio.Event()

    async def work(thread: str) -> None:
        while not over.is_set():
            config = await put(store.saver(), thread, done[thread])
            assert await store.saver().aget_tuple(config) is not None
            await store.write(thread, {"done": done[thread]})
            assert await store.read(thread) == {"done": done[thread]}
            done[thread] += 1

    async with asyncio.TaskGroup() as group:
        for thread in done:
            group.create_task(work(thread))
        for mode in ("immediate", "fast"):
            await _all_advance(done)
            await asyncio.to_thread(postgres.restart, mode)
        await _all_advance(done)
        over.set()


async def _all_advance(done: dict[str, int]) -> None:
    before = dict(done)
    await until(lambda: all(done[thread] > before[thread] + 1 for thread in done))


async def test_a_store_goes_on_after_a_server_was_gone_for_5_seconds(
    postgres: PostgresServer, store: Store
) -> None:
    await store.write("t", {"n": 1})
    async with store.lease("t"):
        await asyncio.to_thread(postgres.stop, "immediate")
        calls = asyncio.gather(store.read("t"), put(store.saver(), "t"), store.leased("u"))
        await asyncio.sleep(5)
        await asyncio.to_thread(postgres.start)
        record, config, leased = await calls
        assert record == {"n": 1}
        assert not leased
        assert await store.saver().aget_tuple(config) is not None


async def test_a_server_gone_for_longer_than_patience_is_a_store_error(
    postgres: PostgresServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.3)
    saver = store.saver()
    config = await put(saver, "t")
    with pytest.raises(StoreError, match="postgresql://moa@127"):  # noqa: PT012 - it ends so
        async with store.lease("t"):
            await asyncio.to_thread(postgres.stop, "immediate")
            calls = (
                saver.aget_tuple(config),
                put(saver, "t"),
                store.read("t"),
                store.write("t", {}),
                store.keys(),
                store.leased("u"),
            )
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [StoreError] * len(calls)
            assert all("refused" in str(outcome) or "closed" in str(outcome) for outcome in outcomes)
            await asyncio.wait_for(asyncio.Event().wait(), 10)
    with pytest.raises(StoreError):
        async with store.lease("t"):
            pass
    await asyncio.to_thread(postgres.start)
    async with store.lease("t"):
        assert await saver.aget_tuple(config) is not None


async def test_a_refusal_while_a_store_is_open_is_told_by_its_reason(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    name = url.rpartition("/")[2]
    postgres.execute(f"CREATE ROLE role_{name} SUPERUSER LOGIN PASSWORD 'canary-secret'")
    theirs = re.sub(r"//.*@", f"//role_{name}:canary-secret@", url)
    async with open_store(theirs) as store:
        postgres.execute(f"ALTER ROLE role_{name} NOLOGIN")
        postgres.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'role_{name}'"
        )
        began = time.monotonic()
        with pytest.raises(StoreError, match="not permitted to log in"):
            await store.read("t")
        assert time.monotonic() - began < guard.PATIENCE / 2


async def test_a_server_process_that_answers_nothing_is_given_up(
    postgres: PostgresServer, database: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write("t", {"n": 1})
    monkeypatch.setattr(pool, "CHECK_PATIENCE", 0.3)
    monkeypatch.setattr(pool, "CHECK_AFTER", 0.0)
    with postgres.frozen(*await _sessions(postgres, database)):
        began = time.monotonic()
        assert await store.read("t") == {"n": 1}
        assert time.monotonic() - began < 4


async def test_nobody_waits_longer_than_the_others_for_a_server_that_answers_nobody(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.5)
    monkeypatch.setattr(postgres_store, "POOL_SIZE", 1)
    async with open_store(database) as store:
        await store.write("t", {"n": 1})
        with postgres.frozen(*await _sessions(postgres, database), postgres.pid):
            began = time.monotonic()
            outcomes = await asyncio.gather(*[store.read("t") for _ in range(100)], return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreError}
        assert time.monotonic() - began < 15  # one after the other it would be 50
        assert await store.read("t") == {"n": 1}


async def test_a_store_that_is_closed_says_so(database: str) -> None:
    async with open_store(database) as store:
        await store.write("t", {})
    with pytest.raises(StoreError, match="the store is closed"):
        await store.read("t")


async def test_a_call_that_is_cancelled_at_any_point_ends_and_loses_no_connection(
    postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_store, "POOL_SIZE", 2)
    monkeypatch.setattr(pool, "CHECK_AFTER", 0.0)

    async def work(store: Store) -> None:
        while True:
            await store.read("t")

    async with open_store(database) as store:
        for turn in range(15):
            tasks = [asyncio.create_task(work(store)) for _ in range(6)]
            await asyncio.sleep(0.002 * turn)
            for task in tasks:
                task.cancel()
            _, left = await asyncio.wait(tasks, timeout=5)
            assert not left
        async with asyncio.timeout(5):
            await asyncio.gather(*(store.write(f"t{number}", {}) for number in range(6)))

    # psycopg leaves a connection that was cancelled while it was made to the garbage collector.
    del tasks, task, _

    async def are_gone() -> bool:
        gc.collect()
        return not await _sessions(postgres, database)

    await until(are_gone)


async def test_a_session_that_the_server_still_believes_in_is_ended(
    postgres: PostgresServer, database: str
) -> None:
    async with _Proxy(postgres.port) as proxy:
        through = database.replace(f":{postgres.port}/", f":{proxy.port}/")
        async with open_store(through) as store, open_store(database) as other, store.lease("t"):
            before = await lease_session(postgres, database)
            proxy.break_clients()

            async def is_another() -> bool:
                now = await _sessions(postgres, database, _LEASING)
                return bool(now) and before != now and await store.leased("t")

            await until(is_another)
            with pytest.raises(ThreadBusy):
                async with other.lease("t"):
                    pass


@contextlib.asynccontextmanager
async def _rival(
    postgres: PostgresServer, database: str, number: int
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Give a function that makes another session wait for an advisory lock; it is the next to have it."""
    waiting: list[asyncio.Task[Any]] = []
    connection = await psycopg.AsyncConnection.connect(database, autocommit=True)

    async def waits() -> bool:
        query = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(await asyncio.to_thread(postgres.execute, query))

    async def get_in_line() -> None:
        waiting.append(asyncio.create_task(connection.execute("SELECT pg_advisory_lock(%s)", [number])))
        await until(waits)

    try:
        yield get_in_line
    finally:
        # Not before: a connection that is closed while a query is under way waits for the query.
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await connection.close()


async def _sessions(postgres: PostgresServer, database: str, application: str = "%") -> list[int]:
    """Return the pids of a database's sessions, by what they call themselves."""
    query = (
        f"SELECT pid FROM pg_stat_activity WHERE application_name LIKE '{application}'"
        f" AND datname = '{database.rpartition('/')[2]}'"
    )
    return [int(str(pid)) for (pid,) in await asyncio.to_thread(postgres.execute, query)]


class _Proxy:
    """Stand between client and server; can break the clients' half of connections and keep the server's."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._clients: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in (*self._clients, *self._servers):
            writer.close()

    def break_clients(self) -> None:
        for writer in self._clients:
            writer.close()
        self._clients.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
        self._clients.append(writer)
        self._servers.append(ours)
        for source, target in ((reader, ours), (theirs, writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
