"""Threads in a file: private, run by one at a time, and nothing but StoreError when the file fails."""

# ruff: noqa: ASYNC240 -- a test may look at small files while nothing else runs

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint

from moa_graph.errors import MoAError, StoreError, ThreadBusy
from moa_graph.runs import guard, stores
from moa_graph.runs.stores import Store, open_store
from tests.runs.conftest import ROOT

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "BUSY_PATIENCE", 0.05)
    monkeypatch.setattr("moa_graph.runs.sqlite._BUSY", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moa.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{path}") as store:
        yield store


def change(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


async def put(saver: BaseCheckpointSaver[str], text: str = "question") -> RunnableConfig:
    checkpoint = empty_checkpoint()
    version = saver.get_next_version(None, None)
    checkpoint["channel_values"] = {"messages": [HumanMessage(text, id="1")], "status": "running"}
    checkpoint["channel_versions"] = {"messages": version, "status": version}
    checkpoint["versions_seen"] = {"draft": {"messages": version}}
    config = await saver.aput(CONFIG, checkpoint, {"source": "loop", "step": 1, "parents": {}}, {})
    await saver.aput_writes(config, [("proposals", {"draft/a": {"text": text}})], "task")
    return config


# --- the URL and the file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_new_file_and_what_belongs_to_it_are_its_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        async with open_store(f"sqlite:///{path}") as store:
            await store.write("t", {})
            async with store.lease("t"):
                modes = {found.name: mode(found) for found in path.parent.rglob("*")}
    finally:
        os.umask(before)
    locks = {name: modes.pop(name) for name in list(modes) if name.endswith((".locks", ".lock"))}
    assert modes == {"moa.db": 0o600, "moa.db-wal": 0o600, "moa.db-shm": 0o600}
    assert sorted(locks.values()) == [0o600, 0o700]


async def test_the_mode_of_a_file_that_is_there_stays(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    async with open_store(f"sqlite:///{path}"):
        assert mode(path) == 0o640


async def test_a_link_to_a_file_that_is_not_there_yet_gives_a_private_file(path: Path) -> None:
    path.symlink_to(path.with_name("real.db"))
    async with open_store(f"sqlite:///{path}"):
        assert mode(path.with_name("real.db")) == 0o600


@pytest.mark.parametrize("name", ["a b.db", "ä.db", "100%.db", "what?.db", "#1.db", ":memory:2"])
async def test_a_path_is_percent_decoded(name: str, tmp_path: Path) -> None:
    quoted = name.replace("%", "%25").replace("?", "%3F").replace(" ", "%20")
    async with open_store(f"sqlite:///{tmp_path}/{quoted}"):
        assert (tmp_path / name).exists()


async def test_three_slashes_lead_to_the_folder_one_is_in_when_the_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    async with open_store("sqlite:///here.db") as store:
        monkeypatch.chdir(tmp_path / "other")
        async with store.lease("t"):
            assert await store.leased("t")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["here.db", "here.db.locks", "other"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite://host/x.db", "no host"),
        ("sqlite:x.db", "no host"),
        ("sqlite://", "no host"),
        ("sqlite:///", "names no file"),
        ("sqlite:////tmp/", "names no file"),
        ("sqlite:///x%00.db", "names no file"),
        ("sqlite:///x.db?mode=ro", "has options"),
        ("sqlite:///:memory:", "memory: says so"),
    ],
)
async def test_a_url_that_names_no_file_is_refused(url: str, told: str) -> None:
    with pytest.raises(MoAError, match=told) as caught:
        async with open_store(url):
            pytest.fail("opened")
    assert "sqlite:///relative.db" in caught.value.hint


async def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file") as caught:
        async with open_store(f"sqlite:///{tmp_path}/missing/moa.db"):
            pytest.fail("opened")
    assert f"{tmp_path}/missing" in caught.value.hint


async def test_a_file_that_is_no_database_is_told_and_left_alone(path: Path) -> None:
    path.write_bytes(b"This is a letter to my aunt. " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        async with open_store(f"sqlite:///{path}"):
            pytest.fail("opened")
    assert path.read_bytes().startswith(b"This is a letter")


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        async with open_store(f"sqlite:///{tmp_path}"):
            pytest.fail("opened")


async def test_commits_are_safe_from_a_loss_of_power(store: Store) -> None:
    connection = store.saver().conn  # type: ignore[attr-defined]
    for pragma, expected in {"journal_mode": "wal", "synchronous": 2}.items():
        async with connection.execute(f"PRAGMA {pragma}") as cursor:
            assert await cursor.fetchone() == (expected,)


# --- records

ODD_KEYS = ["t", "ä ö", "it's", 'a"b', "a;DROP TABLE moa_threads", "../../x", "%", "x" * 1100, "🦜", " ", ""]


async def test_records_are_kept_for_any_key_and_listed_in_order(path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as store:
        for number, key in enumerate(ODD_KEYS):
            await store.write(key, {"number": -1})
            await store.write(key, {"number": number, "text": "ä\0"})
    async with open_store(f"sqlite:///{path}") as store:
        assert await store.keys() == sorted(ODD_KEYS)
        for number, key in enumerate(ODD_KEYS):
            assert await store.read(key) == {"number": number, "text": "ä\0"}
        assert await store.read("unknown") is None


async def test_a_removed_thread_leaves_nothing_and_no_other_is_touched(path: Path, store: Store) -> None:
    await put(store.saver())
    await store.write("t", {})
    await store.write("u", {})
    await store.remove("t")
    assert await store.keys() == ["u"]
    assert await store.saver().aget_tuple(CONFIG) is None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM writes").fetchone() == (0,)


async def test_an_encrypted_file_shows_nothing_and_opens_with_its_key_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{path}"
    monkeypatch.setenv("STORE_KEY", "k" * 32)
    async with open_store(url, key_env="STORE_KEY") as store:
        await put(store.saver(), "canary")
        await store.write("t", {"question": "canary"})
        item = await store.saver().aget_tuple(CONFIG)
        assert item is not None
        assert item.checkpoint["channel_values"]["messages"][0].text == "canary"
        assert await store.read("t") == {"question": "canary"}
        assert [
            found
            for found in path.parent.glob("moa.db*")
            if found.is_file() and b"canary" in found.read_bytes()
        ] == []
    monkeypatch.setenv("STORE_KEY", "another key here" * 2)
    for key_env in ("STORE_KEY", None):
        async with open_store(url, key_env=key_env) as store:
            with pytest.raises(StoreError, match="cannot be trusted"):
                await store.saver().aget_tuple(CONFIG)
            with pytest.raises(StoreError, match="cannot be trusted"):
                await store.read("t")


# --- rows that somebody changed


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("checkpoint = ?", None),
        ("checkpoint = ?", "text"),
        ("checkpoint = ?", b"\x93\x01\x02\x03"),
        ("checkpoint = ?", b"\xc0"),
        ("checkpoint = ?", b"\x80"),
        ("type = ?", None),
        ("type = ?", "json"),
        ("type = ?", "pickle"),
        ("metadata = ?", b"no json"),
        ("metadata = ?", b"\xff\xfe"),
        ("metadata = ?", b"[1]"),
        ("metadata = ?", b'{"step": "x"}'),
        ("metadata = ?", b"[" * 100_000),
        ("metadata = ?", 7),
        ("checkpoint_id = ?", "another"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_tampered_checkpoint_is_refused(
    store: Store, path: Path, assignment: str, value: Any
) -> None:
    await put(store.saver())
    change(path, f"UPDATE checkpoints SET {assignment}", value)
    with pytest.raises(StoreError, match="cannot be trusted"):
        await store.saver().aget_tuple(CONFIG)
    with pytest.raises(StoreError, match="cannot be trusted"):
        _ = [item async for item in store.saver().alist(CONFIG)]


async def test_a_tampered_write_is_refused(store: Store, path: Path) -> None:
    parent = await put(store.saver())
    child = empty_checkpoint()
    config = await store.saver().aput(parent, child, {}, {})
    change(path, "UPDATE writes SET value = ?", b"\xc1")
    with pytest.raises(StoreError, match="cannot be trusted"):
        await store.saver().aget_tuple(parent)
    with pytest.raises(StoreError, match="cannot be trusted"):
        await store.saver().aget_delta_channel_history(config=config, channels=["proposals"])
    change(path, "UPDATE checkpoints SET checkpoint = ?", b"\x93\x01\x02\x03")
    with pytest.raises(StoreError, match="cannot be trusted"):
        await store.saver().aget_delta_channel_history(config=config, channels=["proposals"])


@pytest.mark.parametrize("value", [b"\x93\x01\x02\x03", b"\xc0", b"", "text", None])
async def test_a_tampered_record_is_refused(store: Store, path: Path, value: Any) -> None:
    await store.write("t", {})
    change(path, "UPDATE moa_threads SET record = ?", value)
    with pytest.raises(StoreError, match="cannot be trusted"):
        await store.read("t")


async def test_a_key_that_is_no_text_is_refused(store: Store, path: Path) -> None:
    await store.write("t", {})
    change(path, "UPDATE moa_threads SET key = ?", b"\xff")
    with pytest.raises(StoreError, match="cannot be trusted"):
        await store.keys()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_to_a_checkpoint_gives_a_checkpoint_or_a_store_error(
    data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.db"

    async def run() -> None:
        async with open_store(f"sqlite:///{path}") as store:
            await store.remove("t")
            await put(store.saver())
            with closing(sqlite3.connect(path)) as connection:
                (content,) = connection.execute("SELECT checkpoint FROM checkpoints").fetchone()
            changed = bytearray(
                content[: data.draw(st.integers(len(content) // 2, len(content)), label="length")]
            )
            for _ in range(data.draw(st.integers(0, 3), label="flips")):
                changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            change(path, "UPDATE checkpoints SET checkpoint = ?", bytes(changed))
            with suppress(StoreError):
                item = await store.saver().aget_tuple(CONFIG)
                assert item is not None
                assert item.checkpoint.keys() >= {"v", "id", "ts", "channel_values", "channel_versions"}
                if bytes(changed) == content:
                    assert item.checkpoint["channel_values"]["messages"] == [HumanMessage("question", id="1")]

    asyncio.run(run())


# --- troubles


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[Callable[[], None]]:
    """Hold SQLite's write lock from another connection; what is yielded lets it go."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield lambda: connection.execute("ROLLBACK").close()


async def test_a_file_that_is_locked_for_a_moment_is_waited_for(store: Store, path: Path) -> None:
    async with locked(path) as unlock:
        writing = asyncio.create_task(store.write("t", {"done": True}))
        checkpointing = asyncio.create_task(put(store.saver()))
        await asyncio.wait([writing, checkpointing], timeout=0.2)
        assert not writing.done()
        assert not checkpointing.done()
        assert await store.read("t") is None, "readers go on"
        unlock()
        await asyncio.gather(writing, checkpointing)
    assert await store.read("t") == {"done": True}
    assert await store.saver().aget_tuple(CONFIG) is not None


async def test_a_file_that_stays_locked_is_a_store_error(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.1)
    async with locked(path):
        with pytest.raises(StoreError, match="database is locked"):
            await store.write("t", {})
        with pytest.raises(StoreError, match="database is locked"):
            await put(store.saver())
    await store.write("t", {})


async def test_a_full_disk_is_a_store_error_at_once_and_leaves_the_file_usable(store: Store) -> None:
    connection = store.saver().conn  # type: ignore[attr-defined]
    await store.write("t", {"small": True})
    async with connection.execute("PRAGMA max_page_count=1"):  # means: as many as there are
        pass
    with pytest.raises(StoreError, match="full"):
        await store.write("t", {"large": "x" * 100_000})
    with pytest.raises(StoreError, match="full"):
        await put(store.saver(), "x" * 100_000)
    assert not connection.in_transaction
    assert await store.read("t") == {"small": True}
    async with connection.execute("PRAGMA max_page_count=100000"):
        pass
    await store.write("t", {"large": "x" * 100_000})


def test_a_limit_on_the_size_of_files_is_a_store_error(path: Path, run_python: Callable[..., str]) -> None:
    script = """
        import asyncio, resource, signal, sys
        from moa_graph.errors import StoreError
        from moa_graph.runs.stores import open_store

        async def main():
            async with open_store(f"sqlite:///{sys.argv[1]}") as store:
                await store.write("t", {"small": True})
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
                try:
                    await store.write("t", {"large": "x" * 500_000})
                except StoreError as error:
                    print("StoreError", await store.read("t"))

        asyncio.run(main())
        """
    assert run_python(script, str(path)) == "StoreError {'small': True}\n"


async def test_tables_of_another_layout_are_a_store_error(path: Path) -> None:
    change(path, "CREATE TABLE moa_threads (name TEXT)")
    async with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(StoreError, match="no such column"):
            await store.read("t")


async def test_a_cancelled_write_leaves_nothing_locked(store: Store, path: Path) -> None:
    saver = store.saver()
    for steps in range(12):
        task = asyncio.create_task(put(saver, "cancelled"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert not saver.conn.in_transaction  # type: ignore[attr-defined]
        change(path, "INSERT OR REPLACE INTO moa_threads VALUES ('other', 'null', x'')")
    await put(saver, "after")
    item = await saver.aget_tuple(CONFIG)
    assert item is not None
    assert item.checkpoint["channel_values"]["messages"][0].text == "after"


async def test_a_write_cancelled_while_it_waits_for_a_lock_is_given_up(store: Store, path: Path) -> None:
    async with locked(path):
        task = asyncio.create_task(store.write("t", {}))
        await asyncio.wait([task], timeout=0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await store.write("u", {})
    assert await store.keys() == ["u"]


async def test_closing_a_store_in_mid_use_ends_its_calls(path: Path) -> None:
    async with asyncio.timeout(20):
        async with open_store(f"sqlite:///{path}") as store:
            calls = [asyncio.create_task(put(store.saver())) for _ in range(30)]
            calls += [asyncio.create_task(store.write(f"{i}", {})) for i in range(30)]  # type: ignore[arg-type]
            for _ in range(5):
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} == {StoreError}
    with pytest.raises(StoreError):
        await store.read("t")


async def test_calls_at_once_do_not_disturb_each_other(store: Store) -> None:
    await asyncio.gather(
        *(store.write(f"{i:03}", {"i": i}) for i in range(100)), *(put(store.saver()) for _ in range(50))
    )
    assert await asyncio.gather(*(store.read(f"{i:03}") for i in range(100))) == [
        {"i": i} for i in range(100)
    ]
    assert len([item async for item in store.saver().alist(CONFIG)]) == 50


async def test_stores_that_open_one_new_file_at_once_all_open(path: Path) -> None:
    async def use(number: int) -> None:
        async with open_store(f"sqlite:///{path}") as store:
            await store.write(f"{number}", {})

    await asyncio.gather(*(use(number) for number in range(8)))
    async with open_store(f"sqlite:///{path}") as store:
        assert len(await store.keys()) == 8


# --- leases

HOLDER = """
    import asyncio, sys
    from moa_graph.runs.stores import open_store

    async def main():
        async with open_store(sys.argv[1]) as store, store.lease(sys.argv[2]):
            print("held", flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(main())
    """


@pytest.fixture
def holder(path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a process that holds a lease until its standard input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(key: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", dedent(HOLDER), f"sqlite:///{path}", key]
        # Killed, it would leave half a file of coverage behind.
        env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_a_lease_of_another_process_is_busy_until_it_is_killed(
    store: Store, holder: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = holder("t")
    assert await store.leased("t")
    with pytest.raises(ThreadBusy, match="run by somebody else"):
        async with store.lease("t"):
            pytest.fail("two hold one lease")
    async with store.lease("u"):
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not await store.leased("t")
    async with store.lease("t"):
        assert await store.leased("t")


async def test_who_waits_gets_the_lease_when_the_other_process_ends(
    store: Store, holder: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = holder("t")
    held: list[bool] = []

    async def take() -> None:
        async with store.lease("t", wait=True):
            held.append(process.poll() is not None)

    waiting = asyncio.create_task(take())
    await asyncio.wait([waiting], timeout=0.2)
    assert held == []
    process.kill()
    process.wait()
    await waiting
    assert held == [True]


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_a_lease_is_for_one_store_object_too(key: str, store: Store, path: Path) -> None:
    async with open_store(f"sqlite:///{path}") as other:
        assert not await other.leased(key)
        assert not path.with_name("moa.db.locks").exists(), "who only looks leaves no file behind"
        async with store.lease(key):
            assert await other.leased(key)
            assert await store.leased(key)
            for again in (store, other):
                with pytest.raises(ThreadBusy):
                    async with again.lease(key):
                        pytest.fail("two hold one lease")
            assert await other.leased(key), "looking and failing take nothing from who holds it"
        assert not await other.leased(key)
        async with other.lease(key):
            assert await store.leased(key)


async def test_a_cancelled_task_leaves_no_lease(store: Store) -> None:
    async def hold() -> None:
        async with store.lease("t", wait=True):
            await asyncio.Event().wait()

    async with store.lease("t"):
        waiting = asyncio.create_task(hold())
        await asyncio.sleep(0)
    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    for task in (waiting, holding):
        task.cancel()
    await asyncio.wait([waiting, holding])
    assert not await store.leased("t")


async def test_a_lease_ends_with_an_error_inside(store: Store) -> None:
    with pytest.raises(KeyError):
        async with store.lease("t"):
            raise KeyError
    assert not await store.leased("t")


async def test_locks_that_cannot_be_made_are_a_store_error(store: Store, path: Path) -> None:
    path.with_name("moa.db.locks").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"moa\.db\.locks"):
        async with store.lease("t"):
            pytest.fail("leased")


async def test_cancelling_twice_while_the_store_closes_leaves_nothing_under_way(path: Path) -> None:
    closing = asyncio.Event()

    async def work() -> None:
        async with open_store(f"sqlite:///{path}") as store:
            await store.write("t", {"n": 1})
            closing.set()

    task = asyncio.create_task(work())
    await closing.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    workers = [thread for thread in threading.enumerate() if "_connection_worker" in thread.name]
    for worker in workers:
        worker.join(30)
    assert not any(worker.is_alive() for worker in workers)
