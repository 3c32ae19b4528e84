"""From a spec to a LangGraph graph: one node per layer, and the aggregator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from moa_graph.aggregate import AggregatorNode
from moa_graph.layer import LayerNode
from moa_graph.models.pool import ModelPool
from moa_graph.proposers.resolve import aggregator_callers, proposers_of
from moa_graph.spec.schema import MoASpec
from moa_graph.state import MoAInput, MoAOutput, MoAState

__all__ = ["MoAGraph", "build_graph"]

_THREAD_HEADROOM = 4


class MoAGraph(StateGraph[MoAState, None, MoAInput, MoAOutput]):
    """Be a StateGraph whose compiled form has room for its widest layer."""

    def __init__(self, spec: MoASpec) -> None:
        super().__init__(MoAState, input_schema=MoAInput, output_schema=MoAOutput)
        self.spec = spec

    def compile(self, *args: Any, **kwargs: Any) -> CompiledStateGraph[MoAState, None, MoAInput, MoAOutput]:
        """Compile as StateGraph does.

        `invoke` runs a layer's tasks in LangGraph's threads, by default 4 more than there are cores: a
        wide layer would wait for them. Parallel requests are bounded by the spec's `limits.max_concurrency`.
        """
        kwargs.setdefault("name", self.spec.name)
        width = max((layer.width for layer in self.spec.layers), default=1)
        return super().compile(*args, **kwargs).with_config(max_concurrency=width + _THREAD_HEADROOM)


def build_graph(spec: MoASpec, *, models: Mapping[str, BaseChatModel] | None = None) -> MoAGraph:
    """Build the graph of a spec, uncompiled; compile it with a checkpointer to keep threads.

    `models` are chat models of the host program: one registered under a slot's name takes that
    slot's place, and slots `host:NAME` refer to the others. The other models are made when a run
    starts; ModelNotReady is raised then, before any call, if one cannot be.
    """
    pool = ModelPool(spec, models)
    graph = MoAGraph(spec)
    previous = START
    for index, layer in enumerate(spec.layers):
        graph.add_node(layer.name, LayerNode(spec, index, proposers_of(spec, layer, pool), pool))
        graph.add_edge(previous, layer.name)
        previous = layer.name
    graph.add_node("aggregator", AggregatorNode(spec, aggregator_callers(spec, pool), pool))
    graph.add_edge(previous, "aggregator")
    graph.add_edge("aggregator", END)
    return graph
