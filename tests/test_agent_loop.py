"""MoA as the model of LangChain's agents: real tools, many steps, one fan-out a turn."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage, messages_to_dict
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from moa_graph import MoAChatModel
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel

STEPS = 10
LAYERS, WIDTH = 3, 6


@tool
def count(start: int) -> str:
    """Count on from a number."""
    return f"After {start} comes {start + 1}."


class Report(BaseModel):
    """Report what was found."""

    number: int


class Loop:
    """An agent over MoA 3×6 whose aggregator calls a tool ten times before it answers."""

    def __init__(self, *, placement: str = "user", steps: int = STEPS, **options: Any) -> None:
        self.proposers = [ScriptedChatModel(f"Proposal {number}.") for number in range(WIDTH)]
        self.actor = ActingChatModel(steps=steps)
        slots = [f"m{number}" for number in range(WIDTH)]
        self.model = MoAChatModel(
            spec={
                "moa": 1,
                "name": "loop",
                "models": {slot: {"model": f"host:{slot}"} for slot in [*slots, "actor"]},
                "layers": [{"name": f"layer-{number}", "proposers": slots} for number in range(LAYERS)],
                "aggregator": {"model": "actor", "references": {"placement": placement}},
            },
            models=dict(zip(slots, self.proposers, strict=True)) | {"actor": self.actor},
            **options,
        )

    @property
    def fan_out(self) -> int:
        return sum(len(model.calls) for model in self.proposers)


@pytest.mark.parametrize("placement", ["user", "system"])
async def test_ten_steps_make_18_and_11_calls_with_one_prefix(placement: str) -> None:
    loop = Loop(placement=placement)

    state = await create_agent(loop.model, [count]).ainvoke({"messages": [("user", "Count on from 3.")]})

    assert sum(isinstance(message, ToolMessage) for message in state["messages"]) == STEPS
    assert state["messages"][-1].text == "Done: After 3 comes 4."
    assert (loop.fan_out, len(loop.actor.seen)) == (LAYERS * WIDTH, STEPS + 1)
    prompts = [_plain(seen.messages) for seen in loop.actor.seen]
    for shorter, longer in pairwise(prompts):
        assert longer[: len(shorter)] == shorter
        assert len(longer) == len(shorter) + 2  # the call, and what came back
    assert "Proposal 5." in str(prompts[0])


def _plain(messages: list[BaseMessage]) -> list[Any]:
    """Return what a provider gets of messages: no ids, no metadata."""
    return [
        (item["type"], item["data"]["content"], item["data"].get("tool_calls"))
        for item in messages_to_dict(messages)
    ]


async def test_every_step_fans_out_where_that_is_asked_for() -> None:
    loop = Loop(steps=2, fan_out="every_call")

    await create_agent(loop.model, [count]).ainvoke({"messages": [("user", "Count on from 3.")]})

    assert loop.fan_out == 3 * LAYERS * WIDTH


async def test_the_usage_of_a_whole_loop_is_the_sum_of_its_messages() -> None:
    loop = Loop(steps=2)

    state = await create_agent(loop.model, [count]).ainvoke({"messages": [("user", "Count on from 3.")]})

    calls = [
        message.response_metadata["moa"]["calls"] for message in state["messages"] if message.type == "ai"
    ]
    assert calls == [LAYERS * WIDTH + 1, 1, 1]


def test_an_agent_that_is_kept_goes_on_with_the_references_it_had() -> None:
    loop, saver = Loop(steps=2), InMemorySaver()
    config: Any = {"configurable": {"thread_id": "1"}}
    agent = create_agent(loop.model, [count], checkpointer=saver, interrupt_before=["tools"])
    agent.invoke({"messages": [("user", "Count on from 3.")]}, config)

    again = Loop(steps=2)  # another process
    agent = create_agent(again.model, [count], checkpointer=saver)
    state = agent.invoke(None, config)

    assert state["messages"][-1].text == "Done: After 3 comes 4."
    assert again.fan_out == 0
    assert "Proposal 5." in str(again.actor.seen[0].messages)


def test_each_question_of_a_conversation_fans_out_once() -> None:
    loop = Loop(steps=1)
    agent = create_agent(loop.model, [count], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}

    for _ in range(3):
        agent.invoke({"messages": [HumanMessage("Count on from 3.")]}, config)

    assert loop.fan_out == 3 * LAYERS * WIDTH


def test_an_agent_reports_in_a_form() -> None:
    loop = Loop(steps=0)
    agent = create_agent(loop.model, [], response_format=ToolStrategy(Report))

    state = agent.invoke({"messages": [("user", "Report 7.")]})

    assert state["structured_response"] == Report(number=7)


async def test_an_agent_streams_the_aggregators_tokens_once() -> None:
    loop = Loop(steps=1)
    agent = create_agent(loop.model, [count])

    tokens = [
        token.text
        async for token, metadata in agent.astream(
            {"messages": [("user", "Count on from 3.")]}, stream_mode="messages"
        )
        if metadata["langgraph_node"] == "model" and token.text
    ]

    assert "".join(tokens) == "Done: After 3 comes 4."
