"""All threads of a store at a glance, whatever state they are in."""

from __future__ import annotations

import pytest

from moa_graph.errors import QuorumNotMet
from moa_graph.runs.stores import Store
from moa_graph.runs.summaries import summaries
from tests.runs.cast import THREE, Cast


async def test_an_empty_store_has_no_threads(store: Store) -> None:
    assert await summaries(store) == []


async def test_every_status_is_told(store: Store) -> None:
    cast = Cast(THREE, layer={"draft": {"quorum": 3}})
    runs = cast.runs(store)
    await runs.start("Why?", thread="answered")
    await runs.start("Why?", thread="interrupted", breakpoints=["aggregator"])
    cast.fail("a")
    with pytest.raises(QuorumNotMet):
        await runs.start("Why?", thread="failed")
    found = {summary.thread: summary for summary in await summaries(store)}
    assert {thread: summary.status for thread, summary in found.items()} == {
        name: name for name in ("answered", "interrupted", "failed")
    }
    assert found["failed"].reason.startswith("QuorumNotMet")
    assert found["interrupted"].reason == "before aggregator"


async def test_an_unreadable_record_does_not_hide_the_others(store: Store) -> None:
    await Cast(THREE).runs(store).start("Why?", thread="t")
    await store.write("bad", {"thread": "bad"})
    bad = next(summary for summary in await summaries(store) if summary.thread == "bad")
    assert (bad.status, bad.turns, bad.question) == ("unreadable", 0, "")
    assert "cannot be trusted" in bad.reason
    assert {summary.thread for summary in await summaries(store)} == {"bad", "t"}


async def test_a_thread_that_is_deleted_meanwhile_is_left_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Cast(THREE).runs(store).start("Why?", thread="t")

    async def keys() -> list[str]:
        return ["gone", "t"]

    monkeypatch.setattr(store, "keys", keys)
    assert [summary.thread for summary in await summaries(store)] == ["t"]
