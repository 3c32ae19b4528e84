"""What OpenTelemetry exports through OpenInference's instrumentation: spans in memory, read as trees."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("openinference.instrumentation.langchain", reason="needs the extra [otel]")

from langgraph.graph import START, MessagesState, StateGraph
from openinference.instrumentation import TraceConfig
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from moa_graph.graph import MoAGraph, build_graph
from moa_graph.spec.loading import spec_hash
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.specs import moa_spec
from tests.tracing.spans import Span, trees

QUESTION: Any = {"messages": [("user", "Why?")]}
Traces = Callable[[], list[Span]]

both_ways = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])


@pytest.fixture
def config() -> TraceConfig:
    """Give what is hidden from spans; a test may override it."""
    return TraceConfig()


@pytest.fixture
def traces(config: TraceConfig) -> Iterator[Traces]:
    """Instrument LangChain, and give what returns the trees of all finished spans; undo it at the end."""
    exporter, provider, instrumentor = InMemorySpanExporter(), TracerProvider(), LangChainInstrumentor()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider, config=config)
    try:
        yield lambda: trees(exporter.get_finished_spans())
    finally:
        instrumentor.uninstrument()
        provider.shutdown()


async def run(graph: MoAGraph, how: str) -> Any:
    compiled = graph.compile()
    match how:
        case "invoke":
            return await asyncio.to_thread(compiled.invoke, QUESTION)
        case "ainvoke":
            return await compiled.ainvoke(QUESTION)
        case _:
            pieces = [piece async for piece in compiled.astream(QUESTION, stream_mode=["messages", "values"])]
            return pieces[-1][1]


def two_layers() -> MoAGraph:
    layers = {"draft": {"a": Model("A one"), "b": Model("B two")}, "refine": {"c": Model("C three")}}
    return mixture(layers, {"z": Model("The answer.")})


@both_ways
async def test_spans_nest_run_layer_call_model(how: str, traces: Traces) -> None:
    await run(two_layers(), how)
    [root] = traces()
    assert root.tree() == {
        "test": [
            {"aggregator": [{"aggregator/answer": ["aggregator/z"]}]},
            {"draft": [{"draft/a": ["draft/a"]}, {"draft/b": ["draft/b"]}]},
            {"refine": [{"refine/c": ["refine/c"]}]},
        ]
    }
    assert [layer.name for layer in root.children] == ["draft", "refine", "aggregator"]
    assert {span.kind for span in root.everything() if not span.children} == {"LLM"}
    assert not any(span.failed for span in root.everything())


@both_ways
async def test_model_spans_bear_model_tokens_and_who_speaks(how: str, traces: Traces) -> None:
    graph = two_layers()
    state = await run(graph, how)
    [root] = traces()
    call = root.named("draft/b", "LLM")
    assert call.attributes["llm.model_name"] == "scripted"
    assert call.attributes["llm.token_count.prompt"] == 1
    assert call.attributes["llm.token_count.completion"] == 2
    told = {key: value for key, value in call.metadata.items() if key.startswith("moa_")}
    assert told == {
        "moa_name": "test",
        "moa_spec": spec_hash(graph.spec),
        "moa_depth": 3,
        "moa_width": 2,
        "moa_layer": "draft",
        "moa_proposer": "b",
        "moa_role": "proposer",
    }
    counts = [span.attributes.get("llm.token_count.total", 0) for span in root.everything() if span.children]
    assert sum(counts) == 0
    whole = sum(span.attributes["llm.token_count.total"] for span in root.everything() if span.kind == "LLM")
    assert whole == state["messages"][-1].usage_metadata["total_tokens"]


async def test_the_root_says_whose_mixture_it_is(traces: Traces) -> None:
    graph = two_layers()
    await run(graph, "ainvoke")
    [root] = traces()
    assert (root.metadata["moa_name"], root.metadata["moa_spec"]) == ("test", spec_hash(graph.spec))


@both_ways
async def test_a_failed_call_is_an_error_and_the_run_is_not(how: str, traces: Traces) -> None:
    broken = Model(ValueError("out of ink"))
    await run(mixture({"draft": {"a": Model("A"), "b": broken}}, {"z": Model()}), how)
    [root] = traces()
    failed = [span for span in root.everything() if span.failed]
    assert [(span.name, span.kind) for span in failed] == [("draft/b", "CHAIN"), ("draft/b", "LLM")]
    [event] = [event for event in failed[1].data.events if event.name == "exception"]
    assert event.attributes is not None
    assert event.attributes["exception.message"] == "out of ink"


async def test_a_retry_is_a_span_of_its_own(server: FakeOpenAI, traces: Traces) -> None:
    spec = moa_spec(server.base_url, [["fail-1-then-ok@a"]], "ok@z", defaults={"attempts": 3})
    await run(build_graph(spec), "ainvoke")
    [root] = traces()
    attempts = root.named("layer-1/fail-1-then-ok-a").children
    assert [attempt.failed for attempt in attempts] == [True, False]


@both_ways
async def test_a_call_that_is_cut_is_exported_too(how: str, traces: Traces) -> None:
    layer = {"draft": {"quorum": 1, "grace": 0.01}}
    slow = Model(wait=asyncio.Event().wait)
    await run(mixture({"draft": {"a": Model("A"), "slow": slow}}, {"z": Model()}, layer=layer), how)
    [root] = traces()
    assert root.named("draft/slow", "LLM").failed
    assert "cut as a straggler" in str(root.named("draft/slow").data.status.description)


async def test_runs_at_once_do_not_mix(traces: Traces) -> None:
    everybody = asyncio.Barrier(2 * 10)
    layers = {"draft": {"a": Model("A", wait=everybody.wait), "b": Model("B", wait=everybody.wait)}}
    compiled = mixture(layers, {"z": Model("Z")}).compile()
    questions = [f"Question {number}." for number in range(10)]
    await asyncio.gather(*(compiled.ainvoke({"messages": [("user", text)]}) for text in questions))
    seen = []
    for root in traces():
        calls = [span for span in root.everything() if span.kind == "LLM"]
        assert sorted(call.name for call in calls) == ["aggregator/z", "draft/a", "draft/b"]
        asked = {found for call in calls for found in re.findall(r"Question \d+\.", str(call.attributes))}
        assert len(asked) == 1
        seen += asked
    assert sorted(seen) == sorted(questions)


async def test_inside_a_bigger_graph_the_run_hangs_below_its_node(traces: Traces) -> None:
    parent = StateGraph(MessagesState)
    parent.add_node("advice", mixture({"draft": {"a": Model("A")}}, {"z": Model("Z")}).compile())
    parent.add_edge(START, "advice")
    await parent.compile(name="parent").ainvoke(QUESTION)
    [root] = traces()
    below = [{"aggregator": [{"aggregator/answer": ["aggregator/z"]}]}, {"draft": [{"draft/a": ["draft/a"]}]}]
    assert root.tree() == {"parent": [{"advice": [{"test": below}]}]}
    assert "moa_name" not in root.metadata
    assert root.named("test").metadata["moa_name"] == "test"


@pytest.mark.parametrize("config", [TraceConfig(hide_inputs=True, hide_outputs=True)])
async def test_prompts_and_answers_can_be_hidden(config: TraceConfig, traces: Traces) -> None:
    graph = mixture({"draft": {"a": Model("A secret.")}}, {"z": Model("It is hidden.")})
    await graph.compile().ainvoke({"messages": [("user", "A riddle.")]})
    [root] = traces()
    said = " ".join(str(span.attributes) for span in root.everything())
    assert [word for word in ("secret", "hidden", "riddle") if word in said] == []
    assert root.named("draft/a", "LLM").attributes["llm.token_count.total"] > 0


async def test_no_key_is_in_a_span(
    server: FakeOpenAI, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "zq7canary9Zq7Canary8x"
    monkeypatch.setenv("CANARY_API_KEY", key)
    spec = moa_spec(server.base_url, [["ok@a", "401", "500"]], "ok@z", slot={"api_key_env": "CANARY_API_KEY"})
    await run(build_graph(spec), "ainvoke")
    assert f"Bearer {key}" in {request.headers["authorization"] for request in server.requests}
    [root] = traces()
    assert key not in " ".join(span.data.to_json() for span in root.everything())
