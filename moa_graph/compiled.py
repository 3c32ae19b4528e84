"""A compiled graph that, drawn with `xray`, shows who is inside its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.graph import Edge, Graph
from langgraph.graph.state import CompiledStateGraph

from moa_graph.spec.schema import Member, MoASpec
from moa_graph.state import MoAInput, MoAOutput, MoAState

__all__ = ["CompiledMoA"]


class CompiledMoA(CompiledStateGraph[MoAState, None, MoAInput, MoAOutput]):
    """Be what StateGraph compiles to, and know the spec.

    Proposers are tasks of their layer's node, not nodes: LangGraph cannot find them when it draws. They stay
    out of `get_subgraphs`, which decides how a thread's state is read.
    """

    def __init__(self, *, spec: MoASpec, **parts: Any) -> None:
        super().__init__(**parts)
        self.spec = spec

    def get_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Return the drawable graph: a node per layer; with `xray` also each proposer, "layer/proposer"."""
        graph = super().get_graph(config, xray=xray)
        return _with_members(graph, self.spec) if xray else graph

    async def aget_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """Return the drawable graph, as `get_graph` does."""
        graph = await super().aget_graph(config, xray=xray)
        return _with_members(graph, self.spec) if xray else graph


def _with_members(graph: Graph, spec: MoASpec) -> Graph:
    """Put the members of each layer between its node and the next; ids stay flat.

    A prefix `layer:` would draw a frame, but Mermaid refuses two frames of one name, and every
    Mixture-of-Agents in a parent graph has an aggregator.
    """
    for layer in spec.layers:
        onward = _take_edges_from(graph, layer.name)
        for member in spec.members(layer):
            _add_member(graph, spec, layer.name, member, onward)
    members = _final_members(spec)
    onward = _take_edges_from(graph, "aggregator") if members else []
    previous: str | None = None
    for member in members:
        id_ = _add_member(graph, spec, "aggregator", member, onward, after=previous)
        previous = id_
    return graph


def _final_members(spec: MoASpec) -> list[Member]:
    """Return who is asked for the answer, under the names of their calls; a vote asks nobody."""
    match spec.aggregator.reduce:
        case "vote":
            return []
        case "synthesize":
            return spec.aggregators()
        case _:
            return [replace(member, id=f"@ranker:{member.id}") for member in spec.aggregators()]


def _take_edges_from(graph: Graph, name: str) -> list[Edge]:
    taken = [edge for edge in graph.edges if edge.source == name]
    graph.edges = [edge for edge in graph.edges if edge.source != name]
    return taken


def _add_member(
    graph: Graph,
    spec: MoASpec,
    name: str,
    member: Member,
    onward: Sequence[Edge],
    after: str | None = None,
) -> str:
    """Add a member of the node `name`; a fallback comes `after` the one that it stands in for."""
    home = graph.nodes[name]
    node = graph.add_node(home.data, f"{name}/{member.id}", metadata={"model": spec.requested(member)})
    if after is None:
        graph.add_edge(home, node)
    else:
        graph.add_edge(graph.nodes[after], node, "fallback", conditional=True)
    graph.edges += [edge.copy(source=node.id) for edge in onward]
    return node.id
