"""Threads from without: a question is asked once, paid for once, and its answer is there ever after."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import langgraph.checkpoint.base.id as ids
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from moa_graph.chat_model import MoAChatModel
from moa_graph.errors import (
    BudgetExceeded,
    MoAError,
    QuorumNotMet,
    SpecMismatch,
    StoreError,
    ThreadBusy,
    ThreadError,
)
from moa_graph.resources import Registered
from moa_graph.runs import stores
from moa_graph.runs.mixtures import Mixture
from moa_graph.runs.records import key_of, thread_of
from moa_graph.runs.stores import Store, open_store
from moa_graph.runs.threads import Runs
from moa_graph.spec.loading import load_spec
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel
from tests.runs.cast import THREE, TWO, Cast


def texts(messages: Any) -> list[tuple[str, str]]:
    return [(message.type, str(message.text)) for message in messages]


async def interrupt(cast: Cast, runs: Runs, thread: str = "t", **options: Any) -> None:
    """Begin a run, and cancel it when everybody that is held has been asked."""
    task = asyncio.ensure_future(_run(runs, thread, options))
    for name in list(cast.held):
        await cast.asked(name, cast.models[name].entered + 1)
    for _ in range(50):  # the others may finish and be committed
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    cast.held.clear()


async def _run(runs: Runs, thread: str, options: dict[str, Any]) -> Any:
    return await runs.start("Why?", thread=thread, **options)


# --- start ---


async def test_a_start_under_the_same_turn_returns_the_answer_and_calls_nobody(store: Store) -> None:
    cast = Cast(TWO)
    first = await cast.runs(store).start("Why?", thread="t", turn="1")
    before = cast.sent
    again = await cast.runs(store).start("Why?", thread="t", turn="1")
    assert (again.answer, again.calls, again.status) == (first.answer, first.calls, "answered")
    assert cast.since(before) == {}
    assert again == first


async def test_an_old_turn_is_returned_after_newer_ones(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    first = await runs.start("Why?", thread="t", turn="1")
    await runs.start("And then?", thread="t", turn="2")
    before = cast.sent
    assert (await runs.start("Why?", thread="t", turn="1")).answer == first.answer == "z1"
    assert (await runs.start("And then?", thread="t", turn="2")).answer == "z2"
    assert cast.since(before) == {}


async def test_a_start_under_an_unfinished_turn_goes_on_with_it(store: Store) -> None:
    cast = Cast(THREE, layer={"draft": {"quorum": 3}})
    cast.fail("b")
    with pytest.raises(QuorumNotMet):
        await cast.runs(store).start("Why?", thread="t", turn="1")
    cast.mend()
    before = cast.sent
    run = await cast.runs(store).start("Why?", thread="t", turn="1")
    assert run.status == "answered"
    assert cast.since(before) == {"b": 1, "z": 1}


async def test_a_turn_that_asked_something_else_is_refused(store: Store) -> None:
    cast = Cast(THREE)
    await cast.runs(store).start("Why?", thread="t", turn="1")
    before = cast.sent
    with pytest.raises(ThreadError, match="asked something else: 'Why\\?'"):
        await cast.runs(store).start("Why not?", thread="t", turn="1")
    assert cast.since(before) == {}


async def test_a_thread_without_a_name_gets_one(store: Store) -> None:
    runs = Cast(THREE).runs(store)
    one, two = await runs.start("Why?"), await runs.start("Why?")
    assert one.thread != two.thread
    assert {summary.thread for summary in await runs.threads()} == {one.thread, two.thread}


async def test_a_new_thread_needs_a_spec_and_something_to_answer(store: Store) -> None:
    with pytest.raises(MoAError, match="needs a spec"):
        await Runs(store, None, Registered()).start("Why?", thread="t")
    with pytest.raises(MoAError, match="nothing to answer"):
        Cast(THREE).runs(store).start([], thread="t")
    assert await store.keys() == []


async def test_the_callers_messages_are_left_as_they_are(store: Store) -> None:
    mine = [SystemMessage("Be brief.", id="mine"), HumanMessage("Why\x00?")]
    cast = Cast(THREE)
    await cast.runs(store).start(mine, thread="t")
    assert (mine[0].id, mine[1].id, mine[1].content) == ("mine", None, "Why\x00?")
    assert texts(cast.seen("a")) == [("system", "Be brief."), ("human", "Why\ufffd?")]


async def test_a_question_of_blocks_with_a_lone_surrogate_is_answered(store: Store) -> None:
    cast = Cast(THREE)
    blocks: Any = [{"type": "text", "text": "Why\ud800\x00?"}]
    run = await cast.runs(store).start([HumanMessage(blocks)], thread="t")
    assert run.status == "answered"
    assert (await cast.runs(store).status("t")).question == "Why\ufffd\ufffd?"


async def test_a_spec_without_layers_answers_in_a_thread(store: Store) -> None:
    cast = Cast({})
    runs = cast.runs(store)
    assert (await runs.start("Why?", thread="t", breakpoints="all")).next_layer == "aggregator"
    assert (await runs.step("t")).answer == "z1"
    assert (await runs.start("And?", thread="t")).answer == "z2"
    assert texts(cast.seen("z")) == [("human", "Why?"), ("ai", "z1"), ("human", "And?")]
    assert [point.event for point in await runs.history("t")] == [*(["question", "aggregator"] * 2)]
    fork = await runs.fork("t")
    assert (fork.status, fork.answer, fork.calls_left) == ("answered", "z2", 0)


# --- turns ---


async def test_a_second_turn_sees_the_conversation_but_not_the_old_proposals(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    await runs.start([("system", "Be brief."), ("user", "Why?")], thread="t")
    await runs.start("And then?", thread="t")
    said = [("system", "Be brief."), ("human", "Why?"), ("ai", "z1"), ("human", "And then?")]
    assert texts(cast.seen("a")) == said
    final = texts(cast.seen("z"))
    assert final[1:] == said[1:]
    assert final[0][1].endswith("\n1. c2\n2. d2")
    assert all(old not in final[0][1] for old in ("a1", "b1", "c1", "d1"))


async def test_old_proposals_stay_in_the_history(store: Store) -> None:
    runs = Cast(THREE).runs(store)
    await runs.start("Why?", thread="t")
    await runs.start("And then?", thread="t")
    history = await runs.history("t")
    assert [(point.question, point.event) for point in history] == [
        (question, event)
        for question in ("Why?", "And then?")
        for event in ("question", "draft", "aggregator")
    ]
    assert [point.number for point in history] == sorted(point.number for point in history)
    old = await runs.show("t", checkpoint=history[2].number)
    assert [record["text"] for record in old.proposals] == ["a1", "b1", "c1"]
    assert (old.answer, old.question) == ("z1", "Why?")
    new = await runs.show("t")
    assert [record["text"] for record in new.proposals] == ["a2", "b2", "c2"]


async def test_while_a_turn_is_unanswered_a_new_question_is_refused(store: Store) -> None:
    cast = Cast(THREE, layer={"draft": {"quorum": 3}})
    cast.fail("c")
    with pytest.raises(QuorumNotMet):
        await cast.runs(store).start("Why?", thread="t")
    before = cast.sent
    with pytest.raises(ThreadError, match="has no answer yet") as caught:
        await cast.runs(store).start("Another?", thread="t")
    assert "abandon" in caught.value.hint
    assert cast.since(before) == {}
    assert (await cast.runs(store).status("t")).question == "Why?"


async def test_an_abandoned_question_leaves_the_conversation(store: Store) -> None:
    cast = Cast(THREE, layer={"draft": {"quorum": 3}})
    runs = cast.runs(store)
    await runs.start("Hello?", thread="t")
    cast.fail("c")
    for question in ("Why?", "Why not?"):
        with pytest.raises(QuorumNotMet):
            await runs.start(question, thread="t", abandon=True)
    cast.mend()
    run = await runs.start("Another?", thread="t", abandon=True)
    assert texts(cast.seen("a")) == [("human", "Hello?"), ("ai", "z1"), ("human", "Another?")]
    assert (run.status, run.calls) == ("answered", 4)
    assert {"Why?", "Why not?"} <= {point.question for point in await runs.history("t")}


async def test_abandon_does_not_give_up_a_turn_that_is_answered_though_its_process_died(
    store: Store,
) -> None:
    cast = Cast(THREE)
    await cast.runs(store).start("Why?", thread="t", turn="1")
    record = await store.read("t")
    assert record is not None
    record["turns"][0] |= {"status": "running", "checkpoint": None}  # it died before it could note the end
    await store.write("t", record)
    assert (await cast.runs(store).status("t")).status == "answered"
    await cast.runs(store).start("And?", thread="t", turn="2", abandon=True)
    assert texts(cast.seen("a")) == [("human", "Why?"), ("ai", "z1"), ("human", "And?")]
    assert (await cast.runs(store).start("Why?", thread="t", turn="1")).answer == "z1"


# --- one at a time ---


async def test_a_thread_that_runs_is_busy_and_its_siblings_are_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "BUSY_PATIENCE", 0.01)
    cast = Cast(THREE)
    runs = cast.runs(store)
    cast.hold("b")
    first = asyncio.ensure_future(_run(runs, "t", {}))
    await cast.asked("b")
    for attempt in (
        lambda: runs.resume("t"),
        lambda: runs.start("Another?", thread="t"),
        lambda: runs.step("t"),
        lambda: runs.edit("t", "draft/a", text="x"),
        lambda: runs.approve("t"),
        lambda: runs.delete("t"),
    ):
        with pytest.raises(ThreadBusy, match="somebody else"):
            await attempt()
    assert (await runs.status("t")).status == "running"
    assert [summary.status for summary in await runs.threads()] == ["running"]
    waiting = asyncio.ensure_future(_resume(runs, wait=True))
    cast.release()
    assert (await first).answer == (await waiting).answer == "z1"
    assert cast.sent == {"a": 1, "b": 1, "c": 1, "z": 1}


async def _resume(runs: Runs, **options: Any) -> Any:
    return await runs.resume("t", **options)


async def test_fifty_threads_at_once(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    found = await asyncio.gather(*(_run(runs, f"t{number}", {}) for number in range(50)))
    assert {run.status for run in found} == {"answered"}
    assert len({run.answer for run in found}) == 50
    assert sum(cast.sent.values()) == 200
    assert len(await runs.threads()) == 50


# --- the spec ---


async def test_another_spec_is_refused_with_a_readable_difference_and_calls_nobody(store: Store) -> None:
    cast = Cast(THREE)
    await cast.runs(store).start("Why?", thread="t", breakpoints=["aggregator"])
    before = cast.sent
    other = cast.runs(store, cast.changed(lambda spec: spec["aggregator"].update(model="y")))
    for attempt in (
        lambda: other.resume("t"),
        lambda: other.step("t"),
        lambda: other.start("Why?", thread="t"),
        lambda: other.edit("t", "draft/a", text="x"),
        lambda: other.approve("t"),
    ):
        with pytest.raises(SpecMismatch) as caught:
            await attempt()
        lines = caught.value.difference.splitlines()
        assert [line.split() for line in lines if line[:1] in "+-" and line[1:2] == " "] == [
            ["-", "model:", "z"],
            ["+", "model:", "y"],
        ]
        assert "fork" in caught.value.hint
    assert cast.since(before) == {}
    assert (await other.status("t")).next_layer == "aggregator"  # looking is free
    assert len(await other.history("t")) == 2


async def test_without_a_spec_a_thread_goes_on_under_its_own(store: Store) -> None:
    cast = Cast(THREE)
    await cast.runs(store).start("Why?", thread="t", breakpoints=["aggregator"])
    assert (await Runs(store, None, Registered(cast.models)).resume("t")).answer == "z1"


# --- status ---


async def test_status_says_how_a_thread_stands(store: Store) -> None:
    cast = Cast(THREE, layer={"draft": {"quorum": 3}})
    runs = cast.runs(store)
    cast.hold("c")
    await interrupt(cast, runs)
    run = await runs.status("t")
    assert (run.status, run.reason, run.next_layer, run.calls_left) == (
        "interrupted",
        "cancelled",
        "draft",
        2,
    )
    assert [record["text"] for record in run.proposals] == ["a1", "b1"]
    cast.fail("c")
    with pytest.raises(QuorumNotMet):
        await runs.resume("t")
    run = await runs.status("t")
    assert run.status == "failed"
    assert run.reason.startswith("QuorumNotMet: layer draft: 2 of 3 proposals")
    assert [record["status"] for record in run.proposals] == ["ok", "ok", "failed"]
    cast.mend()
    assert (await runs.resume("t")).status == "answered"
    run = await runs.status("t")
    assert (run.status, run.reason, run.next_layer, run.calls_left) == ("answered", "", None, 0)


async def test_a_process_that_died_leaves_an_interrupted_thread(store: Store) -> None:
    cast = Cast(THREE)
    await cast.runs(store).start("Why?", thread="t", breakpoints=["aggregator"])
    record = await store.read("t")
    assert record is not None
    record["turns"][0]["status"] = "running"
    await store.write("t", record)
    run = await cast.runs(store).status("t")
    assert (run.status, run.reason) == ("interrupted", "its process ended without a word")
    [summary] = await cast.runs(store).threads()
    assert (summary.status, summary.reason) == (run.status, run.reason)
    assert (await cast.runs(store).resume("t")).calls == 4


async def test_a_record_without_checkpoints_begins_again(store: Store) -> None:
    """A process may die between its first note and LangGraph's first checkpoint."""
    cast = Cast(THREE)
    await cast.runs(store).start("Why?", thread="t")
    await store.saver().adelete_thread("t")
    record = await store.read("t")
    assert record is not None
    message = {"type": "human", "data": {"content": "Why?", "id": "x-0"}}
    record["turns"][0] |= {"status": "running", "checkpoint": None, "messages": [message]}
    await store.write("t", record)
    assert (await cast.runs(store).status("t")).status == "interrupted"
    assert await cast.runs(store).history("t") == []
    with pytest.raises(ThreadError, match="has not begun"):
        await cast.runs(store).fork("t")
    assert (await cast.runs(store).resume("t")).answer == "z2"


async def test_an_unknown_thread_is_refused_with_a_hint(store: Store) -> None:
    runs = Cast(THREE).runs(store)
    for attempt in (
        lambda: runs.resume("t"),
        lambda: runs.status("t"),
        lambda: runs.history("t"),
        lambda: runs.show("t"),
        lambda: runs.prompt("t", "draft/a"),
        lambda: runs.edit("t", "draft/a", drop=True),
        lambda: runs.approve("t"),
        lambda: runs.fork("t"),
        lambda: runs.delete("t"),
    ):
        with pytest.raises(ThreadError, match="there is no thread 't'") as caught:
            await attempt()
        assert "moa threads" in caught.value.hint
    assert await store.keys() == []


# --- stopping and going on ---


async def test_a_run_stops_before_the_chosen_steps(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    run = await runs.start("Why?", thread="t", breakpoints=["refine"])
    assert (run.status, run.reason, run.next_layer, run.calls_left) == (
        "interrupted",
        "before refine",
        "refine",
        3,
    )
    run = await runs.resume("t", breakpoints="aggregator")
    assert (run.reason, run.calls_left) == ("before aggregator", 1)
    assert (await runs.resume("t", breakpoints=("aggregator",))).status == "answered"
    assert cast.sent == dict.fromkeys("abcdz", 1)


async def test_an_unknown_step_is_refused_before_anything_is_written(store: Store) -> None:
    cast = Cast(TWO)
    with pytest.raises(MoAError, match="no step 'refin'") as caught:
        await cast.runs(store).start("Why?", thread="t", breakpoints=["refin"])
    assert "draft, refine, aggregator" in caught.value.hint
    assert await store.keys() == []
    assert cast.sent == {}


async def test_step_by_step_to_the_answer(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    stops = [await runs.start("Why?", thread="t", breakpoints="all")]
    for _ in range(3):
        stops.append(await cast.runs(store).step("t"))  # noqa: PERF401 -- one after the other
    assert [run.next_layer for run in stops] == ["draft", "refine", "aggregator", None]
    assert [run.calls for run in stops] == [0, 2, 4, 5]
    assert [run.calls_left for run in stops] == [5, 3, 1, 0]
    before = cast.sent
    assert (await runs.step("t")).answer == "z1"
    assert cast.since(before) == {}


async def test_a_step_after_a_crash_in_a_layer_runs_that_layer_only(store: Store) -> None:
    cast = Cast(TWO)
    cast.hold("b")
    await interrupt(cast, cast.runs(store))
    before = cast.sent
    assert (await cast.runs(store).step("t")).reason == "before refine"
    assert cast.since(before) == {"b": 1}


async def test_what_failed_is_tried_again_and_what_finished_is_not(store: Store) -> None:
    cast = Cast(TWO, layer={"refine": {"quorum": 2}})
    cast.fail("d")
    with pytest.raises(QuorumNotMet):
        await cast.runs(store).start("Why?", thread="t")
    cast.mend()
    before = cast.sent
    run = await cast.runs(store).resume("t")
    assert cast.since(before) == {"d": 1, "z": 1}
    assert run.calls == 6


async def test_usage_cost_and_seconds_add_up_over_resumes(store: Store) -> None:
    price = {"price": {"input": 1e6, "output": 1e6}}  # a dollar a token
    cast = Cast(TWO, layer={"refine": {"quorum": 2}}, slot=price, defaults={"attempts": 1})
    cast.fail("d", ValueError("not a text that can be read"))
    stops = []
    for _ in range(2):
        with pytest.raises(QuorumNotMet) as caught:
            await cast.runs(store).start("Why?", thread="t", turn="1")
        stops.append(await cast.runs(store).status("t"))
        assert (stops[-1].calls, stops[-1].cost) == (caught.value.calls, caught.value.cost)
    cast.mend()
    run = await cast.runs(store).resume("t")
    assert [stop.calls for stop in stops] == [4, 5]
    assert run.calls == sum(cast.sent.values()) == 7
    tokens = run.usage["input_tokens"] + run.usage["output_tokens"]
    assert run.cost == tokens
    assert 0 < stops[0].seconds < stops[1].seconds < run.seconds
    assert await cast.runs(store).status("t") == run


async def test_spending_on_failures_counts_against_the_limits_after_a_resume(store: Store) -> None:
    cast = Cast(THREE, layer={"draft": {"quorum": 3}}, limits={"max_calls": 5}, defaults={"attempts": 1})
    cast.fail("c")
    for _ in range(3):
        with pytest.raises(QuorumNotMet):
            await cast.runs(store).start("Why?", thread="t", turn="1")
    with pytest.raises(BudgetExceeded) as caught:
        await cast.runs(store).resume("t")
    assert cast.sent == {"a": 1, "b": 1, "c": 3}
    assert caught.value.calls == (await cast.runs(store).status("t")).calls == 5


# --- ids ---


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(thread=st.text(st.characters(exclude_categories=()), min_size=1, max_size=255))
async def test_any_text_is_a_threads_id(tmp_path: Path, thread: str) -> None:
    cast = Cast({})
    async with open_store(f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db") as store:
        runs = cast.runs(store)
        if not thread.strip():
            with pytest.raises(ThreadError, match="cannot be a thread's id"):
                await runs.start("Why?", thread=thread)
            return
        await runs.start("Why?", thread=thread, turn=thread, breakpoints="all")
        assert (await cast.runs(store).resume(thread)).answer == "z1"
        assert [summary.thread for summary in await runs.threads()] == [thread]
        assert len(await runs.history(thread)) == 2
        assert thread_of(key_of(thread)) == thread
        assert "\x00" not in key_of(thread)
        assert key_of(thread).encode()
        await runs.delete(thread)
        assert await store.keys() == []


@pytest.mark.parametrize(
    "thread", ["\u00e9" * 255, "\ud800" * 255, "a/../b'\";--\x00\n\u2028😀%00", " x", "x "]
)
async def test_odd_ids_name_different_threads(store: Store, thread: str) -> None:
    runs = Cast({}).runs(store)
    await runs.start("Why?", thread=thread)
    assert (await runs.fork(thread, to="fork")).thread == "fork"
    for other in (thread.strip() + "x"[: len(thread) < 255], thread.replace("%", "%25")[:255]):
        if other != thread:
            with pytest.raises(ThreadError, match="there is no thread"):
                await runs.status(other)


@pytest.mark.parametrize("thread", ["", "   ", "\n\t", "x" * 256])
async def test_a_blank_or_overlong_id_is_refused(store: Store, thread: str) -> None:
    runs = Cast({}).runs(store)
    with pytest.raises(ThreadError, match="cannot be a thread's id") as caught:
        await runs.start("Why?", thread=thread)
    assert "255" in caught.value.hint
    with pytest.raises(ThreadError, match="cannot be a thread's id"):
        await runs.status(thread)


# --- what others did ---


async def test_checkpoints_of_another_program_are_left_alone(store: Store) -> None:
    cast = Cast(THREE)
    config: Any = {"configurable": {"thread_id": "t"}}
    compiled = Mixture(cast.spec, Registered(cast.models)).graph(store)
    await compiled.ainvoke({"messages": [("user", "Mine.")]}, config)
    before, there = cast.sent, await compiled.aget_state(config)
    with pytest.raises(ThreadError, match="did not write"):
        await cast.runs(store).start("Why?", thread="t")
    await cast.runs(store).start("Why?", thread="other")
    before = cast.sent
    with pytest.raises(ThreadError, match="did not write"):
        await cast.runs(store).fork("other", to="t")
    assert cast.since(before) == {}
    assert await compiled.aget_state(config) == there
    assert await store.keys() == ["other"]


# --- time ---


def set_back(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the system's clock back, as a new process would see it."""
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(ids, "_last_v6_timestamp", None)
    monkeypatch.setattr(time, "time", lambda: real() - seconds)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() - int(seconds * 1e9))


async def test_a_clock_that_was_set_back_is_refused_and_a_fork_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", breakpoints=["refine"])
    await runs.start("Why?", thread="done")
    before = cast.sent
    set_back(monkeypatch, 3600)
    for attempt in (
        lambda: runs.resume("t"),
        lambda: runs.edit("t", "draft/a", text="x"),
        lambda: runs.start("And?", thread="done"),
    ):
        with pytest.raises(StoreError, match=r"the clock is 3\d\d\d s behind"):
            await attempt()
    assert cast.since(before) == {}
    assert (await runs.resume("done")).answer == "z1"
    await runs.fork("t", to="fork")
    run = await runs.resume("fork")
    assert (run.answer, cast.since(before)) == ("z2", {"c": 1, "d": 1, "z": 1})
    assert (await runs.status("fork")).answer == "z2"
    assert [point.event for point in await runs.history("fork")] == ["fork", "refine", "aggregator"]


async def test_a_clock_that_is_a_moment_behind_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast = Cast(TWO)
    await cast.runs(store).start("Why?", thread="t", breakpoints=["refine"])
    set_back(monkeypatch, 0.2)
    assert (await cast.runs(store).resume("t")).answer == "z1"
    assert cast.sent == dict.fromkeys("abcdz", 1)


# --- lists ---


async def test_threads_are_listed_the_last_used_first(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Old?", thread="a")
    await asyncio.sleep(0.002)
    await runs.start("Why?" * 100, thread="b", breakpoints=["aggregator"])
    await asyncio.sleep(0.002)
    await runs.fork("b")
    listed = await runs.threads()
    assert [(one.thread, one.status, one.turns, one.forked_from) for one in listed] == [
        ("b~1", "interrupted", 1, "b"),
        ("b", "interrupted", 1, None),
        ("a", "answered", 1, None),
    ]
    assert len(listed[1].question) == 200
    assert all(one.created <= one.updated for one in listed)


async def test_a_deleted_thread_is_gone_and_its_fork_stays(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    await runs.fork("t", before="aggregator")
    await runs.delete("t")
    assert [one.thread for one in await runs.threads()] == ["t~1"]
    assert [item async for item in store.saver().alist({"configurable": {"thread_id": "t"}})] == []
    with pytest.raises(ThreadError):
        await runs.status("t")
    assert (await runs.resume("t~1")).answer == "z2"
    assert (await runs.start("Why?", thread="t")).answer == "z3"


async def test_an_answer_is_an_ai_message_in_the_conversation(store: Store) -> None:
    cast = Cast(THREE)
    await cast.runs(store).start("Why?", thread="t")
    await cast.runs(store).start("And?", thread="t")
    assert isinstance(cast.seen("a")[1], AIMessage)


async def test_open_keeps_threads_in_a_file(tmp_path: Path) -> None:
    cast = Cast(THREE)
    url = f"sqlite:///{tmp_path}/kept.db"
    async with Runs.open(url, cast.spec, models=cast.models) as runs:
        await runs.start("Why?", thread="t", breakpoints=["aggregator"])
    async with Runs.open(url, models=cast.models) as runs:
        assert (await runs.resume("t")).answer == "z1"
    assert cast.sent == dict.fromkeys("abcz", 1)


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


async def test_a_conversation_that_ends_with_a_tools_result_is_a_turn_like_any_other() -> None:
    slots = {name: {"model": f"host:{name}"} for name in ("d", "a")}
    spec = {
        "moa": 1,
        "name": "p",
        "models": slots,
        "layers": [{"name": "draft", "proposers": [{"model": "d", "samples": 2}]}],
        "aggregator": {"model": "a"},
    }
    models = {"d": ScriptedChatModel(), "a": ActingChatModel()}
    panel = MoAChatModel(spec, models=models)
    calling = await panel.bind_tools([weather]).ainvoke("Oslo")
    result = ToolMessage("Rain.", tool_call_id=calling.tool_calls[0]["id"], name="weather")

    async with Runs.open("memory:", load_spec(spec), models=models) as runs:
        run = await runs.start([HumanMessage("Oslo"), calling, result], thread="t")

        assert (run.status, run.calls) == ("answered", 3)
        assert (await runs.status("t")).answer == run.answer == "Done: Rain."
        assert [step.event for step in await runs.history("t")] == ["question", "draft", "aggregator"]
