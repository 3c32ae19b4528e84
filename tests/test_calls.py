"""Calls of a node as tasks: all are awaited, all are reported, none is paid for twice."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from moa_graph.calls import ask_all
from moa_graph.chat_model import MoAChatModel
from moa_graph.errors import AggregatorFailed
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.panels import Panel, draft, too_long

SUMMARIES = {"payload": "summary", "summarizer": "s"}


async def test_an_interrupt_inside_one_of_several_leaves_the_others_reported_and_paid_once() -> None:
    def ask(messages: Any) -> str:
        return str(interrupt("May I?")) if "\nA\n" in messages[-1].text else "Short."

    panel = Panel(aggregator={"model": "z", "references": SUMMARIES}, s=ask)
    compiled = panel.graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    question: Any = {"messages": [("user", "Why?")]}
    events = [event async for event in compiled.astream(question, config, stream_mode="custom")]
    ended = [event["id"] for event in events if event["type"] == "call.finished"]
    assert {"aggregator/@summary:draft:b", "aggregator/@summary:draft:c"} <= set(ended)
    state = await compiled.ainvoke(Command(resume="Yes."), config)
    assert state["messages"][-1].text == "The answer."
    assert state["proposals"]["aggregator/@summary:draft:a"]["text"] == "Yes."
    assert panel.count("s") == 2 + 2  # the one that asked twice, and the two others once


async def test_who_was_asked_about_other_proposals_before_is_asked_again() -> None:
    layers = [draft(), {"name": "deep", "proposers": ["b"], "residual": {"model": "d"}}]
    panel = Panel(layers, d=Model("One.", "Two."), z=Model(ValueError("down"), "The answer."))
    graph = panel.graph.compile()
    state: Any = None
    with pytest.raises(AggregatorFailed) as raised:
        await graph.ainvoke({"messages": [("user", "Why?")]})
    records = {
        record["id"]: dict(record) for record in raised.value.proposals if record["layer"] != "aggregator"
    }
    kept = {"message": "q", "proposals": records}
    state = await graph.ainvoke(
        {"messages": [{"role": "user", "content": "Why?", "id": "q"}], "moa_kept": kept}
    )
    assert state["proposals"]["deep/@residual"]["text"] == "One."
    records["deep/@residual"]["references"] = ["draft/a", "deep/b"]
    state = await graph.ainvoke(
        {"messages": [{"role": "user", "content": "Why?", "id": "q"}], "moa_kept": kept}
    )
    assert state["proposals"]["deep/@residual"]["text"] == "Two."


async def test_a_chat_model_asked_again_counts_what_others_said_of_proposals_once() -> None:
    panel = Panel(
        [draft(select={"by": "rank", "model": "r", "keep": 1}), {"name": "deep", "proposers": ["a"]}],
        r="Hm.",
        a=Model("A", ValueError("down"), "A2"),
    )
    chat = MoAChatModel(panel.spec, models=panel.models)
    with pytest.raises(Exception, match="layer deep: 0 of 1 proposals"):
        await chat.ainvoke("Why?")
    answer = await chat.ainvoke("Why?")
    summary = answer.response_metadata["moa"]
    assert (panel.count("r"), summary["calls"]) == (1, 3 + 1 + 2 + 1)
    assert summary["warnings"][0].startswith("draft/@ranker failed: malformed")


# -- in time -------------------------------------------------------------------------------------------------


def hanging() -> Model:
    return Model(wait=asyncio.Event().wait)


@pytest.mark.parametrize("limits", [{}, {"max_calls": 3}])
async def test_whose_turn_comes_after_the_deadline_is_not_asked_and_takes_nothing(limits: Any) -> None:
    late = {"model": "c", "samples": 3}
    layer = draft(concurrency=1, deadline=0.1, proposers=["a", "b", late])
    panel = Panel([layer], b=hanging(), parts={"limits": limits})
    outcome = await panel.run()
    records = [outcome.proposals[f"draft/c-{number}"] for number in (1, 2, 3)]
    assert [(each["status"], each["attempts"], each["usage"]) for each in records] == [
        ("failed", 0, None)
    ] * 3
    assert records[0]["failure"]["message"] == "the deadline passed before it was asked"
    assert (panel.count("c"), outcome.summary["calls"]) == (0, 3)


async def test_after_the_runs_deadline_a_whole_layer_costs_nothing() -> None:
    priced = {"max_tokens": 100, "price": {"input": 0, "output": 10}}
    panel = Panel(
        [draft(proposers=["a"]), {"name": "wide", "proposers": [{"model": "c", "samples": 20}]}],
        slots=dict.fromkeys("abcjz", priced),
        parts={"limits": {"deadline": 0.2}, "stop": {"by": "judge", "model": "j"}},
        j=hanging(),
    )
    error = await panel.fail()
    assert (error.calls, panel.count("c")) == (2, 0)
    assert error.cost is not None
    assert error.cost < 2 * 100 * 10 / 1e6


async def test_a_call_that_has_waited_for_its_place_until_the_deadline_is_not_booked() -> None:
    alone = {"model": "z", "references": {"from": "none"}}
    panel = Panel([draft(deadline=0.1, quorum=0)], alone, a=hanging(), z="End.")
    panel.spec["limits"] = {"max_concurrency": 1}
    outcome = await panel.run()
    assert (outcome.answer, outcome.summary["calls"], panel.count("b")) == ("End.", 2, 0)


class Counting:
    """Be a caller that waits for a moment, and knows how many are at work."""

    most = now = 0

    def __init__(self, number: int) -> None:
        self.id = f"draft/{number}"

    def too_late(self, _: Any) -> None:
        return None

    async def propose(self, _: Any) -> Any:
        Counting.now += 1
        Counting.most = max(Counting.most, Counting.now)
        await asyncio.sleep(0)
        Counting.now -= 1
        return {"id": self.id, "attempts": 1, "cost": None}


async def test_no_more_tasks_are_begun_than_may_send_requests_and_they_begin_in_order() -> None:
    Counting.most, begun = 0, []
    request: Any = SimpleNamespace(
        references=[],
        end_all=lambda _: None,
        emit=lambda _: None,
        budget=SimpleNamespace(ran=set(), book=lambda _: None),
    )
    execution: Any = SimpleNamespace(
        known=lambda *_: None, spec=SimpleNamespace(limits=SimpleNamespace(max_concurrency=3))
    )

    def dispatch(name: str, work: Any) -> asyncio.Future[Any]:
        begun.append(name)
        return asyncio.ensure_future(work())

    callers: list[Any] = [Counting(number) for number in range(20)]
    found = await ask_all([(caller, request) for caller in callers], dispatch, execution)
    assert [record["id"] for record in found] == begun == [caller.id for caller in callers]
    assert Counting.most == 3


def test_many_comparisons_do_not_take_as_many_threads() -> None:
    wide = {"name": "wide", "proposers": [{"model": "a", "samples": 32}]}
    wide["select"] = {"by": "pairwise", "model": "r", "keep": 2}
    compiled = Panel([wide], r="1").graph.compile()
    assert compiled.config is not None
    assert compiled.config["max_concurrency"] == 128 + 4
    wide = {"name": "wide", "proposers": [{"model": name, "samples": 100} for name in "ab"]}
    compiled = Panel([wide]).graph.compile()
    assert compiled.config is not None
    assert compiled.config["max_concurrency"] == 200 + 4


async def test_a_ranker_whose_prompt_was_too_long_is_paid_once() -> None:
    panel = Panel(
        [draft(select={"by": "rank", "model": "r", "keep": 2})],
        a="A" * 300,
        r=too_long(1000, "2 > 1"),
        z=Model(ValueError("down"), "The answer."),
    )
    chat = MoAChatModel(panel.spec, models=panel.models)
    with pytest.raises(AggregatorFailed):
        await chat.ainvoke("Why?")
    asked = panel.count("r")
    answer = await chat.ainvoke("Why?")
    assert (answer.text, panel.count("r")) == ("The answer.", asked)
    assert (
        "draft/@ranker: context overflow: reference draft/a was left out"
        in (answer.response_metadata["moa"]["warnings"])
    )


async def test_what_the_aggregator_asked_on_its_way_is_paid_once() -> None:
    panel = Panel(
        aggregator={"model": "z", "window": 2, "references": SUMMARIES},
        s="Short.",
        z=Model("one", ValueError("down"), "The answer."),
    )
    chat = MoAChatModel(panel.spec, models=panel.models)
    with pytest.raises(AggregatorFailed):
        await chat.ainvoke("Why?")
    answer = await chat.ainvoke("Why?")
    assert (answer.text, panel.count("s"), panel.count("z")) == ("The answer.", 3, 3)
    assert answer.response_metadata["moa"]["calls"] == 3 + 3 + 3


async def test_who_is_too_late_is_no_task_and_is_told_as_failed() -> None:
    events: list[Any] = []
    request: Any = SimpleNamespace(
        references=[],
        end_all=lambda _: None,
        emit=events.append,
        budget=SimpleNamespace(ran=set(), book=lambda _: None),
    )
    limits = SimpleNamespace(max_concurrency=3)
    execution: Any = SimpleNamespace(known=lambda *_: None, spec=SimpleNamespace(limits=limits))
    record: Any = {"id": "draft/late", "attempts": 0, "cost": None, "failure": None, "status": "failed"}
    late: Any = SimpleNamespace(id="draft/late", too_late=lambda _: record)

    def dispatch(*_: Any) -> Any:
        raise AssertionError("a task was begun")

    assert await ask_all([(late, request)], dispatch, execution) == [record]
    assert [(event["type"], event["id"]) for event in events] == [("call.failed", "draft/late")]
