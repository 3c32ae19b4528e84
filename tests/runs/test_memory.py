"""Threads in memory: as apart from their callers as threads on a disk."""

from __future__ import annotations

import asyncio

import pytest

from moa_graph.errors import ThreadBusy
from moa_graph.runs import stores
from moa_graph.runs.stores import open_store


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "BUSY_PATIENCE", 0.01)


async def test_a_record_shares_nothing_with_who_wrote_or_read_it() -> None:
    async with open_store("memory:") as store:
        record = {"turns": [1]}
        await store.write("t", record)
        record["turns"].append(2)
        first = await store.read("t")
        assert first == {"turns": [1]}
        first["turns"].append(3)
        assert await store.read("t") == {"turns": [1]}


async def test_keys_are_sorted_and_a_removed_thread_is_gone() -> None:
    async with open_store("memory:") as store:
        for key in ("b", "ä", "a"):
            await store.write(key, {})
        await store.remove("b")
        await store.remove("never there")
        assert await store.keys() == ["a", "ä"]
        assert await store.read("b") is None


async def test_two_stores_in_memory_know_nothing_of_each_other() -> None:
    async with open_store("memory:") as one, open_store("memory:") as other:
        await one.write("t", {})
        assert await other.keys() == []
        async with one.lease("t"), other.lease("t"):
            assert await one.leased("t")


async def test_a_lease_is_for_one() -> None:
    async with open_store("memory:") as store:
        async with store.lease("t"):
            assert await store.leased("t")
            assert not await store.leased("other")
            with pytest.raises(ThreadBusy):
                async with store.lease("t"):
                    pytest.fail("two hold one lease")
            assert await store.leased("t")
        assert not await store.leased("t")


async def test_who_waits_gets_the_lease_and_who_is_cancelled_leaves_none() -> None:
    order: list[str] = []

    async with open_store("memory:") as store:

        async def hold(name: str) -> None:
            async with store.lease("t", wait=True):
                order.append(name)

        async with store.lease("t"):
            waiting = asyncio.create_task(hold("waiting"))
            cancelled = asyncio.create_task(hold("cancelled"))
            await asyncio.sleep(0)
            cancelled.cancel()
            order.append("first")
        await waiting
        assert order == ["first", "waiting"]
        assert not await store.leased("t")


async def test_the_saver_of_a_store_keeps_what_it_was_given() -> None:
    async with open_store("memory:") as store:
        assert store.url == "memory:"
        assert store.saver() is store.saver()
