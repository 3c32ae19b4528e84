"""From a spec to a LangGraph graph: one node per layer, and the aggregator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, StateGraph

from moa_graph.aggregate import AggregatorNode
from moa_graph.compiled import CompiledMoA
from moa_graph.layer import LayerNode
from moa_graph.node import Node
from moa_graph.planning import steps
from moa_graph.proposers.resolve import aggregator_callers, proposers_of
from moa_graph.resources import Registered, Resources
from moa_graph.retrieve import RETRIEVE, RetrieveNode
from moa_graph.spec.loading import Source, load_spec
from moa_graph.spec.schema import MoASpec
from moa_graph.spec.writing import spec_hash
from moa_graph.state import MoAInput, MoAOutput, MoAState
from moa_graph.terms import going_on

__all__ = ["MoAGraph", "build_graph"]

_THREAD_HEADROOM = 4
_MOST_TASKS = 128
"""Of calls about proposals; the proposers of a layer all begin at once, however many there are."""


class MoAGraph(StateGraph[MoAState, None, MoAInput, MoAOutput]):
    """Be a StateGraph whose compiled form has room for its widest layer."""

    def __init__(self, spec: MoASpec) -> None:
        super().__init__(MoAState, input_schema=MoAInput, output_schema=MoAOutput)
        self.spec = spec

    def compile(self, *args: Any, **kwargs: Any) -> CompiledMoA:
        """Compile as StateGraph does.

        `invoke` runs a layer's tasks in LangGraph's threads, by default 4 more than there are cores: a
        wide layer would wait for them. Parallel requests are bounded by the spec's `limits.max_concurrency`;
        so are the tasks of those who are asked about proposals, who can be many more.
        """
        kwargs.setdefault("name", self.spec.name)
        width = max((layer.width for layer in self.spec.layers), default=1)
        most = max(len(step.calls) for step in steps(self.spec))
        tasks = max(len(self.spec.retrieve), width, min(most, _MOST_TASKS))
        compiled = CompiledMoA(spec=self.spec, **vars(super().compile(*args, **kwargs)))
        return compiled.with_config(
            max_concurrency=tasks + _THREAD_HEADROOM, metadata=_trace_metadata(self.spec, width)
        )


def _trace_metadata(spec: MoASpec, width: int) -> dict[str, Any]:
    """Return what a run says of itself in traces; docs/tracing.md explains each key.

    LangGraph copies the texts and numbers into every checkpoint, so they are few and short.
    """
    return {
        "moa_name": spec.name,
        "moa_spec": spec_hash(spec),  # as threads mark their checkpoints
        "moa_depth": len(spec.layers) + 1,
        "moa_width": width,
        "lc_versions": _versions(),
    }


@cache
def _versions() -> dict[str, str]:
    try:
        return {"moa-graph": version("moa-graph")}
    except PackageNotFoundError:  # a copy that was never installed
        return {}


def build_graph(
    spec: Source,
    *,
    models: Mapping[str, BaseChatModel] | None = None,
    retrievers: Mapping[str, BaseRetriever] | None = None,
    tools: Mapping[str, BaseTool] | None = None,
    runnables: Mapping[str, Runnable[Any, Any]] | None = None,
    embeddings: Mapping[str, Embeddings] | None = None,
) -> MoAGraph:
    """Build the graph of a spec, uncompiled; compile it with a checkpointer to keep threads.

    `spec` is what `load_spec` returns, or takes. The mappings hold objects of the host program, to which a
    spec refers by name. `models`: one registered under a slot's name takes that slot's place, and slots
    `host:NAME` refer to the others. `retrievers`: likewise. `tools` are for proposers that are agents,
    `runnables` (agents and compiled graphs among them) are proposers themselves, `embeddings` tell how alike
    proposals are.

    Raises MoAError for an object of the wrong kind. What a spec names is made and looked up when a run
    starts; ModelNotReady is raised then, before any call, if something is missing.
    """
    registered = Registered(models or {}, retrievers or {}, tools or {}, runnables or {}, embeddings or {})
    return _build(Resources(load_spec(spec), registered))


def _build(resources: Resources) -> MoAGraph:
    spec = resources.spec
    graph = MoAGraph(spec)
    callers = aggregator_callers(resources)
    first = [RETRIEVE] if spec.retrieve else []
    names = [*first, *(layer.name for layer in spec.layers), "aggregator"]
    nodes: list[Node] = [
        *(RetrieveNode(resources) for _ in first),
        *(
            LayerNode(resources, index, proposers_of(resources, layer, _nested))
            for index, layer in enumerate(spec.layers)
        ),
        AggregatorNode(resources, callers),
    ]
    for name, node in zip(names, nodes, strict=True):
        graph.add_node(name, node)
    layers = {layer.name for layer in spec.layers[:-1]}
    for name, following in zip(names, [*names[1:], END], strict=True):
        if spec.stop is not None and name in layers:
            graph.add_conditional_edges(name, _Way(_onward(following)), [following, "aggregator"])
        else:
            graph.add_edge(name, following)
    _add_entry(graph, spec, names[0])
    return graph


_Choose = Callable[[MoAState, RunnableConfig], str]


class _Way(Runnable[MoAState, str]):
    """Choose the step that follows where the run is; LangGraph has a plain function called in a thread."""

    name = "way"

    def __init__(self, choose: _Choose) -> None:
        self._choose = choose

    def invoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> str:  # noqa: A002
        """Return the name of the step."""
        return self._choose(input, config or {})

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> str:  # noqa: A002
        """Return the name of the step."""
        return self._choose(input, config or {})


def _onward(following: str) -> _Choose:
    """Return what leads to the layer that follows, or past all others when it is enough."""

    def onward(state: MoAState, _: RunnableConfig) -> str:
        stopped = state.get("moa_stopped")
        return "aggregator" if stopped and stopped["message"] == state["messages"][-1].id else following

    return onward


def _nested(resources: Resources) -> CompiledMoA:
    """Return the compiled graph of a spec inside another one."""
    return _build(resources).compile(checkpointer=False)


def _add_entry(graph: MoAGraph, spec: MoASpec, first: str) -> None:
    """Lead to the first step, or past all others when the aggregator goes on after tools it had called."""
    if first == "aggregator":
        graph.add_edge(START, first)
        return

    def enter(state: MoAState, config: RunnableConfig) -> str:
        return "aggregator" if going_on(spec, state.get("messages") or [], config) else first

    graph.add_conditional_edges(START, _Way(enter), [first, "aggregator"])
