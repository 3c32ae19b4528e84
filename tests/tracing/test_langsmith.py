"""What LangSmith shows: its own client sends to a fake, and the run trees are read back."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tracers import LangChainTracer
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langsmith import Client
from langsmith.run_helpers import tracing_context

from moa_graph import graph as graph_module
from moa_graph.graph import MoAGraph, build_graph
from moa_graph.runs.threads import Runs
from moa_graph.spec.loading import load_spec, spec_hash
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.specs import moa_spec
from tests.tracing.langsmith import FakeLangSmith, Run

ROOT = Path(__file__).parents[2]
QUESTION: Any = {"messages": [("user", "Why?")]}
KEY = "zq7canary9Zq7Canary8x"
Traces = Callable[[], list[Run]]

both_ways = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])


async def run(graph: MoAGraph, how: str, tracer: LangChainTracer) -> Any:
    compiled, config = graph.compile(), {"callbacks": [tracer]}
    match how:
        case "invoke":
            return await asyncio.to_thread(compiled.invoke, QUESTION, config)
        case "ainvoke":
            return await compiled.ainvoke(QUESTION, config)
        case _:
            modes = ["messages", "values"]
            pieces = [piece async for piece in compiled.astream(QUESTION, config, stream_mode=modes)]
            return pieces[-1][1]


def two_layers() -> MoAGraph:
    layers = {"draft": {"a": Model("A one"), "b": Model("B two")}, "refine": {"c": Model("C three")}}
    return mixture(layers, {"z": Model("The answer.")})


@both_ways
async def test_the_tree_is_run_layer_call_model(how: str, tracer: LangChainTracer, traces: Traces) -> None:
    await run(two_layers(), how, tracer)
    [root] = traces()
    assert root.tree() == {
        "test": [
            {"aggregator": [{"aggregator/answer": ["aggregator/z"]}]},
            {"draft": [{"draft/a": ["draft/a"]}, {"draft/b": ["draft/b"]}]},
            {"refine": [{"refine/c": ["refine/c"]}]},
        ]
    }
    assert [layer.name for layer in root.children] == ["draft", "refine", "aggregator"]
    assert all(part.ended and not part.error for part in root.everything())
    leaves = [part for part in root.everything() if part.kind == "llm"]
    assert [part.name for part in root.everything() if not part.children] == [leaf.name for leaf in leaves]


@both_ways
async def test_usage_stands_once_at_each_model(how: str, tracer: LangChainTracer, traces: Traces) -> None:
    state = await run(two_layers(), how, tracer)
    [root] = traces()
    told = {part.name: part.metadata["usage_metadata"] for part in root.everything() if part.kind == "llm"}
    assert told["draft/a"] == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    whole = state["messages"][-1].usage_metadata
    assert sum(usage["total_tokens"] for usage in told.values()) == whole["total_tokens"]
    others = [part for part in root.everything() if part.kind != "llm"]
    assert [part.name for part in others if "usage_metadata" in part.metadata] == []


async def test_every_run_says_whose_mixture_it_is_and_every_call_who_speaks(
    tracer: LangChainTracer, traces: Traces
) -> None:
    graph = two_layers()
    await run(graph, "ainvoke", tracer)
    [root] = traces()
    mixture_of = {"moa_name": "test", "moa_spec": spec_hash(graph.spec), "moa_depth": 3, "moa_width": 2}
    assert root.marks == mixture_of
    assert root.metadata["lc_versions"] == {"moa-graph": version("moa-graph")}
    for part in root.everything():
        if part.kind != "llm":
            assert part.marks == mixture_of
    call = root.named("draft/b", "llm")
    assert call.marks == mixture_of | {
        "moa_layer": "draft",
        "moa_proposer": "b",
        "moa_role": "proposer",
    }
    assert (call.metadata["ls_model_name"], call.metadata["agent_name"]) == ("scripted", "b")
    assert root.named("aggregator/z", "llm").marks["moa_role"] == "aggregator"


@both_ways
async def test_a_failed_call_is_marked_and_the_run_is_not(
    how: str, tracer: LangChainTracer, traces: Traces
) -> None:
    broken = Model(ValueError("out of ink"))
    await run(mixture({"draft": {"a": Model("A"), "b": broken}}, {"z": Model()}), how, tracer)
    [root] = traces()
    assert [(part.name, part.kind) for part in root.everything() if part.error] == [
        ("draft/b", "chain"),
        ("draft/b", "llm"),
    ]
    assert root.named("draft/b", "llm").error.startswith("ValueError('out of ink')")
    assert root.named("draft/b").error.startswith("NoProposal('draft/b: ValueError: out of ink')")


async def test_a_failed_run_is_marked_with_its_typed_error(tracer: LangChainTracer, traces: Traces) -> None:
    with pytest.raises(Exception, match="quorum"):
        await run(mixture({"draft": {"a": Model(ValueError("x"))}}, {"z": Model()}), "ainvoke", tracer)
    [root] = traces()
    assert "QuorumNotMet" in root.error
    assert root.tree() == {"test": [{"draft": [{"draft/a": ["draft/a"]}]}]}


async def test_each_attempt_is_a_model_run_of_its_own(
    server: FakeOpenAI, tracer: LangChainTracer, traces: Traces
) -> None:
    spec = moa_spec(server.base_url, [["fail-2-then-ok@a"]], "ok@z", defaults={"attempts": 3})
    await run(build_graph(spec), "ainvoke", tracer)
    [root] = traces()
    attempts = root.named("layer-1/fail-2-then-ok-a").children
    assert [bool(attempt.error) for attempt in attempts] == [True, True, False]
    assert server.count("fail-2-then-ok@a") == 3


async def test_a_fallback_of_the_aggregator_stands_beside_it(tracer: LangChainTracer, traces: Traces) -> None:
    graph = mixture({}, {"z": Model(ValueError("x")), "y": Model("Y")})
    await run(graph, "ainvoke", tracer)
    [root] = traces()
    assert root.tree() == {
        "test": [{"aggregator": [{"aggregator/answer": ["aggregator/y", "aggregator/z"]}]}]
    }


@both_ways
async def test_a_call_that_is_cut_ends_in_the_trace_too(
    how: str, tracer: LangChainTracer, traces: Traces
) -> None:
    layer = {"draft": {"quorum": 1, "grace": 0.01}}
    slow = Model(wait=asyncio.Event().wait)
    state = await run(
        mixture({"draft": {"a": Model("A"), "slow": slow}}, {"z": Model()}, layer=layer), how, tracer
    )
    assert state["proposals"]["draft/slow"]["status"] == "cut"
    [root] = traces()
    assert all(part.ended for part in root.everything())
    assert root.named("draft/slow", "llm").error.startswith("CancelledError('ended from outside")
    assert "cut as a straggler" in root.named("draft/slow").error
    assert tracer.run_map == {}


async def test_an_attempt_that_times_out_ends_in_the_trace_too(
    tracer: LangChainTracer, traces: Traces
) -> None:
    slow = Model(wait=asyncio.Event().wait)
    await run(
        mixture(
            {"draft": {"a": Model("A"), "slow": slow}},
            {"z": Model()},
            defaults={"timeout": 0.01, "attempts": 2},
        ),
        "ainvoke",
        tracer,
    )
    [root] = traces()
    attempts = root.named("draft/slow").children
    assert [(attempt.ended, attempt.error[:14]) for attempt in attempts] == [(True, "CancelledError")] * 2


async def test_many_runs_at_once_do_not_mix(tracer: LangChainTracer, traces: Traces) -> None:
    everybody = asyncio.Barrier(2 * 10)
    layers = {"draft": {"a": Model("A", wait=everybody.wait), "b": Model("B", wait=everybody.wait)}}
    compiled = mixture(layers, {"z": Model("Z")}).compile()
    questions = [f"Question {number}." for number in range(10)]
    await compiled.abatch([{"messages": [("user", text)]} for text in questions], {"callbacks": [tracer]})
    roots = traces()
    seen = set()
    for root in roots:
        calls = [part for part in root.everything() if part.kind == "llm"]
        assert sorted(call.name for call in calls) == ["aggregator/z", "draft/a", "draft/b"]
        asked = {tuple(re.findall(r"Question \d+\.", str(call.data["inputs"]))) for call in calls}
        assert len(asked) == 1
        seen |= asked
    assert sorted(seen) == sorted((question,) for question in questions)


async def test_inside_a_bigger_graph_only_the_mixtures_part_bears_its_marks(
    tracer: LangChainTracer, traces: Traces
) -> None:
    parent = StateGraph(MessagesState)
    for name in ("first", "second"):
        part = mixture({"draft": {"a": Model("A")}}, {"z": Model("Z")}, description=name)
        parent.add_node(name, part.compile(name=f"mixture-{name}"))
    parent.add_edge(START, "first")
    parent.add_edge("first", "second")
    await parent.compile().ainvoke(QUESTION, {"callbacks": [tracer]})
    [root] = traces()
    assert root.marks == {}
    first, second = root.named("mixture-first"), root.named("mixture-second")
    assert (first.marks["moa_name"], second.marks["moa_name"]) == ("test", "test")
    assert first.marks["moa_spec"] != second.marks["moa_spec"]
    for part in (first, second):
        assert {below.marks["moa_spec"] for below in part.everything()} == {part.marks["moa_spec"]}
        below = [
            {"aggregator": [{"aggregator/answer": ["aggregator/z"]}]},
            {"draft": [{"draft/a": ["draft/a"]}]},
        ]
        assert part.tree() == {part.name: below}


async def test_a_mixture_inside_a_model_of_another_tells_its_own_name(
    tracer: LangChainTracer, traces: Traces
) -> None:
    inner = mixture({}, {"y": Model("Y")}, description="Inside.")
    compiled = inner.compile(name="inside")

    class Nested(Model):
        async def _agenerate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
            state = await compiled.ainvoke({"messages": messages})
            self.script = [AIMessage(state["messages"][-1].text)]
            return await super()._agenerate(messages, *args, **kwargs)

    await run(mixture({}, {"z": Nested()}), "ainvoke", tracer)
    [root] = traces()
    below = root.named("inside")
    assert {part.marks["moa_spec"] for part in below.everything()} == {spec_hash(inner.spec)}


async def test_threads_are_traced_and_bear_their_id(client: Client, traces: Traces) -> None:
    spec = load_spec(ROOT / "graphs" / "quickstart.yaml")
    async with Runs.open("memory:", spec) as runs:
        with tracing_context(enabled=True, client=client):
            await runs.start("Why?", thread="t1")
    [root] = traces()
    assert root.name == root.marks["moa_name"] == "quickstart"
    assert root.marks["moa_spec"] == spec_hash(spec)
    assert {part.metadata["thread_id"] for part in root.everything()} == {"t1"}
    assert len([part for part in root.everything() if part.kind == "llm"]) == 7


def trace_of_the_command_line(langsmith: FakeLangSmith, question: str, **more: str) -> Run:
    command = [sys.executable, "-m", "moa_graph", "run", "graphs/quickstart.yaml", question, "--quiet"]
    variables = {
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_ENDPOINT": langsmith.url,
        "LANGSMITH_API_KEY": "the-key-of-the-tracing-service",
        **more,
    }
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    [root] = langsmith.trees()
    return root


def test_the_command_line_is_traced_by_environment_variables(langsmith: FakeLangSmith) -> None:
    root = trace_of_the_command_line(langsmith, "Where is the riddle?")
    assert root.name == "quickstart"
    assert [layer.name for layer in root.children] == ["draft", "refine", "aggregator"]
    assert all(part.ended for part in root.everything())
    assert "riddle" in langsmith.payload


def test_inputs_and_outputs_can_be_hidden(langsmith: FakeLangSmith) -> None:
    hide = {"LANGSMITH_HIDE_INPUTS": "true", "LANGSMITH_HIDE_OUTPUTS": "true"}
    root = trace_of_the_command_line(langsmith, "Where is the riddle?", **hide)
    assert len([part for part in root.everything() if part.kind == "llm"]) == 7
    assert "riddle" not in langsmith.payload


@pytest.mark.parametrize("how", ["ainvoke", "stream"])
async def test_no_key_is_in_what_is_sent(
    how: str,
    server: FakeOpenAI,
    tracer: LangChainTracer,
    traces: Traces,
    langsmith: FakeLangSmith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANARY_API_KEY", KEY)
    members = ["ok@a", "401", "500", "bad-json", "error-200", "refusal"]
    options = {"slot": {"api_key_env": "CANARY_API_KEY"}, "defaults": {"attempts": 1}}
    await run(build_graph(moa_spec(server.base_url, [members], "ok@z", **options)), how, tracer)
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    [root] = traces()
    assert len([part for part in root.everything() if part.kind == "llm"]) == len(members) + 1
    assert KEY not in langsmith.payload
    assert "the-key-of-the-tracing-service" not in langsmith.payload


async def test_marks_take_little_room_in_checkpoints() -> None:
    saver = InMemorySaver()
    compiled = two_layers().compile(checkpointer=saver)
    await compiled.ainvoke(QUESTION, {"configurable": {"thread_id": "t"}})
    for found in saver.list({"configurable": {"thread_id": "t"}}):
        marks = {key: value for key, value in found.metadata.items() if key.startswith("moa_")}
        assert marks.keys() == {"moa_name", "moa_spec", "moa_depth", "moa_width"}
        assert "lc_versions" not in found.metadata
        assert len(str(marks)) < 160


def test_a_copy_that_was_never_installed_compiles_and_names_no_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(name: str) -> str:
        raise graph_module.PackageNotFoundError(name)

    graph_module._versions.cache_clear()
    monkeypatch.setattr(graph_module, "version", unknown)
    assert two_layers().compile().config["metadata"]["lc_versions"] == {}
    graph_module._versions.cache_clear()
