"""LangChain's own ChatOpenAI, alone and as the model of an agent, against a server that really runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.server.clients.house import House

STEPS = 10
PROPOSERS = ("ok@c", "ok@d", "ok@e")

either = pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])


@tool
def count(start: int) -> str:
    """Count on from a number."""
    return f"After {start} comes {start + 1}."


class Report(BaseModel):
    """Report what was found."""

    number: int


Models = Callable[..., Any]


@pytest.fixture
async def model_of(house: House) -> AsyncIterator[Models]:
    """Give what makes ChatOpenAI of the running server; its connections are the test's own."""
    async with httpx2.AsyncClient() as http_async:
        with httpx2.Client() as http:

            def make(responses: bool, name: str = "team") -> Any:
                return ChatOpenAI(
                    model=name,
                    base_url=house.url,
                    api_key=house.secret,
                    max_retries=0,
                    stream_usage=True,
                    use_responses_api=responses,
                    http_client=http,
                    http_async_client=http_async,
                )

            yield make


@either
def test_it_invokes(house: House, model_of: Models, responses: bool) -> None:
    answer = model_of(responses).invoke("Why?")
    assert answer.text == "An answer to: Why?"
    assert answer.usage_metadata["total_tokens"] == 38
    assert house.count() == 3


@either
def test_it_streams(house: House, model_of: Models, responses: bool) -> None:
    chunks = list(model_of(responses).stream("Why?"))
    assert sum(bool(chunk.text) for chunk in chunks) > 1
    whole = sum(chunks[1:], chunks[0])
    assert isinstance(whole, AIMessageChunk)
    assert whole.text == "An answer to: Why?"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["total_tokens"] == 38


@either
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_it_binds_tools(house: House, model_of: Models, responses: bool, streams: bool) -> None:
    bound = model_of(responses).bind_tools([count])
    question = HumanMessage("Count on from 3.")
    if streams:
        chunks = [chunk async for chunk in bound.astream([question])]
        answer = sum(chunks[1:], chunks[0])
    else:
        answer = await bound.ainvoke([question])
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("count", {"start": 3})
    result = ToolMessage("After 3 comes 4.", tool_call_id=call["id"])
    done = await bound.ainvoke([question, answer, result])
    assert done.text == "Done: After 3 comes 4."
    assert house.count("usage-10-3@a", "usage-10-3@b") == 2


@either
def test_it_answers_in_a_form(house: House, model_of: Models, responses: bool) -> None:
    form = model_of(responses).with_structured_output(Report)
    assert form.invoke("Report 7.") == Report(number=7)


@either
async def test_an_agent_takes_ten_steps_and_the_proposers_are_asked_once(
    house: House, model_of: Models, responses: bool
) -> None:
    agent = create_agent(model_of(responses, "agent"), [count])
    state = await agent.ainvoke({"messages": [("user", "Count on from 3.")]})
    messages = state["messages"]
    assert sum(isinstance(message, ToolMessage) for message in messages) == STEPS
    assert messages[-1].text == "Done: After 3 comes 4."
    assert [house.count(name) for name in PROPOSERS] == [1, 1, 1]
    assert house.count("acts-10@y") == STEPS + 1
    asked = house.upstream.of("acts-10@y")
    assert all("Answer of ok@e" in str(request.messages) for request in asked)


async def test_each_question_of_a_conversation_is_proposed_on_once(house: House, model_of: Models) -> None:
    agent = create_agent(model_of(False, "agent"), [count])
    state: Any = {"messages": []}
    for question in ("Count on from 3.", "And from 5."):
        state = await agent.ainvoke({"messages": [*state["messages"], HumanMessage(question)]})
    assert state["messages"][-1].text == "Done: After 5 comes 6."
    assert [house.count(name) for name in PROPOSERS] == [2, 2, 2]
    assert house.count("acts-10@y") == 2 * (STEPS + 1)


async def test_an_agent_streams_its_answer_through_the_server(house: House, model_of: Models) -> None:
    agent = create_agent(model_of(False), [count])
    tokens = [
        token.text
        async for token, metadata in agent.astream(
            {"messages": [("user", "Count on from 3.")]}, stream_mode="messages"
        )
        if metadata["langgraph_node"] == "model" and token.text
    ]
    assert len(tokens) > 1
    assert "".join(tokens) == "Done: After 3 comes 4."
