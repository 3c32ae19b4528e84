"""The final node: the answer, its fallbacks, and what happens when there is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from moa_graph.errors import AggregatorFailed, BudgetExceeded, DeadlineExceeded
from moa_graph.terms import TERMS
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model

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
