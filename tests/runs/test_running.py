"""A run under way: awaited, or followed event by event."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from langgraph.types import interrupt as ask_a_person

from moa_graph.errors import MoAError, QuorumNotMet, ThreadError
from moa_graph.runs.stores import Store
from tests.runs.cast import THREE, TWO, Cast


def told(events: list[Any]) -> list[str]:
    return [event.get("id") or event.get("layer") or event["type"] for event in events]


async def test_events_come_in_order(store: Store) -> None:
    cast = Cast({"draft": "a", "refine": "c"})
    running = cast.runs(store).start("Why?", thread="t")
    events = [event async for event in running]
    assert [event["type"] for event in events] == [
        "run.started",
        *(["layer.started", "call.started", "call.finished", "layer.joined"] * 2),
        "call.started",
        "call.finished",
        "run.finished",
    ]
    assert running.result is not None
    assert running.result.answer == "z1"
    assert events[-1]["calls"] == running.result.calls == 3  # type: ignore[typeddict-item]


async def test_tokens_come_only_where_they_are_asked_for(store: Store) -> None:
    cast = Cast({"draft": "a"})
    cast.models["z"].script = ["one two three"]
    quiet = [event async for event in cast.runs(store).start("Why?", thread="quiet")]
    assert "call.streamed" not in {event["type"] for event in quiet}
    running = cast.runs(store).start("Why?", thread="loud")
    events = [event async for event in running.events(tokens=True)]
    pieces: list[Any] = [event for event in events if event["type"] == "call.streamed"]
    assert [piece["text"] for piece in pieces if piece["id"] == "aggregator/z"] == ["one", " two", " three"]
    assert {(piece["id"], piece["role"]) for piece in pieces} == {
        ("draft/a", "proposer"),
        ("aggregator/z", "aggregator"),
    }
    assert running.result is not None
    assert running.result.answer == "one two three"


async def test_what_is_reported_finished_is_committed(store: Store) -> None:
    cast = Cast(THREE)
    cast.hold("c")
    running = cast.runs(store).start("Why?", thread="t")
    seen = []
    async for event in running:
        if event["type"] == "call.finished":
            seen.append(event["id"])
            kept = (await cast.runs(store).status("t")).proposals
            assert set(seen) <= {record["id"] for record in kept if record["status"] == "ok"} or not cast.held
            if len(seen) == 2:
                cast.release()
    assert running.result is not None


async def test_leaving_the_loop_interrupts_and_keeps(store: Store) -> None:
    cast = Cast(THREE)
    cast.hold("c")
    running = cast.runs(store).start("Why?", thread="t")
    events = running.events()
    finished = 0
    async for event in events:
        finished += event["type"] == "call.finished"
        if finished == 2:
            break
    await events.aclose()  # type: ignore[attr-defined]
    run = await cast.runs(store).status("t")
    assert (run.status, run.reason, run.calls_left) == ("interrupted", "cancelled", 2)
    assert running.result is None
    cast.release()
    assert (await cast.runs(store).resume("t")).answer == "z1"
    assert cast.sent == {"a": 1, "b": 1, "c": 1, "z": 1}


async def test_a_plain_break_ends_the_run_as_well(store: Store) -> None:
    cast = Cast(THREE)
    cast.hold("abc")
    runs = cast.runs(store)
    async for _ in runs.start("Why?", thread="t"):
        break
    cast.release()
    run = await runs.resume("t", wait=True)
    assert (run.status, run.calls) == ("answered", 4)


async def test_a_run_is_awaited_or_followed_once(store: Store) -> None:
    cast = Cast(THREE)
    running = cast.runs(store).start("Why?", thread="t")
    assert running.result is None
    run = await running
    assert running.result is run
    with pytest.raises(RuntimeError, match="once; resume"):
        await running
    with pytest.raises(RuntimeError, match="once"):
        _ = [event async for event in running]
    assert cast.sent == {"a": 1, "b": 1, "c": 1, "z": 1}


async def test_a_run_that_was_not_begun_does_nothing(store: Store) -> None:
    cast = Cast(THREE)
    cast.runs(store).start("Why?", thread="t")
    assert await store.keys() == []


async def test_followers_get_the_runs_error(store: Store) -> None:
    cast = Cast(THREE, layer={"draft": {"quorum": 3}})
    cast.fail("b")
    events: list[Any] = []

    async def follow() -> None:
        async for event in cast.runs(store).start("Why?", thread="t"):
            events.append(event)  # noqa: PERF401 -- it ends with an error

    with pytest.raises(QuorumNotMet):
        await follow()
    assert events[-1]["type"] == "run.finished"
    assert events[-1]["status"] == "failed"
    with pytest.raises(ThreadError):
        async for _ in cast.runs(store).resume("unknown"):
            pass


async def test_an_error_that_comes_while_a_follower_leaves_is_not_logged(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "asyncio")
    cast = Cast(THREE, layer={"draft": {"quorum": 3}})
    cast.fail("abc")
    events = cast.runs(store).start("Why?", thread="t").events()
    async for event in events:
        if event["type"] == "call.failed":
            await asyncio.sleep(0.05)  # the run ends meanwhile, and nobody takes its error
            break
    await events.aclose()  # type: ignore[attr-defined]
    del events
    gc.collect()
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_an_answered_thread_tells_no_events(store: Store) -> None:
    cast = Cast(THREE)
    await cast.runs(store).start("Why?", thread="t")
    running = cast.runs(store).resume("t")
    assert [event async for event in running] == []
    assert running.result is not None
    assert running.result.answer == "z1"


async def test_a_model_that_asks_a_person_ends_the_run_and_its_siblings_are_kept(store: Store) -> None:
    cast = Cast(TWO)
    asking = True

    def reply(_: Any) -> str:
        if asking:
            ask_a_person("May I?")
        return "b1"

    cast.models["b"].script = [reply]
    with pytest.raises(MoAError, match="asks for a person"):
        await cast.runs(store).start("Why?", thread="t")
    run = await cast.runs(store).status("t")
    assert (run.status, run.next_layer) == ("failed", "draft")
    assert [record["id"] for record in run.proposals] == ["draft/a"]
    asking = False
    done = await cast.runs(store).resume("t")
    assert done.status == "answered"
    assert cast.sent == {"a": 1, "b": 2, "c": 1, "d": 1, "z": 1}
