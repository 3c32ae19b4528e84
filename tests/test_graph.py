"""The graph as a LangGraph user meets it: sync and async, streamed, embedded, in conversation."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph

from moa_graph import graph as graph_module
from moa_graph.errors import ModelNotReady, QuorumNotMet
from moa_graph.graph import build_graph
from moa_graph.spec.schema import MoASpec
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.panels import Panel

QUESTION: Any = {"messages": [("user", "Why?")]}


def two_layers(final: Model | None = None) -> Any:
    layers = {"draft": {"a": Model("A one"), "b": Model("B two")}, "refine": {"a": Model("C three")}}
    return mixture(layers, {"z": final or Model("The final answer.")})


def test_invoke_gives_what_ainvoke_gives() -> None:
    graph = two_layers().compile()
    sync, async_ = graph.invoke(QUESTION), asyncio.run(graph.ainvoke(QUESTION))
    assert list(sync["proposals"]) == list(async_["proposals"]) == ["draft/a", "draft/b", "refine/a"]
    assert sync["messages"][-1].text == async_["messages"][-1].text == "The final answer."


async def test_invoke_works_inside_a_running_loop() -> None:
    assert two_layers().compile().invoke(QUESTION)["status"] == "answered"


def test_invoke_works_many_times_in_one_process() -> None:
    graph = two_layers().compile()
    assert {graph.invoke(QUESTION)["status"] for _ in range(20)} == {"answered"}


def test_asyncio_run_works_many_times_in_one_process() -> None:
    graph = two_layers().compile()
    assert {asyncio.run(graph.ainvoke(QUESTION))["status"] for _ in range(5)} == {"answered"}


def test_a_wide_layer_runs_in_parallel_under_invoke() -> None:
    width = 40
    everybody = asyncio.Barrier(width)
    members = {f"m{number}": Model(str(number), wait=everybody.wait) for number in range(width)}
    state = mixture({"draft": members}, {"z": Model()}).compile().invoke(QUESTION)
    assert [proposal["text"] for proposal in state["proposals"].values()] == [str(n) for n in range(width)]


@pytest.mark.parametrize("max_concurrency", [1, 2, 5])
def test_batch_with_any_concurrency_answers_every_input(max_concurrency: int) -> None:
    graph = two_layers().compile()
    states = graph.batch([QUESTION] * 4, {"max_concurrency": max_concurrency})
    assert [state["status"] for state in states] == ["answered"] * 4


@pytest.mark.parametrize("max_concurrency", [1, 2, 5])
async def test_abatch_with_any_concurrency_answers_every_input(max_concurrency: int) -> None:
    graph = two_layers().compile()
    states = await graph.abatch([QUESTION] * 4, {"max_concurrency": max_concurrency})
    assert [state["status"] for state in states] == ["answered"] * 4


async def test_the_specs_concurrency_bounds_parallel_requests() -> None:
    running, peak = 0, 0

    async def wait() -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running -= 1

    members = {f"m{number}": Model(wait=wait) for number in range(12)}
    await (
        mixture({"draft": members}, {"z": Model()}, limits={"max_concurrency": 3}).compile().ainvoke(QUESTION)
    )
    assert peak == 3


def test_failure_under_invoke_is_the_same_typed_error() -> None:
    with pytest.raises(QuorumNotMet):
        mixture({"draft": {"a": Model(ValueError("x"))}}, {"z": Model()}).compile().invoke(QUESTION)


def test_straggler_is_cut_under_invoke_too() -> None:
    slow = Model(wait=asyncio.Event().wait)
    graph = mixture(
        {"draft": {"a": Model("A"), "slow": slow}},
        {"z": Model()},
        layer={"draft": {"quorum": 1, "grace": 0.01}},
    )
    assert graph.compile().invoke(QUESTION)["proposals"]["draft/slow"]["status"] == "cut"
    assert slow.cancelled == 1


async def test_the_aggregator_streams_and_the_answer_is_not_sent_twice() -> None:
    chunks = [
        (message, metadata)
        async for message, metadata in two_layers().compile().astream(QUESTION, stream_mode="messages")
    ]
    answer = [message for message, metadata in chunks if metadata["moa_role"] == "aggregator"]
    assert "".join(message.text for message in answer) == "The final answer."
    assert len([message for message in answer if message.text]) == 3


def test_stream_under_sync_gives_the_same_tokens() -> None:
    chunks = list(two_layers().compile().stream(QUESTION, stream_mode="messages"))
    answer = [message.text for message, metadata in chunks if metadata["moa_role"] == "aggregator"]
    assert "".join(answer) == "The final answer."


async def test_every_call_says_who_speaks() -> None:
    seen = {}
    async for message, metadata in two_layers().compile().astream(QUESTION, stream_mode="messages"):
        assert isinstance(message, AIMessageChunk)
        seen[metadata["moa_layer"], metadata["moa_proposer"]] = metadata
    assert sorted(seen) == [("aggregator", "z"), ("draft", "a"), ("draft", "b"), ("refine", "a")]
    told = seen["draft", "a"]
    assert (told["moa_role"], told["agent_name"], told["ls_model_name"]) == ("proposer", "a", "scripted")
    assert told["langgraph_node"] == "draft/a"


async def test_nobody_streams_when_nobody_looks() -> None:
    state = await two_layers().compile().ainvoke(QUESTION)
    assert {record["first_token_seconds"] for record in state["proposals"].values()} == {None}


async def test_events_tell_the_whole_story_in_order() -> None:
    events = [event async for event in two_layers().compile().astream(QUESTION, stream_mode="custom")]
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["run.started", "layer.started"]
    assert kinds[-1] == "run.finished"
    assert kinds.count("call.started") == kinds.count("call.finished") == 4
    assert kinds.count("layer.joined") == 2
    assert events[0]["layers"] == {"draft": ["a", "b"], "refine": ["a"]}
    assert (events[-1]["status"], events[-1]["calls"], events[-1]["error"]) == ("answered", 4, None)
    for kind, started in (("call.finished", "call.started"), ("layer.joined", "layer.started")):
        assert kinds.index(started) < kinds.index(kind)


async def test_a_failed_run_ends_its_events_with_the_error() -> None:
    graph = mixture({"draft": {"a": Model(ValueError("x"))}}, {"z": Model()}).compile()
    events: list[Any] = []

    async def listen() -> None:
        async for event in graph.astream(QUESTION, stream_mode="custom"):
            events.append(event)  # noqa: PERF401 - a comprehension would lose what came before the error

    with pytest.raises(QuorumNotMet):
        await listen()
    assert events[-1]["type"] == "run.finished"
    assert events[-1]["status"] == "failed"
    assert events[-1]["error"]["type"] == "QuorumNotMet"


async def test_a_second_question_is_a_new_turn_with_the_conversation_and_without_old_proposals() -> None:
    proposer, final = Model("A", "B"), Model("first", "second")
    graph = mixture({"draft": {"a": proposer}}, {"z": final}).compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke(QUESTION, config)
    state = await graph.ainvoke({"messages": [("user", "And now?")]}, config)
    assert [message.text for message in proposer.calls[1]] == ["Why?", "first", "And now?"]
    assert final.calls[1][0].text.endswith("models:\n1. B")
    assert [record["text"] for record in state["proposals"].values()] == ["B"]
    assert state["messages"][-1].response_metadata["moa"]["calls"] == 2


async def test_as_a_node_of_a_messages_graph_only_the_answer_enters_the_conversation() -> None:
    parent = StateGraph(MessagesState)
    parent.add_node("moa", two_layers().compile())
    parent.add_edge(START, "moa")
    state = await parent.compile().ainvoke(QUESTION)
    assert [message.text for message in state["messages"]] == ["Why?", "The final answer."]
    assert set(state) == {"messages"}


async def test_checkpoints_hold_plain_data_that_strict_deserialisation_reads() -> None:
    strict = JsonPlusSerializer(allowed_msgpack_modules=None)
    graph = two_layers().compile(checkpointer=InMemorySaver(serde=strict))
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke(QUESTION, config)
    await graph.ainvoke(QUESTION, config)
    values = (await graph.aget_state(config)).values
    assert set(values) == {"messages", "proposals", "status", "nonce"}
    assert values["proposals"]["draft/a"]["text"] == "A one"


async def test_user_placement_reaches_the_model() -> None:
    final = Model("x")
    graph = mixture({"draft": {"a": Model("A")}}, {"z": final}, final={"references": {"placement": "user"}})
    await graph.compile().ainvoke(QUESTION)
    [message] = final.calls[0]
    assert message.text.startswith("Why?\n\nYou have been provided")
    assert "\nA\n</response-" in message.text


async def test_a_proposers_own_instruction_reaches_it_alone() -> None:
    sceptic, other = Model("A"), Model("B")
    graph = mixture({"draft": {"sceptic": sceptic, "other": other}}, {"z": Model()})
    [layer] = graph.spec.layers
    first = layer.proposers[0].model_copy(update={"system": "Doubt everything."})
    spec = graph.spec.model_copy(
        update={"layers": [layer.model_copy(update={"proposers": [first, layer.proposers[1]]})]}
    )
    models = {"draft-sceptic": sceptic, "draft-other": other, "z": Model()}
    await build_graph(spec, models=models).compile().ainvoke(QUESTION)
    assert sceptic.calls[0][0].text == "Doubt everything."
    assert other.calls[0][0].type == "human"


async def test_a_missing_key_is_said_before_any_call(server: Any) -> None:
    slot = {"base_url": server.base_url, "api_key_env": "NOT_SET_ANYWHERE"}
    spec = MoASpec.model_validate(
        {
            "moa": 1,
            "name": "t",
            "models": {
                "a": {"model": "openai:ok", **slot, "api_key_env": "none"},
                "z": {"model": "openai:ok", **slot},
            },
            "layers": [{"name": "draft", "proposers": ["a"]}],
            "aggregator": {"model": "z"},
        }
    )
    with pytest.raises(ModelNotReady, match="NOT_SET_ANYWHERE"):
        await build_graph(spec).compile().ainvoke(QUESTION)
    assert server.count() == 0


def test_drawing_and_schemas_need_no_keys() -> None:
    compiled = two_layers().compile()
    assert "draft" in compiled.get_graph().draw_mermaid()
    assert set(compiled.get_output_jsonschema()["properties"]) == {"messages", "proposals", "status"}


# -- the ways past layers that are not needed ----------------------------------------------------------------


def edges(graph: Any) -> set[tuple[str, str]]:
    names = {"one", "two", "three", "aggregator"}
    drawn = graph.compile().get_graph().edges
    return {(edge.source, edge.target) for edge in drawn if {edge.source, edge.target} <= names}


def test_with_a_stop_each_layer_but_the_last_leads_on_or_to_the_aggregator() -> None:
    layers = {name: {"a": Model("1")} for name in ("one", "two", "three")}
    stop = {"by": "judge", "model": "z"}
    assert edges(mixture(layers, {"z": Model()})) == {
        ("one", "two"),
        ("two", "three"),
        ("three", "aggregator"),
    }
    assert edges(mixture(layers, {"z": Model()}, stop=stop)) == {
        ("one", "two"),
        ("one", "aggregator"),
        ("two", "three"),
        ("two", "aggregator"),
        ("three", "aggregator"),
    }


def test_a_wide_layer_is_compared_in_parallel_under_invoke() -> None:
    pairs = 5 * 4
    everybody = asyncio.Barrier(pairs)
    judge = Model("1", wait=everybody.wait)
    members = {f"m{number}": Model(str(number)) for number in range(5)}
    layer = {"name": "draft", "proposers": [*members], "select": {"by": "pairwise", "model": "r", "keep": 1}}
    panel = Panel([layer], {"reduce": "vote", "extract": "number"}, r=judge, **members)
    assert panel.run_sync().answer == "0"


@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_with_any_concurrency_of_the_callers_all_that_are_to_be_asked_are_asked(max_concurrency: int) -> None:
    layer = {
        "name": "draft",
        "proposers": ["a", "b", "c"],
        "select": {"by": "pairwise", "model": "r", "keep": 1},
    }
    references = {"payload": "summary", "summarizer": "s"}
    panel = Panel([layer], {"model": "z", "references": references}, r="1", s="Short.")
    state = panel.graph.compile().invoke(QUESTION, {"max_concurrency": max_concurrency})
    assert state["messages"][-1].response_metadata["moa"]["calls"] == 3 + 6 + 1 + 1


async def test_the_way_is_chosen_in_the_runs_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    choosing: list[int] = []
    going_on = graph_module.going_on

    def noted(*arguments: Any) -> Any:
        choosing.append(threading.get_ident())
        return going_on(*arguments)

    monkeypatch.setattr(graph_module, "going_on", noted)
    await two_layers().compile().ainvoke(QUESTION)
    assert set(choosing) == {threading.get_ident()}
