"""Proposers that are agents: a slot's model with tools of the host, under the rules of every other call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.types import interrupt
from pydantic import Field

from moa_graph.errors import BudgetExceeded, QuorumNotMet
from tests.fakes.agents import ToolCaller
from tests.fakes.insides import QUESTION, ask, panel
from tests.fakes.models import ScriptedChatModel

AGENT = {"model": "a", "tools": ["search"], "max_steps": 3}


@tool
def search(question: str) -> str:
    """Search the library."""
    return f"found {question}"


def calling(text: str = "", *questions: str, usage: tuple[int, int] = (10, 5)) -> AIMessage:
    """Return a message that calls `search`, and says something beside it."""
    message = ToolCaller.asking(*(questions or ("sky",)), tool="search")
    tokens = {"input_tokens": usage[0], "output_tokens": usage[1], "total_tokens": sum(usage)}
    return message.model_copy(update={"content": text, "usage_metadata": tokens})


def agents(*script: Any, registered: dict[str, BaseTool] | None = None, **parts: Any) -> tuple[Any, Any]:
    """Return a mixture whose proposer `a` is an agent with this script, and the agent's model."""
    model = parts.pop("model", None) or ToolCaller(*script)
    member = {**AGENT, **parts.pop("member", {})}
    tools = {"search": search, **(registered or {})}
    return panel(member, models={"a": model}, registered={"tools": tools}, **parts), model


async def failed(graph: Any) -> Any:
    """Run it; return the record of its only proposer, which fails."""
    with pytest.raises(QuorumNotMet) as raised:
        await ask(graph)
    [record] = raised.value.proposals
    return record


async def test_an_agent_calls_tools_and_its_last_text_is_the_proposal() -> None:
    graph, model = agents(
        calling(), "Blue light scatters.", slots={"a": {"price": {"input": 2, "output": 4}}}
    )
    state, events = await ask(graph)
    record = state["proposals"]["draft/a"]
    assert (record["status"], record["text"], record["attempts"]) == ("ok", "Blue light scatters.", 2)
    assert record["usage"] == {"input_tokens": 13, "output_tokens": 8, "source": "provider"}
    assert record["cost"] == pytest.approx((13 * 2 + 8 * 4) / 1e6)
    [result] = [message for message in model.calls[1] if isinstance(message, ToolMessage)]
    assert result.text == "found sky"
    assert [(event["type"], event["id"]) for event in events if "id" in event] == [
        ("call.started", "draft/a"),
        ("call.finished", "draft/a"),
        ("call.started", "aggregator/z"),
        ("call.finished", "aggregator/z"),
    ]
    assert state["messages"][-1].response_metadata["moa"]["calls"] == 3


def test_an_agent_answers_under_invoke_too() -> None:
    graph, _ = agents(calling(), "Blue.")
    assert graph.compile().invoke(QUESTION)["proposals"]["draft/a"]["text"] == "Blue."


async def test_system_prompts_of_the_conversation_and_of_the_member_reach_every_request() -> None:
    graph, model = agents(calling(), "Blue.", member={"system": "Be brief."})
    question = {"messages": [("system", "You are a physicist."), ("user", "Why?")]}
    await graph.compile().ainvoke(question)
    for call in model.calls:
        [system] = [message for message in call if isinstance(message, SystemMessage)]
        assert system.text == "You are a physicist.\n\nBe brief."


async def test_an_agent_that_does_not_answer_within_max_steps_has_failed_with_what_it_wrote() -> None:
    graph, model = agents(calling("First I look."), calling(), calling("Then again."), calling())
    record = await failed(graph)
    assert record["failure"]["kind"] == "error"
    assert record["failure"]["message"] == "no answer within max_steps = 3 requests"
    assert record["text"] == "First I look.\n\nThen again."
    assert (len(model.calls), record["attempts"], record["usage"]["input_tokens"]) == (3, 3, 30)


async def test_an_agent_may_answer_with_its_last_request() -> None:
    graph, model = agents(calling(), calling(), "Blue.")
    state, _ = await ask(graph)
    assert (state["proposals"]["draft/a"]["text"], len(model.calls)) == ("Blue.", 3)


async def test_samples_of_an_agent_count_their_steps_apart() -> None:
    script = [calling(), calling()] + [lambda messages: "Blue."] * 4
    graph, _ = agents(*script, member={"samples": 2, "max_steps": 2})
    state, _ = await ask(graph)
    assert {record["status"] for record in state["proposals"].values()} == {"ok"}
    assert [record["attempts"] for record in state["proposals"].values()] == [2, 2]


async def test_settings_of_the_member_go_along_with_the_tools() -> None:
    class Noting(ToolCaller):
        options: list[dict[str, Any]] = Field(default_factory=list)

        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            self.options.append(kwargs)
            return await super()._agenerate(*args, **kwargs)

    model = Noting(calling(), "Blue.")
    graph, _ = agents(model=model, member={"temperature": 0.25, "max_tokens": 77})
    await ask(graph)
    assert [(given["temperature"], given["max_tokens"]) for given in model.options] == [(0.25, 77)] * 2
    assert [[given.name for given in options["tools"]] for options in model.options] == [["search"]] * 2


async def test_a_tool_that_raises_is_the_failure_of_the_call() -> None:
    @tool("search")
    def broken(question: str) -> str:
        """Search."""
        raise ValueError("the index is gone")

    graph, _ = agents(calling(), "Blue.", registered={"search": broken})
    record = await failed(graph)
    assert (record["failure"]["kind"], record["attempts"]) == ("error", 1)
    assert "the index is gone" in record["failure"]["message"]
    assert record["usage"]["input_tokens"] == 10


async def test_wrong_arguments_are_told_to_the_agent_which_goes_on() -> None:
    wrong = AIMessage("", tool_calls=[{"name": "search", "args": {"depth": 1}, "id": "1"}])
    graph, model = agents(wrong, "Blue.")
    state, _ = await ask(graph)
    assert state["proposals"]["draft/a"]["text"] == "Blue."
    assert model.calls[1][-1].status == "error"


async def test_a_tool_may_have_the_last_word() -> None:
    @tool("search", return_direct=True)
    def final(question: str) -> str:
        """Answer."""
        return "The tool says blue."

    graph, _ = agents(calling(), registered={"search": final})
    state, _ = await ask(graph)
    assert state["proposals"]["draft/a"]["text"] == "The tool says blue."


async def test_an_agent_that_says_nothing_in_the_end_is_tried_again_from_the_start() -> None:
    graph, model = agents(calling(), "", calling(), "Blue.", member={"attempts": 2})
    state, events = await ask(graph)
    record = state["proposals"]["draft/a"]
    assert (record["text"], record["attempts"], len(model.calls)) == ("Blue.", 4, 4)
    [retried] = [event for event in events if event["type"] == "call.retried"]
    assert (retried["id"], retried["attempt"], retried["failure"]["kind"]) == ("draft/a", 2, "empty")
    assert not any(isinstance(message, ToolMessage) for message in model.calls[2])


async def test_one_timeout_holds_for_all_steps_and_all_requests_are_counted() -> None:
    never = asyncio.Event()
    waiting = iter([asyncio.sleep, lambda _: never.wait()])

    async def wait() -> None:
        await next(waiting)(0)

    model = ToolCaller(calling(), "Blue.", wait=wait)
    graph, _ = agents(model=model, member={"timeout": 0.3})
    record = await failed(graph)
    assert record["failure"]["kind"] == "timeout"
    assert record["failure"]["message"] == "no complete answer within 0.3 s"
    assert (record["attempts"], model.cancelled) == (2, 1)
    assert record["usage"]["source"] == "estimated"
    assert record["usage"]["input_tokens"] > 10
    assert record["warnings"] == ["a request ended before its tokens were reported; they are estimated"]


async def test_a_straggler_that_is_an_agent_is_cut_in_the_middle_of_a_tool() -> None:
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    @tool("search")
    async def slow(question: str) -> str:
        """Search."""
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return "never"

    graph = panel(
        AGENT,
        "b",
        models={"a": ToolCaller(calling(), "Blue."), "b": ScriptedChatModel("Green.", wait=begun.wait)},
        registered={"tools": {"search": slow}},
        layer={"quorum": 1, "grace": 0.001},
    )
    state, _ = await ask(graph)
    record = state["proposals"]["draft/a"]
    assert (record["status"], record["attempts"], record["usage"]["input_tokens"]) == ("cut", 1, 10)
    assert cancelled.is_set()


async def test_the_limit_of_calls_holds_inside_an_agent() -> None:
    graph, model = agents(calling(), calling(), "Blue.", limits={"max_calls": 2})
    with pytest.raises(BudgetExceeded, match="max_calls = 2 requests are used up") as raised:
        await ask(graph)
    [record] = raised.value.proposals
    assert (record["failure"]["kind"], record["attempts"], len(model.calls)) == ("budget", 2, 2)
    assert raised.value.calls == 2


async def test_the_limit_of_cost_holds_inside_an_agent() -> None:
    graph, model = agents(
        calling(usage=(100, 900)),
        "Blue.",
        slots={"a": {"price": {"input": 0, "output": 1000}, "max_tokens": 1000}},
        limits={"max_cost": 1.5},
    )
    with pytest.raises(BudgetExceeded, match=r"limits.max_cost = \$1.5"):
        await ask(graph)
    assert len(model.calls) == 1


async def test_every_request_of_an_agent_says_whose_it_is() -> None:
    graph, _ = agents(calling(), "Blue.")
    seen = [
        (event["metadata"]["moa_layer"], event["metadata"]["moa_proposer"])
        async for event in graph.compile().astream_events(QUESTION, version="v2")
        if event["event"] == "on_chat_model_start"
    ]
    assert seen == [("draft", "a"), ("draft", "a"), ("aggregator", "z")]


async def test_the_tokens_of_an_agent_are_not_the_answers() -> None:
    graph, _ = agents(calling("Looking."), "Blue light.")
    pieces = [
        message.text
        async for message, metadata in graph.compile().astream(QUESTION, stream_mode="messages")
        if metadata.get("moa_role") == "aggregator"
    ]
    assert "".join(pieces) == "The answer."


async def test_the_conversation_that_calls_share_is_left_as_it_was() -> None:
    graph, _ = agents(calling(), "Blue.", member={"system": "Be brief.", "samples": 1})
    state, _ = await ask(graph)
    assert [message.text for message in state["messages"]] == ["Why?", "The answer."]


async def test_a_tool_may_ask_a_person_and_the_interrupt_surfaces() -> None:
    @tool("search")
    def approve(question: str) -> str:
        """Ask a person."""
        return str(interrupt({"question": question}))

    graph, _ = agents(calling(), "Blue.", registered={"search": approve})
    state = await graph.compile().ainvoke(QUESTION)
    [asked] = state["__interrupt__"]
    assert asked.value == {"question": "sky"}
