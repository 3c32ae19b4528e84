"""A shelf in a SQLite file: who else uses the file, and what goes wrong with files."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from moa_graph.errors import StoreError
from moa_graph.runs import guard
from moa_graph.runs.stores import open_store
from moa_graph.server.shelf import open_shelf, sqlite

ADDER = """
import asyncio, sys
from moa_graph.server.shelf import open_shelf

async def main():
    async with open_shelf(sys.argv[1]) as shelf:
        for _ in range(100):
            await shelf.add("sum", 1, 60)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moa.db"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def hold(path: Path) -> sqlite3.Connection:
    """Lock a file for all who write."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


async def test_it_shares_the_file_of_the_threads(path: Path) -> None:
    url = f"sqlite:///{path}"
    async with open_store(url) as store, open_shelf(url) as shelf:
        await store.write("thread", {"a": 1})
        await shelf.put("a", 1, 60)
        assert await store.read("thread") == {"a": 1}
        assert await shelf.get("a") == 1
    async with open_store(url) as store:
        assert await store.keys() == ["thread"]


async def test_a_new_file_is_its_owners_alone_and_in_wal_mode(path: Path) -> None:
    async with open_shelf(f"sqlite:///{path}"):
        assert mode(path) == 0o600
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_a_relative_name_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with open_shelf("sqlite:///with%20space.db") as shelf:
        monkeypatch.chdir(tmp_path / "elsewhere")
        await shelf.put("a", 1, 60)
    assert "with space.db" in names(tmp_path)
    assert names(tmp_path / "elsewhere") == []


async def test_processes_that_add_at_once_lose_nothing(path: Path) -> None:
    url = f"sqlite:///{path}"
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", ADDER, url, cwd=Path(__file__).parents[3])
        for _ in range(2)
    ]
    async with open_shelf(url) as shelf:
        for _ in range(100):
            await shelf.add("sum", 1, 60)
        assert [await process.wait() for process in processes] == [0, 0]
        assert await shelf.add("sum", 0, 60) == 300


async def test_a_lock_of_somebody_else_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_BUSY", 0.0)
    async with open_shelf(f"sqlite:///{path}") as shelf:
        await shelf.add("a", 1, 60)
        other = hold(path)

        def let_go(_: float, __: float) -> float:
            other.rollback()
            return 0.0

        monkeypatch.setattr(guard.random, "uniform", let_go)  # called when the first attempt has failed
        assert await shelf.add("a", 1, 60) == 2
        other.close()


async def test_a_lock_that_stays_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_BUSY", 0.0)
    async with open_shelf(f"sqlite:///{path}") as shelf:
        await shelf.add("a", 1, 60)
        other = hold(path)
        monkeypatch.setattr(guard, "PATIENCE", 0.0)
        with pytest.raises(StoreError, match="locked"):
            await shelf.add("a", 1, 60)
        other.rollback()
        other.close()
        assert await shelf.add("a", 1, 60) == 2


async def test_a_cancelled_addition_leaves_the_file_free(path: Path) -> None:
    async with open_shelf(f"sqlite:///{path}") as shelf:
        await shelf.add("a", 1, 60)
        adding = asyncio.ensure_future(shelf.add("a", 1, 60))
        await asyncio.sleep(0)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        assert await shelf.add("a", 1, 60) in (2, 3)
        hold(path).close()


async def test_a_sweep_takes_late_rows_out_of_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_shelf(f"sqlite:///{path}") as shelf:
        await shelf.put("late", 1, 0)
        monkeypatch.setattr(shelf, "_next_sweep", 0.0)
        await shelf.put("kept", 1, 60)
        other = sqlite3.connect(path)
        assert other.execute("SELECT name FROM moa_shelf").fetchall() == [("kept",)]
        other.close()


async def test_a_closed_shelf_says_so(path: Path) -> None:
    async with open_shelf(f"sqlite:///{path}") as shelf:
        await shelf.add("a", 1, 60)
    with pytest.raises(StoreError, match="shutdown"):
        await shelf.get("a")


@pytest.fixture
def letter(path: Path) -> Path:
    path.write_text("no database, but long enough to be looked at " * 30)
    return path


async def test_what_is_no_database_is_an_error(letter: Path) -> None:
    with pytest.raises(StoreError, match="not a database"):
        async with open_shelf(f"sqlite:///{letter}"):
            pass


@pytest.mark.parametrize("name", ["missing/folder/moa.db", "", "a%00b"])
async def test_a_file_that_cannot_be_made_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError):
        async with open_shelf(f"sqlite:///{tmp_path}/{name}"):
            pass


async def test_another_fault_is_not_the_databases(path: Path) -> None:
    async with open_shelf(f"sqlite:///{path}") as shelf:
        with pytest.raises(UnicodeEncodeError):
            await shelf.get("\ud800")
        assert await shelf.add("a", 1, 60) == 1
