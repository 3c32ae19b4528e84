"""What is known of a thread beside its checkpoints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa_graph.errors import StoreError, ThreadError
from moa_graph.runs.records import (
    LONGEST_THREAD,
    ThreadRecord,
    key_of,
    read_record,
    require_record,
    thread_of,
)
from moa_graph.runs.stores import Store
from tests.runs.cast import THREE, Cast

IDS = st.text(st.characters(exclude_categories=()), min_size=1, max_size=LONGEST_THREAD).filter(str.strip)


@given(thread=IDS)
def test_a_key_names_one_thread_and_bears_nothing_that_stores_do_not(thread: str) -> None:
    key = key_of(thread)
    assert thread_of(key) == thread
    assert "\x00" not in key
    assert key.encode().decode() == key
    assert key.isprintable() or not thread.isprintable()


@given(one=IDS, other=IDS)
def test_two_threads_have_two_keys(one: str, other: str) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


def test_ordinary_ids_are_their_own_keys() -> None:
    for thread in ("t1~1", "customer 7/März", "日本語", "a'b\"c\\d;--"):
        assert key_of(thread) == thread
    assert key_of("100%\n") == "100%25%0A"


async def test_a_record_comes_back_as_it_was_written(store: Store) -> None:
    for thread in ("t", "\ud800\x00%"):
        record = ThreadRecord.new(thread, Cast(THREE).spec)
        await record.save(store)
        with pytest.raises(StoreError, match="or empty"):
            await read_record(store, thread)
        await Cast(THREE).runs(store).start("Why?", thread=f"{thread}!")
        again = await require_record(store, f"{thread}!")
        assert (again.thread, again.load_spec()) == (f"{thread}!", Cast(THREE).spec)
        assert again.created <= again.updated


async def test_a_thread_that_is_not_there(store: Store) -> None:
    assert await read_record(store, "t") is None
    with pytest.raises(ThreadError, match="there is no thread 't'"):
        await require_record(store, "t")


async def test_an_answered_turn_gives_up_its_messages_and_an_open_one_keeps_them(store: Store) -> None:
    runs = Cast(THREE).runs(store)
    await runs.start("Why?", thread="t", breakpoints=["aggregator"])
    [turn] = (await require_record(store, "t")).turns
    assert [message["data"]["content"] for message in turn.messages] == ["Why?"]
    await runs.resume("t")
    [turn] = (await require_record(store, "t")).turns
    assert (turn.messages, turn.status) == ([], "answered")
    assert turn.began <= (turn.ended or "")
