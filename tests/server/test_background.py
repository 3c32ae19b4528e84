"""What holds of background turns wherever they are kept: in a file, or in PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from moa_graph.errors import StoreError, ThreadBusy
from moa_graph.server import asking
from moa_graph.server.app import make_app
from moa_graph.server.asking import Served
from moa_graph.server.background import jobs
from moa_graph.server.keys import Key, KeyLimits, add_key, list_keys, revoke_key
from moa_graph.server.performing import Ask
from moa_graph.terms import Terms
from tests.runs.cast import TWO, Cast
from tests.server.asgi import Reply, ask
from tests.server.backstage import THREAD, TURN, Backstage, at_last, made, standing, submit

ONCE = dict.fromkeys("abcdz", 1)
PRICED = {"price": {"input": 1.0, "output": 1.0}, "max_tokens": 1000}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Backstage:
    """Give a stage on each kind of store."""
    is_file = request.param == "sqlite"
    return Backstage(f"sqlite:///{tmp_path}/moa.db" if is_file else request.getfixturevalue("database"))


@pytest.fixture
def put_off(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Tell that a turn is to wait for a while, which is a short one."""
    told, after = asyncio.Event(), jobs._after

    async def noted(*given: Any) -> float | None:
        pause = await after(*given)
        if pause is not None:
            told.set()
        return pause

    monkeypatch.setattr(jobs, "_after", noted)
    monkeypatch.setattr(jobs, "LONGEST", 0.05)
    return told


def owner(limits: KeyLimits) -> Key:
    """Return who asks a server that knows no keys."""
    return Key("local", "local", limits)


async def most(stage: Backstage) -> float:
    """Return USD that a turn may cost."""
    async with stage.idle() as served:
        bound = await served.performer.most(Ask("cast", [HumanMessage("Why?")], Terms()))
    assert bound
    return bound


async def ask_in_the_background(served: Served) -> Reply:
    """Ask over HTTP for a response that nobody waits for."""
    body = json.dumps({"model": "cast", "input": "Why?", "background": True}).encode()
    headers = {"host": "localhost", "content-type": "application/json"}
    return await ask(make_app(served, lambda _: None), "POST", "/v1/responses", headers=headers, body=[body])


async def test_a_turn_is_answered_though_nobody_waits_for_it(stage: Backstage) -> None:
    async with stage.server() as served:
        await submit(served)
        run = await at_last(served, "answered")
    assert (run.answer, run.calls) == ("z1", 5)


async def test_a_turn_that_is_submitted_twice_runs_once(stage: Backstage) -> None:
    stage.cast.hold("a")
    async with stage.server() as served:
        await submit(served)
        await stage.cast.asked("a")
        await served.background.submit("cast", THREAD, TURN, "local")
        stage.cast.release()
        await at_last(served, "answered")
        await served.background.submit("cast", THREAD, TURN, "local")
        await submit(served, "local/resp/b")
        await at_last(served, "answered", "local/resp/b")
    assert dict(stage.cast.sent) == dict.fromkeys("abcdz", 2)


async def test_the_next_server_goes_on_with_what_this_one_was_in_the_middle_of(stage: Backstage) -> None:
    stage.cast.hold("d")
    async with stage.server() as served:
        await submit(served)
        await stage.cast.asked("d")
        await made(served, "refine/c")
    stage.cast.release()
    async with stage.server() as served:
        run = await at_last(served, "answered")
    assert run.answer == "z1"
    assert dict(stage.cast.sent) == ONCE


async def test_a_turn_that_a_server_interrupted_at_its_end_waits_for_the_next(stage: Backstage) -> None:
    stage.cast.hold("a")
    async with stage.server() as served:
        await submit(served)
        await stage.cast.asked("a")
        await served.background.drain()
        run = await standing(served)
        assert (run.status, run.reason) == ("interrupted", "queued")


async def test_a_server_that_ends_waits_for_turns_under_way_and_begins_no_others(stage: Backstage) -> None:
    stage.cast.hold("a")
    async with stage.server(drain=30.0, background=1) as served:
        await submit(served)
        await stage.cast.asked("a")
        await submit(served, "local/resp/b")
        draining = asyncio.create_task(served.background.drain())
        await asyncio.sleep(0)
        stage.cast.release()
        await draining
        assert (await standing(served)).status == "answered"
        assert (await standing(served, "local/resp/b")).reason == "queued"
        await served.background.drain()  # a second time, which is nothing


async def test_a_turn_that_is_cancelled_under_way_ends_for_good(stage: Backstage) -> None:
    stage.cast.hold("a")
    async with stage.server() as served:
        await submit(served)
        await stage.cast.asked("a")
        assert await served.background.cancel(THREAD, TURN)
        run = await standing(served)
        assert (run.status, run.reason, run.notes["cancelled"]) == ("interrupted", "cancelled", True)
        assert stage.cast.models["a"].cancelled == 1
        assert await served.background.cancel(THREAD, TURN), "which it is already"
    async with stage.server() as served:
        await submit(served, "local/resp/b")
        await served.background.submit("cast", THREAD, TURN, "local")
        stage.cast.release()
        await at_last(served, "answered", "local/resp/b")
        await served.background.drain()
        assert (await standing(served)).reason == "cancelled"


async def test_a_turn_that_is_cancelled_while_it_waits_never_begins(stage: Backstage) -> None:
    stage.cast.hold("a")
    async with stage.server(background=1, drain=30.0) as served:
        await submit(served)
        await stage.cast.asked("a")
        await submit(served, "local/resp/b")
        assert await served.background.cancel("local/resp/b", TURN)
        stage.cast.release()
        await at_last(served, "answered")
        await served.background.drain()
        assert (await standing(served, "local/resp/b")).reason == "cancelled"
    assert dict(stage.cast.sent) == ONCE


async def test_what_is_answered_or_unknown_cannot_be_cancelled(stage: Backstage) -> None:
    async with stage.server() as served:
        await submit(served)
        await at_last(served, "answered")
        assert not await served.background.cancel(THREAD, TURN)
        assert not await served.background.cancel("local/resp/nobody", TURN)
        assert (await standing(served)).status == "answered"


async def test_whoever_does_not_let_go_in_time_is_told_of(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.05)
    stage.cast.hold("a")
    async with stage.idle() as served:
        runs = served.performer.runs("cast")
        other = asyncio.ensure_future(_awaited(runs.start("Why?", thread=THREAD, turn=TURN)))
        await stage.cast.asked("a")
        with pytest.raises(ThreadBusy, match="still being run"):
            await served.background.cancel(THREAD, TURN)
        stage.cast.release()
        await other


async def test_a_run_that_fails_has_failed_and_is_not_tried_for_ever(stage: Backstage) -> None:
    stage.cast.fail("z")
    async with stage.server() as served:
        await submit(served)
        run = await at_last(served, "failed")
        assert run.reason.startswith("AggregatorFailed: ")
        asked = stage.cast.sent
    stage.cast.mend()
    async with stage.server() as served:
        await served.background.submit("cast", THREAD, TURN, "local")
        await submit(served, "local/resp/b")
        await at_last(served, "answered", "local/resp/b")
        assert (await standing(served)).status == "failed"
    assert stage.cast.since(asked) == ONCE


async def test_a_turn_whose_key_runs_too_much_at_once_waits(stage: Backstage, put_off: asyncio.Event) -> None:
    stage.cast.hold("a")
    async with stage.server(limits=KeyLimits(concurrent_runs=1)) as served:
        await submit(served)
        await stage.cast.asked("a")
        await submit(served, "local/resp/b")
        await asyncio.wait_for(put_off.wait(), 10)
        assert stage.cast.models["a"].entered == 1
        stage.cast.release()
        await at_last(served, "answered")
        await at_last(served, "answered", "local/resp/b")
    assert dict(stage.cast.sent) == dict.fromkeys("abcdz", 2)


async def test_a_turn_counts_once_among_the_requests_and_costs_its_key_what_it_cost(
    stage: Backstage, put_off: asyncio.Event
) -> None:
    stage.cast = Cast(TWO, slot=PRICED)
    limits = KeyLimits(cost_per_day=1.5 * await most(stage), requests_per_minute=1)
    async with stage.server(limits=limits, drain=30.0) as served:
        reply = await ask_in_the_background(served)
        assert reply.status == 200, reply.body
        _, thread, turn = json.loads(reply.body)["id"].split("_")
        run = await at_last(served, "answered", f"local/resp/{thread}", turn)
        await served.background.drain()
        await served.limiter.close()
        async with served.limiter.admitted(owner(limits), 0.0, request=False) as admission:
            assert run.cost is not None
            assert run.cost > 0
            assert admission.left == pytest.approx(limits.cost_per_day - run.cost)
    assert not put_off.is_set()


async def test_a_turn_for_which_the_day_has_too_little_left_is_refused_and_not_noted(
    stage: Backstage,
) -> None:
    stage.cast = Cast(TWO, slot=PRICED)
    async with stage.server(limits=KeyLimits(cost_per_day=0.5 * await most(stage))) as served:
        reply = await ask_in_the_background(served)
        assert (reply.status, reply.error["code"]) == (429, "insufficient_quota")
        assert await served.performer.store.keys() == []


async def test_a_turn_whose_keys_day_is_used_up_is_tried_again_before_the_next(
    stage: Backstage, put_off: asyncio.Event
) -> None:
    stage.cast = Cast(TWO, slot=PRICED)
    limits = KeyLimits(cost_per_day=1.0)
    async with stage.server(limits=limits) as served:
        async with served.limiter.admitted(owner(limits), 1.0) as all_of_it:
            await submit(served)
            await asyncio.wait_for(put_off.wait(), 10)
            assert not stage.cast.sent
            all_of_it.settle(0.0)
        await at_last(served, "answered")


async def test_a_turn_of_a_key_that_was_revoked_fails(stage: Backstage, tmp_path: Path) -> None:
    ring = tmp_path / "keys.json"
    add_key(ring, "alice", KeyLimits())
    alice = list_keys(ring)[0].id
    async with stage.server(keys=ring) as served:
        await submit(served, f"{alice}/resp/a", owner=alice)
        await at_last(served, "answered", f"{alice}/resp/a")
        revoke_key(ring, "alice")
        await submit(served, f"{alice}/resp/b", owner=alice)
        run = await at_last(served, "failed", f"{alice}/resp/b")
    assert run.reason == "Refused: the key that asked for it was revoked"


async def test_a_turn_of_a_spec_that_was_changed_fails_and_says_so(stage: Backstage) -> None:
    async with stage.idle() as served:
        await submit(served)
    changed = stage.cast.changed(lambda document: document["layers"].pop())
    async with stage.server(changed) as served:
        await served.background.submit("cast", THREAD, TURN, "local")
        run = await at_last(served, "failed")
    assert run.reason.startswith("SpecMismatch: ")
    assert not stage.cast.sent


async def test_a_turn_that_was_given_up_is_not_run(stage: Backstage) -> None:
    async with stage.idle() as served:
        await submit(served)
        await served.performer.runs("cast").start("Else?", thread=THREAD, turn="t2", abandon=True)
    asked = stage.cast.sent
    async with stage.server() as served:
        await served.background.submit("cast", THREAD, TURN, "local")
        await submit(served, "local/resp/b")
        await at_last(served, "answered", "local/resp/b")
    assert stage.cast.since(asked) == ONCE


async def test_a_fault_of_the_server_ends_a_turn_and_stands_in_the_log(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("s3cret")

    monkeypatch.setattr(asking, "parts_of", broken)
    async with stage.server() as served:
        await submit(served)
        run = await at_last(served, "failed")
    assert run.reason == "ZeroDivisionError: the server failed; the error is in its log"
    assert any("ZeroDivisionError" in (record.exc_text or "") for record in caplog.records)


async def test_a_turn_waits_while_the_store_is_away(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SOON", 0.02)
    tried, parts_of = [], asking.parts_of

    def away(*given: Any) -> Any:
        tried.append(given)
        if len(tried) == 1:
            raise StoreError("away")
        return parts_of(*given)

    monkeypatch.setattr(asking, "parts_of", away)
    async with stage.server() as served:
        await submit(served)
        await at_last(served, "answered")
    assert len(tried) == 2


async def test_a_fault_is_noted_once_the_store_is_back(
    stage: Backstage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SOON", 0.02)
    noted, note_ = [], jobs._note

    async def away(*given: Any) -> bool:
        noted.append(given)
        if len(noted) == 1:
            raise StoreError("away")
        return await note_(*given)

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(asking, "parts_of", broken)
    monkeypatch.setattr(jobs, "_note", away)
    async with stage.server() as served:
        await submit(served)
        await at_last(served, "failed")
    assert len(noted) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7.0), ({"Retry-After": "0"}, 1.0), ({}, 1.0), ({"Retry-After": "soon"}, 1.0)],
)
def test_a_refusal_says_when_to_come_back(headers: dict[str, str], seconds: float) -> None:
    assert jobs._seconds(headers) == seconds


async def _awaited(running: Any) -> Any:
    return await running
