"""Arguments of tool calls that came in pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from moa_graph.errors import AggregatorFailed
from moa_graph.graph import build_graph
from moa_graph.proposers.arguments import read_arguments
from moa_graph.proposers.relay import Relay
from moa_graph.text import clean
from tests.fakes.acting import ActingChatModel
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.specs import spec_document

QUESTION: Any = {"messages": [HumanMessage("Which?")]}


@tool
def search(query: str) -> str:
    """Search the library."""
    return f"found {query}"


async def acted(server: FakeOpenAI, model: str, how: str) -> AIMessage:
    """Return the answer of a mixture with such an aggregator.

    It is asked for whole, streamed to a relay, or streamed because somebody listens to the graph's tokens.
    """
    spec = spec_document(server.base_url, [["ok"]], model, defaults={"attempts": 1})
    terms: dict[str, Any] = {"acting": {"tools": [search]}}
    if how == "relay":
        terms["relay"] = Relay(lambda _: None)
    graph = build_graph(spec).compile()
    config: Any = {"configurable": {"moa": terms}}
    state: Any = None
    modes: Any = ["values", "messages"] if how == "overheard" else ["values"]
    async for mode, data in graph.astream(QUESTION, config, stream_mode=modes):
        state = data if mode == "values" else state
    message = state["messages"][-1]
    assert isinstance(message, AIMessage)
    return message


HOW = pytest.mark.parametrize("how", ["whole", "relay", "overheard"])


@HOW
@pytest.mark.parametrize("kind", ["broken", "cut-word", "array"])
async def test_broken_arguments_are_malformed_however_they_came(
    server: FakeOpenAI, kind: str, how: str
) -> None:
    with pytest.raises(AggregatorFailed, match="malformed"):
        await acted(server, f"tool-calls-{kind}", how)
    assert bool(server.of(f"tool-calls-{kind}")[0].body.get("stream")) is (how != "whole")


@HOW
async def test_a_broken_call_beside_a_good_one_is_kept_as_it_was_said(server: FakeOpenAI, how: str) -> None:
    answer = await acted(server, "tool-calls-broken-and-good", how)
    assert [(call["id"], call["args"]) for call in answer.tool_calls] == [("call_2", {"query": "moa"})]
    [broken] = answer.invalid_tool_calls
    assert (broken["id"], broken["name"]) == ("call_1", "search")
    assert broken["args"] == '{"query":"delete /srv/data/old'


@HOW
@pytest.mark.parametrize(("kind", "read"), [("empty", {}), ("newline", {"query": "one\ntwo"})])
async def test_arguments_that_a_whole_answer_may_have_pass_in_a_stream(
    server: FakeOpenAI, kind: str, read: dict[str, str], how: str
) -> None:
    answer = await acted(server, f"tool-calls-{kind}", how)
    assert [call["args"] for call in answer.tool_calls] == [read]


@HOW
async def test_a_character_in_two_halves_is_the_one_of_a_whole_answer(server: FakeOpenAI, how: str) -> None:
    answer = await acted(server, "split-pair", how)
    assert answer.text == "a\U0001f600b"
    assert answer.additional_kwargs["reasoning_content"] == "r\U0001f600"
    assert [call["args"] for call in answer.tool_calls] == [{"query": "\U0001f600"}]


class Deputy(ScriptedChatModel):
    """Let another model write a call first, and then call a tool with arguments of its own."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools, **kwargs)

    async def _agenerate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        asked = ActingChatModel().bind_tools(kwargs["tools"])
        async for _ in asked.astream(messages, {"callbacks": run_manager.inheritable_handlers}):
            pass
        own = {"name": "search", "args": {"query": "own"}, "id": "1"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[own]))])


async def test_what_other_models_write_to_answer_a_request_is_not_its_answer() -> None:
    graph = mixture({"draft": {"a": ScriptedChatModel("A")}}, {"z": Deputy(disable_streaming=True)}).compile()
    state: Any = await graph.ainvoke(QUESTION, {"configurable": {"moa": {"acting": {"tools": [search]}}}})
    assert [call["args"] for call in state["messages"][-1].tool_calls] == [{"query": "own"}]


@given(st.text())
def test_whatever_arguments_are_they_are_read_or_kept(arguments: str) -> None:
    pieces = [tool_call_chunk(name=None, args=arguments, id="1", index=0)]
    message: Any = read_arguments(AIMessage(""), pieces)
    assert len(message.tool_calls) + len(message.invalid_tool_calls) == 1
    assert all(call["args"] == clean(arguments)[0] for call in message.invalid_tool_calls)


def test_arguments_that_are_nested_too_deep_are_broken() -> None:
    deep = [tool_call_chunk(name="search", args='{"query":' + "[" * 100_000, id="1", index=0)]
    message: Any = read_arguments(AIMessage(""), deep)
    assert (message.tool_calls, len(message.invalid_tool_calls)) == ([], 1)
