"""LangGraph's own drawing: layers as nodes, and with xray who is inside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from moa_graph.compiled import CompiledMoA
from moa_graph.graph import build_graph
from moa_graph.spec.loading import load_spec
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph
    from langgraph.graph.state import CompiledStateGraph

INPUT: Any = {"messages": [("user", "Why?")]}


def compiled(**options: Any) -> CompiledMoA:
    model = ScriptedChatModel()
    layers = {"draft": {"a": model, "b": model}, "refine": {"c": model}}
    return mixture(layers, {"editor": model, "spare": model}).compile(**options)


def parent(*names: str) -> CompiledStateGraph[MessagesState]:
    """Return a graph with a Mixture-of-Agents under each name, in a line."""
    app = StateGraph(MessagesState)
    previous = START
    for name in names:
        app.add_node(name, compiled())
        app.add_edge(previous, name)
        previous = name
    return app.compile()


def lines(graph: Graph) -> list[str]:
    """Return the Mermaid text without its head, its styles and the ways in."""
    text = graph.draw_mermaid().partition("graph TD;\n")[2]
    kept = [line.strip() for line in text.splitlines() if "classDef" not in line]
    return [line for line in kept if not line.startswith(("__start__ --> ", "__start__ -.-> "))]


def edges(graph: Graph) -> list[tuple[str, str, bool]]:
    return [(edge.source, edge.target, edge.conditional) for edge in graph.edges]


def test_a_drawing_shows_the_layers() -> None:
    graph = compiled().get_graph()
    assert ("__start__", "draft") in [(edge.source, edge.target) for edge in graph.edges]
    assert lines(graph) == [
        "__start__([<p>__start__</p>]):::first",
        "draft(draft)",
        "refine(refine)",
        "aggregator(aggregator)",
        "__end__([<p>__end__</p>]):::last",
        "draft --> refine;",
        "refine --> aggregator;",
        "aggregator --> __end__;",
    ]


def test_xray_shows_the_proposers_of_each_layer_and_the_fallbacks() -> None:
    assert lines(compiled().get_graph(xray=True))[5:] == [
        r"draft\2fa(draft/a<hr/><small><em>model = host:draft-a</em></small>)",
        r"draft\2fb(draft/b<hr/><small><em>model = host:draft-b</em></small>)",
        r"refine\2fc(refine/c<hr/><small><em>model = host:refine-c</em></small>)",
        r"aggregator\2feditor(aggregator/editor<hr/><small><em>model = host:editor</em></small>)",
        r"aggregator\2fspare(aggregator/spare<hr/><small><em>model = host:spare</em></small>)",
        r"draft --> draft\2fa;",
        r"draft\2fa --> refine;",
        r"draft --> draft\2fb;",
        r"draft\2fb --> refine;",
        r"refine --> refine\2fc;",
        r"refine\2fc --> aggregator;",
        r"aggregator --> aggregator\2feditor;",
        r"aggregator\2feditor --> __end__;",
        r"aggregator\2feditor -. &nbsp;fallback&nbsp; .-> aggregator\2fspare;",
        r"aggregator\2fspare --> __end__;",
    ]


def test_the_names_are_those_of_the_proposals() -> None:
    model = ScriptedChatModel()
    graph = mixture({"draft": {"a": model, "b": model}}, {"z": model}).compile()
    drawn = set(graph.get_graph(xray=True).nodes)
    assert set(graph.invoke(INPUT)["proposals"]) == {id_ for id_ in drawn if id_.startswith("draft/")}


def test_an_aggregator_alone_can_be_drawn() -> None:
    graph = mixture({}, {"z": ScriptedChatModel()}).compile()
    assert edges(graph.get_graph(xray=True)) == [
        ("__start__", "aggregator", False),
        ("aggregator", "aggregator/z", False),
        ("aggregator/z", "__end__", False),
    ]


async def test_the_async_drawing_is_the_same() -> None:
    graph = compiled()
    assert (await graph.aget_graph()).draw_mermaid() == graph.get_graph().draw_mermaid()
    assert (await graph.aget_graph(xray=1)).draw_mermaid() == graph.get_graph(xray=True).draw_mermaid()


def test_xray_leaves_no_trace_in_the_graph() -> None:
    graph = compiled()
    plain = graph.get_graph().draw_mermaid()
    first = graph.get_graph(xray=True).draw_mermaid()
    assert graph.get_graph(xray=True).draw_mermaid() == first
    assert graph.get_graph().draw_mermaid() == plain


def test_a_stop_is_marked_at_its_layer() -> None:
    drawn = compiled(interrupt_before=["refine"]).get_graph(xray=True)
    assert drawn.nodes["refine"].metadata == {"__interrupt": "before"}


def test_a_parent_shows_layers_and_with_xray_proposers() -> None:
    app = parent("answer")
    assert "answer" in app.get_graph().nodes
    layers = set(app.get_graph(xray=1).nodes)
    assert {"answer:draft", "answer:refine", "answer:aggregator"} <= layers
    assert not any("/" in id_ for id_ in layers)
    drawn = app.get_graph(xray=True)
    assert app.get_graph(xray=2).nodes.keys() == drawn.nodes.keys()
    assert {"answer:draft/a", "answer:draft/b", "answer:refine/c", "answer:aggregator/spare"} <= set(
        drawn.nodes
    )
    assert ("answer:draft/b", "answer:refine", False) in edges(drawn)
    text = lines(drawn)
    assert "subgraph answer" in text
    assert r"answer\3adraft\2fa(draft/a<hr/><small><em>model = host:draft-a</em></small>)" in text


async def test_two_mixtures_in_one_parent_can_be_drawn() -> None:
    drawn = await parent("first", "second").aget_graph(xray=True)
    assert [line for line in lines(drawn) if line.startswith("subgraph")] == [
        "subgraph first",
        "subgraph second",
    ]


@pytest.mark.parametrize("change", [{"tags": ["t"]}, {"max_concurrency": 3}])
def test_a_configured_copy_draws_as_well(change: dict[str, Any]) -> None:
    graph = compiled()
    copy = graph.with_config(**change).copy({"checkpointer": InMemorySaver()})
    assert copy.spec is graph.spec
    assert copy.get_graph(xray=True).draw_mermaid() == graph.get_graph(xray=True).draw_mermaid()


def test_drawn_proposers_are_no_subgraphs_of_a_thread() -> None:
    graph = compiled(checkpointer=InMemorySaver(), interrupt_before=["refine"])
    thread: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke(INPUT, thread)
    graph.get_graph(xray=True)
    assert list(graph.get_subgraphs(recurse=True)) == []
    state = graph.get_state(thread, subgraphs=True)
    assert [(task.name, task.state) for task in state.tasks] == [("refine", None)]
    assert graph.invoke(None, thread)["status"] == "answered"


def reduced(aggregator: dict[str, Any], **parts: Any) -> CompiledMoA:
    document = {
        "moa": 1,
        "name": "reduced",
        "models": {"a": {"model": "host:a"}, "b": {"model": "host:b"}},
        "layers": [{"name": "draft", "proposers": ["a", "b"]}, {"name": "refine", "proposers": ["a"]}],
        "aggregator": aggregator,
        **parts,
    }
    model = ScriptedChatModel("It is 12.")
    return build_graph(load_spec(document), models={"a": model, "b": model}).compile()


VOTE = {"reduce": "vote", "extract": "number"}


def test_a_vote_asks_nobody_and_still_leads_to_the_end() -> None:
    drawn = reduced(VOTE).get_graph(xray=True)
    assert not any(id_.startswith("aggregator/") for id_ in drawn.nodes)
    assert ("refine/a", "aggregator", False) in edges(drawn)
    assert ("aggregator", "__end__", False) in edges(drawn)


def test_who_chooses_the_answer_bears_the_name_of_its_call() -> None:
    graph = reduced({"reduce": "pick", "model": "a", "fallbacks": ["b"], "on_error": "first"})
    drawn = graph.get_graph(xray=True)
    assert {"aggregator/@ranker:a", "aggregator/@ranker:b"} <= drawn.nodes.keys()
    assert ("aggregator/@ranker:a", "aggregator/@ranker:b", True) in edges(drawn)
    assert ("aggregator/@ranker:b", "__end__", False) in edges(drawn)


def test_a_stop_is_a_way_past_the_layers_that_are_left() -> None:
    stop = {"by": "agreement", "agree": 2, "extract": "number"}
    graph = reduced(VOTE, stop=stop)
    assert ("draft", "aggregator", True) in edges(graph.get_graph())
    drawn = edges(graph.get_graph(xray=True))
    assert {("draft/b", "aggregator", True), ("draft/b", "refine", True)} <= set(drawn)
