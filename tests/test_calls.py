"""Calls of a node as tasks: all are awaited, all are reported, none is paid for twice."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from moa_graph.chat_model import MoAChatModel
from moa_graph.errors import AggregatorFailed
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.panels import Panel, draft

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
