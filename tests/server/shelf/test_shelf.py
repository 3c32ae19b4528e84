"""What every shelf does, wherever it is: memory, a SQLite file, PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moa_graph.errors import MoAError, ModelNotReady, StoreError
from moa_graph.server import shelf as shelves
from moa_graph.server.shelf import LARGEST, Shelf, open_shelf

KINDS = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/moa.db"


@pytest.fixture
async def shelf(url: str) -> AsyncIterator[Shelf]:
    async with open_shelf(url) as opened:
        yield opened


async def test_a_sum_begins_at_nothing_and_grows(shelf: Shelf) -> None:
    assert await shelf.add("a", 0.25, 60) == 0.25
    assert await shelf.add("a", 0.5, 60) == 0.75
    assert await shelf.add("a", -1.0, 60) == -0.25
    assert await shelf.add("b", 1, 60) == 1


async def test_a_sum_whose_time_is_up_begins_anew(shelf: Shelf) -> None:
    await shelf.add("a", 5, 0)
    assert await shelf.add("a", 1, 60) == 1


async def test_an_addition_prolongs_its_sum(shelf: Shelf) -> None:
    await shelf.add("a", 5, 60)
    await shelf.add("a", 1, 0)
    assert await shelf.add("a", 1, 60) == 1


async def test_additions_at_once_do_not_get_lost(shelf: Shelf) -> None:
    totals = await asyncio.gather(*(shelf.add("a", 1, 60) for _ in range(40)))
    assert sorted(totals) == list(range(1, 41))


async def test_a_value_comes_back_as_it_was(shelf: Shelf) -> None:
    value = {"text": "Ünï 🦆 \x00 \ud800 ' %s ?", "list": [1, 2.5, None, True], "none": None}
    await shelf.put("a", value, 60)
    assert await shelf.get("a") == value
    assert await shelf.get("b") is None


async def test_a_value_replaces_the_one_before(shelf: Shelf) -> None:
    await shelf.put("a", "first", 60)
    await shelf.put("a", "second", 60)
    assert await shelf.get("a") == "second"


async def test_a_value_whose_time_is_up_is_gone(shelf: Shelf) -> None:
    await shelf.put("a", "first", 60)
    await shelf.put("a", "second", 0)
    assert await shelf.get("a") is None


async def test_a_value_may_have_a_million_bytes_and_no_more(shelf: Shelf) -> None:
    await shelf.put("a", "x" * (LARGEST - 2), 60)
    with pytest.raises(MoAError, match="too many"):
        await shelf.put("a", "y" * (LARGEST - 1), 60)
    assert await shelf.get("a") == "x" * (LARGEST - 2)


async def test_what_is_swept_is_what_is_late(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    await shelf.put("late", 1, 0)
    await shelf.add("late sum", 1, 0)
    await shelf.put("kept", 2, 60)
    await shelf.add("kept sum", 2, 60)
    monkeypatch.setattr(shelf, "_next_sweep", 0.0)
    await shelf.add("any", 1, 60)
    assert await shelf.get("kept") == 2
    assert await shelf.add("kept sum", 1, 60) == 3
    assert await shelf.get("late") is None
    assert await shelf.add("late sum", 1, 60) == 1


async def test_sweeping_is_not_done_each_time(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps = []

    async def sweep() -> None:
        sweeps.append(1)

    monkeypatch.setattr(shelf, "_sweep", sweep)
    for _ in range(3):
        await shelf.add("a", 1, 60)
        await shelf.put("b", 1, 60)
    assert len(sweeps) == 1
    monkeypatch.setattr(shelves, "SWEEP_EVERY", 0.0)
    monkeypatch.setattr(shelf, "_next_sweep", 0.0)
    await shelf.add("a", 1, 60)
    await shelf.add("a", 1, 60)
    assert len(sweeps) == 3


@pytest.mark.parametrize("url", KINDS[1:], indirect=True)
async def test_what_is_kept_is_there_for_all_who_share_a_database(url: str) -> None:
    async with open_shelf(url) as one, open_shelf(url) as other:
        await one.put("value", [1], 60)
        assert await other.get("value") == [1]
        await asyncio.gather(*(each.add("sum", 1, 60) for each in [one, other] * 20))
        assert await other.add("sum", 0, 60) == 40
    async with open_shelf(url) as later:
        assert await later.add("sum", 0, 60) == 40
        assert await later.get("value") == [1]


async def test_what_is_no_json_is_not_trusted(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    async def get(_: str) -> str:
        return "{"

    monkeypatch.setattr(shelf, "_get", get)
    with pytest.raises(StoreError, match="cannot be trusted"):
        await shelf.get("a")


@pytest.mark.parametrize(
    "url",
    ["", "memory:x", "sqlite:moa.db", "sqlite:///", "sqlite:///a?mode=ro", "mysql://u:hunter2@h/d"],
)
async def test_a_url_that_names_no_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(MoAError, match="names no database") as refused:
        open_shelf(url)
    assert "hunter2" not in str(refused.value)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "moa_graph.server.shelf.postgres", raising=False)
    with pytest.raises(ModelNotReady, match=r"moa-graph\[postgres\]"):
        open_shelf("postgresql://moa@127.0.0.1/moa")
