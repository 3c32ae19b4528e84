"""A shelf in PostgreSQL: several processes, a server that goes away, and rights."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from moa_graph.errors import MoAError, StoreError
from moa_graph.runs import guard
from moa_graph.server.shelf import open_shelf
from tests.fakes.postgres import PASSWORD, PostgresServer

pytestmark = pytest.mark.postgres


async def test_processes_that_make_the_table_at_once_do_not_trip(database: str) -> None:
    async def use() -> float:
        async with open_shelf(database) as shelf:
            return await shelf.add("a", 1, 60)

    assert sorted(await asyncio.gather(*(use() for _ in range(8)))) == list(range(1, 9))


async def test_a_restart_of_the_server_is_survived(database: str, postgres: PostgresServer) -> None:
    async with open_shelf(database) as shelf:
        assert await shelf.add("a", 0.5, 60) == 0.5
        await shelf.put("b", {"c": 1}, 60)
        await asyncio.to_thread(postgres.restart, "immediate")
        assert await shelf.add("a", 0.5, 60) == 1.0
        assert await shelf.get("b") == {"c": 1}


async def test_an_addition_whose_answer_was_lost_is_not_made_twice(
    database: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_shelf(database) as shelf:
        await shelf.add("a", 5, 60)
        guarded = shelf._guard  # type: ignore[attr-defined]
        attempts = []

        async def twice(work: Any) -> Any:
            attempts.append(await guarded(work))
            attempts.append(await guarded(work))  # as the guard does when the first answer did not come
            return attempts[-1]

        monkeypatch.setattr(shelf, "_guard", twice)
        assert await shelf.add("a", -2, 60) == 3
        assert len(attempts) == 2


async def test_a_server_that_stays_away_is_an_error_without_a_password(
    database: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_shelf(database) as shelf:
        await shelf.add("a", 1, 60)
        await asyncio.to_thread(postgres.stop)
        monkeypatch.setattr(guard, "PATIENCE", 0.0)
        with pytest.raises(StoreError) as lost:
            await shelf.add("a", 1, 60)
    with pytest.raises(StoreError) as refused:
        async with open_shelf(database):
            pass
    for error in (lost, refused):
        assert PASSWORD not in str(error.value)
        assert "127.0.0.1" in str(error.value)


async def test_a_url_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(MoAError, match="cannot be read"):
        async with open_shelf("postgresql://moa:hunter@2@127.0.0.1/moa"):
            pass


async def test_who_may_use_the_table_need_not_be_allowed_to_make_it(
    database: str, postgres: PostgresServer
) -> None:
    async with open_shelf(database):
        pass
    name = database.rpartition("/")[2]
    postgres.execute(f"CREATE ROLE user_{name} LOGIN PASSWORD 'pw'")
    postgres.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON moa_shelf TO user_{name}", name)
    async with open_shelf(f"postgresql://user_{name}:pw@127.0.0.1:{postgres.port}/{name}") as shelf:
        assert await shelf.add("a", 1, 60) == 1


async def test_a_sweep_takes_late_rows_out_of_the_table(
    database: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_shelf(database) as shelf:
        await shelf.put("late", 1, 0)
        monkeypatch.setattr(shelf, "_next_sweep", 0.0)
        await shelf.put("kept", 1, 60)
    assert postgres.execute("SELECT name FROM moa_shelf", database.rpartition("/")[2]) == [("kept",)]


async def test_a_closed_shelf_says_so(database: str) -> None:
    async with open_shelf(database) as shelf:
        await shelf.add("a", 1, 60)
    with pytest.raises(StoreError, match="closed"):
        await shelf.get("a")
