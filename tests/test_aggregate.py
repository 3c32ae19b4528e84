"""The final node: the answer, its fallbacks, and what happens when there is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from moa_graph.chat_model import MoAChatModel
from moa_graph.errors import AggregatorFailed, BudgetExceeded, DeadlineExceeded
from moa_graph.graph import build_graph
from moa_graph.terms import TERMS
from tests.fakes.acting import ActingChatModel
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.panels import Panel, draft
from tests.fakes.retrievers import BEES, FakeRetriever

QUESTION: Any = {"messages": [("user", "Why?")]}


async def run(graph: Any) -> dict[str, Any]:
    return await graph.compile().ainvoke(QUESTION)


async def test_the_answer_carries_the_whole_runs_usage_and_a_summary() -> None:
    graph = mixture({"draft": {"a": Model("one two"), "b": Model("three")}}, {"z": Model("The answer.")})
    state = await run(graph)
    answer = state["messages"][-1]
    assert (answer.text, state["status"]) == ("The answer.", "answered")
    summary = answer.response_metadata["moa"]
    assert answer.usage_metadata["output_tokens"] == 2 + 1 + 2 == summary["usage"]["output_tokens"]
    assert (summary["answered_by"], summary["calls"], summary["proposals"]) == ("z", 3, {"ok": 2})
    assert summary["cost"] is None
    assert summary["warnings"] == []
    assert summary["aggregator"]["status"] == "ok"


async def test_without_layers_the_aggregator_answers_alone_from_the_unchanged_messages() -> None:
    final = Model("The answer.")
    state = await run(mixture({}, {"z": final}))
    assert [(message.type, message.text) for message in final.calls[0]] == [("human", "Why?")]
    assert state["proposals"] == {}
    assert state["messages"][-1].text == "The answer."


async def test_a_fallback_takes_over_and_the_answer_says_so() -> None:
    graph = mixture({"draft": {"a": Model("A")}}, {"z": Model(ValueError("down")), "y": Model("From y.")})
    summary = (await run(graph))["messages"][-1].response_metadata["moa"]
    assert summary["answered_by"] == "y"
    assert [record["id"] for record in summary["failed_aggregators"]] == ["aggregator/z"]
    assert "aggregator/z failed: error: ValueError: down" in summary["warnings"]


async def test_when_all_aggregators_fail_the_proposals_are_kept_and_nothing_is_made_up() -> None:
    graph = mixture({"draft": {"a": Model("A")}}, {"z": Model(ValueError("down")), "y": Model("  ")})
    with pytest.raises(AggregatorFailed, match=r"tried z, y") as raised:
        await run(graph)
    assert [(record["id"], record["status"]) for record in raised.value.proposals] == [
        ("draft/a", "ok"),
        ("aggregator/z", "failed"),
        ("aggregator/y", "failed"),
    ]
    assert raised.value.usage["output_tokens"] > 0


async def test_resume_after_a_failed_aggregator_costs_one_call() -> None:
    proposer, final = Model("A"), Model(ValueError("down"), "The answer.")
    compiled = mixture({"draft": {"a": proposer}}, {"z": final}).compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(AggregatorFailed):
        await compiled.ainvoke(QUESTION, config)
    state = await compiled.ainvoke(None, config)
    assert state["messages"][-1].text == "The answer."
    assert (len(proposer.calls), len(final.calls)) == (1, 2)


async def test_a_spent_budget_is_not_tried_on_the_fallbacks() -> None:
    fallback = Model("no")
    graph = mixture({"draft": {"a": Model("A")}}, {"z": Model(), "y": fallback}, limits={"max_calls": 1})
    with pytest.raises(BudgetExceeded):
        await run(graph)
    assert fallback.calls == []


@pytest.mark.parametrize(("acting", "asked"), [({"max_tokens": 5}, 0), ({}, 1)])
async def test_an_answer_that_its_callers_limit_cut_is_not_tried_on_the_fallbacks(
    acting: dict[str, int], asked: int
) -> None:
    cut = AIMessage("It is", response_metadata={"finish_reason": "length"})
    fallback = Model(cut)
    graph = mixture({"draft": {"a": Model("A")}}, {"z": Model(cut), "y": fallback})
    with pytest.raises(AggregatorFailed):
        await graph.compile().ainvoke(QUESTION, {"configurable": {"moa": {"acting": acting}}})
    assert len(fallback.calls) == asked


async def test_the_runs_deadline_ends_the_aggregator() -> None:
    hanging = Model(wait=asyncio.Event().wait)
    with pytest.raises(DeadlineExceeded):
        await run(mixture({}, {"z": hanging}, limits={"deadline": 0.05}))
    assert hanging.cancelled == 1


async def test_reasoning_stays_out_of_the_answer_and_beside_it() -> None:
    final = Model(AIMessage("<think>hm</think>Yes."))
    answer = (await run(mixture({}, {"z": final})))["messages"][-1]
    assert answer.text == "Yes."
    assert answer.additional_kwargs == {"reasoning_content": "hm"}


async def test_with_the_last_layer_dropped_there_is_no_answer() -> None:
    final = Model()
    compiled = mixture({"draft": {"a": Model("A")}}, {"z": final}).compile(
        checkpointer=InMemorySaver(), interrupt_before=["aggregator"]
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    state = await compiled.ainvoke(QUESTION, config)
    dropped = {**state["proposals"]["draft/a"], "status": "dropped"}
    await compiled.aupdate_state(config, {"proposals": {"draft/a": dropped}})
    with pytest.raises(AggregatorFailed, match="left no proposal"):
        await compiled.ainvoke(None, config)
    assert final.calls == []


async def test_a_priced_run_has_a_cost() -> None:
    price = {"input": 1_000_000, "output": 0}
    graph = mixture(
        {"draft": {"a": Model("A")}}, {"z": Model("B")}, slots={s: {"price": price} for s in ("draft-a", "z")}
    )
    # one message of one token each for the proposer; a system message more for the aggregator
    assert (await run(graph))["messages"][-1].response_metadata["moa"]["cost"] == 3.0


async def test_an_answer_is_committed_before_it_is_reported() -> None:
    saver, kept = InMemorySaver(), []
    compiled = mixture({"draft": {"a": Model("A")}}, {"z": Model("The answer.")}).compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    async for event in compiled.astream(QUESTION, config, stream_mode="custom", durability="sync"):
        if event["type"] == "call.finished" and event["role"] == "aggregator":
            newest = await saver.aget_tuple(config)
            kept = [value for _, _, value in newest.pending_writes if "The answer." in repr(value)]
    assert kept


async def test_an_answer_that_was_committed_is_not_bought_again_when_its_node_had_no_time_to_end() -> None:
    saver, final = InMemorySaver(), Model("The answer.")
    compiled = mixture({"draft": {"a": Model("A")}}, {"z": final}).compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    async for event in compiled.astream(QUESTION, config, stream_mode="custom", durability="sync"):
        if event["type"] == "call.finished" and event["role"] == "aggregator":
            break
    state = await compiled.ainvoke(None, config)
    summary = state["messages"][-1].response_metadata["moa"]
    assert (state["messages"][-1].text, summary["calls"], len(final.calls)) == ("The answer.", 2, 1)


async def test_calls_that_failed_before_a_resume_count_in_the_sums_and_against_the_limits() -> None:
    failed = {"attempts": 2, "usage": None, "cost": 0.25, "id": "draft/b", "layer": "draft", "failure": None}
    config: Any = {"configurable": {TERMS: {"paid": [failed]}}}
    slots = {name: {"price": {"input": 0, "output": 0}} for name in ("draft-a", "z")}
    graph = mixture({"draft": {"a": Model("A")}}, {"z": Model("The answer.")}, slots=slots)
    summary = (await graph.compile().ainvoke(QUESTION, config))["messages"][-1].response_metadata["moa"]
    assert (summary["calls"], summary["cost"]) == (4, 0.25)
    graph = mixture(
        {"draft": {"a": Model("A")}}, {"z": Model("The answer.")}, slots=slots, limits={"max_calls": 3}
    )
    with pytest.raises(BudgetExceeded) as raised:
        await graph.compile().ainvoke(QUESTION, config)
    assert raised.value.calls == 3


async def test_a_fallbacks_answer_that_was_committed_is_not_put_at_risk_by_another_try() -> None:
    first, second = Model(ValueError("down"), "Too late."), Model("From y.")
    compiled = mixture({"draft": {"a": Model("A")}}, {"z": first, "y": second}).compile(
        checkpointer=InMemorySaver()
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    async for event in compiled.astream(QUESTION, config, stream_mode="custom", durability="sync"):
        if event["type"] == "call.finished" and event["role"] == "aggregator":
            break
    state = await compiled.ainvoke(None, config)
    summary = state["messages"][-1].response_metadata["moa"]
    assert (state["messages"][-1].text, summary["answered_by"], summary["calls"]) == ("From y.", "y", 3)
    assert [record["id"] for record in summary["failed_aggregators"]] == ["aggregator/z"]
    assert (len(first.calls), len(second.calls)) == (1, 1)


# -- calls of tools beside layers that stop, change and select -----------------------------------------------


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


def stopping(**options: Any) -> tuple[Panel, Any]:
    layers = [
        draft(),
        {
            "name": "deep",
            "proposers": ["a", "b"],
            "residual": {"model": "d"},
            "select": {"by": "rank", "model": "r", "keep": 1},
        },
        {"name": "last", "proposers": ["c"]},
    ]
    stop = {"by": "judge", "model": "j"}
    judge = Model("CONTINUE", "STOP", "CONTINUE", "STOP")
    panel = Panel(layers, parts={"stop": stop}, z=ActingChatModel(), d="Lost.", r="2 > 1", j=judge)
    return panel, MoAChatModel(panel.spec, models=panel.models, **options).bind_tools([weather])


async def test_after_tools_the_aggregator_sees_what_it_saw_before_and_nobody_else_is_asked() -> None:
    panel, chat = stopping()
    question = HumanMessage("How is the weather?")
    first = await chat.ainvoke([question])
    assert first.response_metadata["moa"]["stopped"]["layer"] == "deep"
    result = ToolMessage("It rains.", tool_call_id=first.tool_calls[0]["id"])
    answer = await chat.ainvoke([question, first, result])
    assert answer.text == "Done: It rains."
    before, after = (seen.messages[0].text for seen in panel.models["z"].seen)
    assert before.endswith("models:\n1. B\n\nWhat the last round of responses changed:\nLost.")
    assert after == before
    assert [panel.count(name) for name in ("a", "b", "c", "d", "r", "j")] == [2, 2, 1, 1, 1, 2]
    assert answer.response_metadata["moa"]["calls"] == 1


async def test_who_is_asked_about_proposals_is_shown_tools_as_plain_text() -> None:
    panel, chat = stopping(fan_out="every_call")
    question = HumanMessage("How is the weather?")
    first = await chat.ainvoke([question])
    result = ToolMessage("It rains.", tool_call_id=first.tool_calls[0]["id"])
    await chat.ainvoke([question, first, result])
    for name in ("d", "r", "j"):
        asked = panel.models[name].calls[-1]
        assert not any(message.type == "tool" or getattr(message, "tool_calls", None) for message in asked)
        assert "It rains." in panel.asked(name)
        assert "You advise another model" not in panel.asked(name)


async def test_what_one_turn_left_out_is_not_said_of_the_next() -> None:
    panel = Panel([draft(select={"by": "rank", "model": "r", "keep": 2})], r=Model("3 > 2 > 1", "1 > 2 > 3"))
    compiled = panel.graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    for question in ("One?", "Two?"):
        state = await compiled.ainvoke({"messages": [("user", question)]}, config)
    assert {id_: record.get("left_out", "") for id_, record in state["proposals"].items()} == {
        "draft/a": "",
        "draft/b": "",
        "draft/c": "ranked 3 of 3",
        "draft/@ranker": "",
    }


async def test_what_a_proposer_retrieved_in_one_turn_is_not_its_own_in_the_next() -> None:
    own = FakeRetriever(BEES)
    panel = Panel([{"name": "draft", "proposers": [{"model": "a", "retrieve": "own"}]}])
    panel.spec["retrievers"] = {"own": {"retriever": "host:own"}}
    graph = build_graph(panel.spec, models=panel.models, retrievers={"own": own})
    compiled = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    first = await compiled.ainvoke({"messages": [("user", "One?")]}, config)
    own.texts = {}
    second = await compiled.ainvoke({"messages": [("user", "Two?")]}, config)
    assert [bool(state["proposals"]["draft/a"].get("passages")) for state in (first, second)] == [True, False]
    assert second["messages"][-1].response_metadata["moa"]["sources"] == []
