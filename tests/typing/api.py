"""Use the public face as an application does; a strict type checker reads this, nobody runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, assert_type

from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import BaseTool
from langgraph.graph import StateGraph

from moa_graph import (
    Failure,
    Fault,
    MoAChatModel,
    MoAError,
    MoASpec,
    MoAState,
    Proposal,
    QuorumNotMet,
    RetrievalFailed,
    Run,
    RunError,
    Runs,
    SpecError,
    SpecMismatch,
    as_tool,
    build_graph,
    dump_spec,
    json_schema,
    load_spec,
    parse_spec,
)

assert_type(load_spec("graphs/quickstart.yaml"), MoASpec)
assert_type(load_spec(Path("graphs/quickstart.yaml")), MoASpec)
assert_type(load_spec({"moa": 1}), MoASpec)
assert_type(parse_spec(b"moa: 1"), MoASpec)
assert_type(dump_spec(load_spec("graphs/quickstart.yaml")), str)
assert_type(json_schema(), dict[str, Any])


def build_with_a_model_of_the_host(spec: MoASpec) -> None:
    graph = build_graph(spec, models={"writer": FakeListChatModel(responses=["text"])})
    uncompiled: StateGraph[MoAState, None, Any, Any] = graph
    assert_type(uncompiled.compile().get_graph().draw_mermaid(), str)


async def ask(spec: MoASpec) -> None:
    graph = build_graph(spec).compile()
    state = await graph.ainvoke({"messages": [HumanMessage("Why?")]})
    assert state["messages"][-1].text
    async for mode, chunk in graph.astream(
        {"messages": [HumanMessage("Why?")]}, stream_mode=["custom", "messages"]
    ):
        assert mode, chunk


async def embed(spec: MoASpec) -> None:
    model: BaseChatModel = MoAChatModel("graphs/quickstart.yaml", temperature=0.2)
    assert_type(await MoAChatModel(spec=spec).bind_tools([]).ainvoke("Why?"), AIMessage)
    assert_type(await model.ainvoke("Why?"), AIMessage)
    tool: BaseTool = as_tool(spec, name="panel", tools={}, runnables={})
    assert tool.name


async def keep(spec: MoASpec) -> None:
    async with Runs.open("sqlite:///moa.db", spec) as runs:
        run = await runs.start("Why?", thread="t1", turn="1", breakpoints=["aggregator"])
        assert_type(run, Run)
        assert_type(run.answer, str | None)
        assert_type(run.proposals, list[Proposal])
        running = runs.resume("t1")
        async for event in running:
            assert event["type"]
        assert_type(running.result, Run | None)
        assert_type(await runs.fork("t1", spec=spec), Run)
        assert_type([step.number for step in await runs.history("t1")], list[int])


def read(state: MoAState) -> None:
    assert_type(state["messages"], list[AnyMessage])
    assert_type(state["status"], Literal["running", "answered", "failed"])
    assert_type(state["proposals"], dict[str, Proposal])
    for proposal in state["proposals"].values():
        assert_type(proposal["text"], str)
        assert_type(proposal["cost"], float | None)
        assert_type(proposal["failure"], Failure | None)
        assert_type(proposal["status"], Literal["ok", "failed", "cut", "dropped"])


def handle(error: MoAError) -> None:
    assert_type(error.hint, str)
    if isinstance(error, SpecError):
        assert_type(error.faults, tuple[Fault, ...])
        assert_type(error.faults[0].line, int)
    if isinstance(error, RunError):
        assert_type(error.proposals, tuple[Mapping[str, Any], ...])
        assert_type(error.cost, float | None)
        assert_type(error.calls, int)
    if isinstance(error, SpecMismatch):
        assert_type(error.difference, str)
    if isinstance(error, QuorumNotMet | RetrievalFailed):
        assert_type(error.message, str)
