"""A mixture as a node of an application's graph: streams, interrupts, failures, conversations, neighbours."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from moa_graph.errors import AggregatorFailed, BudgetExceeded, QuorumNotMet
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model

QUESTION: Any = {"messages": [("user", "Why?")]}
CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}
DOWN = ValueError("down")


class Cast:
    """Two layers and an aggregator, with the models at hand: `cast.a.calls` are the calls of draft/a."""

    def __init__(self, **models: Model) -> None:
        self.a = models.get("a", Model("A one"))
        self.b = models.get("b", Model("B two"))
        self.c = models.get("c", Model("C three"))
        self.z = models.get("z", Model("The final answer."))

    def graph(self, **parts: Any) -> Any:
        layers = {"draft": {"a": self.a, "b": self.b}, "refine": {"c": self.c}}
        return mixture(layers, {"z": self.z}, defaults={"attempts": 1}, **parts)

    @property
    def calls(self) -> list[int]:
        return [len(model.calls) for model in (self.a, self.b, self.c, self.z)]


def parent_of(*moas: Any, saver: BaseCheckpointSaver[Any] | None = None) -> Any:
    """Chain compiled mixtures as the nodes moa-1, moa-2, … of a MessagesState graph."""
    parent = StateGraph(MessagesState)
    previous = START
    for number, moa in enumerate(moas, 1):
        parent.add_node(f"moa-{number}", moa)
        parent.add_edge(previous, f"moa-{number}")
        previous = f"moa-{number}"
    parent.add_edge(previous, END)
    return parent.compile(checkpointer=saver)


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "parent.db")) as opened:
        yield opened


def texts(state: dict[str, Any]) -> list[str]:
    return [message.text for message in state["messages"]]


# --- failures ---------------------------------------------------------------------------------------


async def test_a_missed_quorum_ends_the_parent_and_a_resume_asks_what_failed_alone(
    saver: AsyncSqliteSaver,
) -> None:
    cast = Cast(b=Model(DOWN, "B two"))
    parent = parent_of(cast.graph(layer={"draft": {"quorum": 2}}).compile(), saver=saver)
    with pytest.raises(QuorumNotMet, match="layer draft: 1 of 2 proposals, quorum 2") as failed:
        await parent.ainvoke(QUESTION, CONFIG)
    assert [record["status"] for record in failed.value.proposals] == ["ok", "failed"]
    assert cast.calls == [1, 1, 0, 0]
    state = await parent.ainvoke(None, CONFIG)
    assert texts(state) == ["Why?", "The final answer."]
    assert cast.calls == [1, 2, 1, 1]


async def test_a_failed_aggregator_costs_one_call_when_the_parent_is_resumed(saver: AsyncSqliteSaver) -> None:
    cast = Cast(z=Model(DOWN, "The final answer."))
    parent = parent_of(cast.graph().compile(), saver=saver)
    with pytest.raises(AggregatorFailed):
        await parent.ainvoke(QUESTION, CONFIG)
    state = await parent.ainvoke(None, CONFIG)
    assert texts(state) == ["Why?", "The final answer."]
    assert cast.calls == [1, 1, 1, 2]
    assert set(state["messages"][-1].response_metadata["moa"]["proposals"]) == {"ok"}


def test_a_failed_layer_is_resumed_under_invoke_too(tmp_path: Path) -> None:
    cast = Cast(c=Model(DOWN, "C three"))
    with SqliteSaver.from_conn_string(str(tmp_path / "parent.db")) as saver:
        parent = parent_of(cast.graph().compile(), saver=saver)
        with pytest.raises(QuorumNotMet):
            parent.invoke(QUESTION, CONFIG)
        assert texts(parent.invoke(None, CONFIG)) == ["Why?", "The final answer."]
    assert cast.calls == [1, 1, 2, 1]


async def test_the_limits_of_a_mixture_hold_inside_a_parent_over_a_resume(saver: AsyncSqliteSaver) -> None:
    cast = Cast()
    parent = parent_of(cast.graph(limits={"max_calls": 3}).compile(), saver=saver)
    for question in (QUESTION, None):
        with pytest.raises(BudgetExceeded):
            await parent.ainvoke(question, CONFIG)
    assert cast.calls == [1, 1, 1, 0]


async def test_a_node_after_the_mixture_that_fails_does_not_make_it_run_again(
    saver: AsyncSqliteSaver,
) -> None:
    cast, said = Cast(), Counter[str]()

    def check(state: MessagesState) -> dict[str, Any]:
        said["checked"] += 1
        if said["checked"] == 1:
            raise DOWN
        return {"messages": [AIMessage("Checked.")]}

    parent = StateGraph(MessagesState)
    parent.add_node("moa", cast.graph().compile())
    parent.add_node("check", check)
    parent.add_edge(START, "moa")
    parent.add_edge("moa", "check")
    compiled = parent.compile(checkpointer=saver)
    with pytest.raises(ValueError, match="down"):
        await compiled.ainvoke(QUESTION, CONFIG)
    assert texts(await compiled.ainvoke(None, CONFIG)) == ["Why?", "The final answer.", "Checked."]
    assert cast.calls == [1, 1, 1, 1]


# --- streams ----------------------------------------------------------------------------------------

MODES: Any = ["updates", "messages", "custom"]


def assert_shown_once(chunks: list[Any]) -> None:
    """Check a parent's stream with subgraphs: each layer, each token, each event and the answer once."""
    updates = [(bool(ns), *chunk) for ns, mode, chunk in chunks if mode == "updates" for chunk in [chunk]]
    inner = ["draft/a", "draft/b", "draft", "refine/c", "refine", "aggregator/answer", "aggregator"]
    assert Counter(updates) == Counter([*((True, name) for name in inner), (False, "moa-1")])
    events = Counter(chunk["type"] for _, mode, chunk in chunks if mode == "custom")
    assert events == {
        "run.started": 1,
        "layer.started": 2,
        "call.started": 4,
        "call.finished": 4,
        "layer.joined": 2,
        "run.finished": 1,
    }
    said: dict[tuple[Any, Any], list[AnyMessage]] = {}
    for _, mode, chunk in chunks:
        if mode == "messages":
            message, metadata = chunk
            assert message.type == "AIMessageChunk", "a whole message came beside its chunks"
            said.setdefault((metadata["moa_layer"], metadata["moa_proposer"]), []).append(message)
    spoken = {who: "".join(message.text for message in messages) for who, messages in said.items()}
    assert spoken == {
        ("draft", "a"): "A one",
        ("draft", "b"): "B two",
        ("refine", "c"): "C three",
        ("aggregator", "z"): "The final answer.",
    }
    final = [chunk for ns, mode, chunk in chunks if mode == "updates" and not ns]
    [answer] = [message for message in final[0]["moa-1"]["messages"] if message.type == "ai"]
    assert {message.id for message in said["aggregator", "z"]} == {answer.id}


async def test_a_parents_stream_shows_layers_tokens_and_events_once() -> None:
    parent = parent_of(Cast().graph().compile(), saver=InMemorySaver())
    stream = parent.astream(QUESTION, CONFIG, stream_mode=MODES, subgraphs=True)
    assert_shown_once([chunk async for chunk in stream])


def test_a_parents_sync_stream_shows_the_same() -> None:
    parent = parent_of(Cast().graph().compile(), saver=InMemorySaver())
    assert_shown_once([*parent.stream(QUESTION, CONFIG, stream_mode=MODES, subgraphs=True)])


async def test_a_resumed_parent_streams_what_is_new_alone(saver: AsyncSqliteSaver) -> None:
    parent = parent_of(Cast(z=Model(DOWN, "The final answer.")).graph().compile(), saver=saver)
    with pytest.raises(AggregatorFailed):
        await parent.ainvoke(QUESTION, CONFIG)
    stream = parent.astream(None, CONFIG, stream_mode=MODES, subgraphs=True)
    chunks = [chunk async for chunk in stream]
    tokens = [chunk[0].text for _, mode, chunk in chunks if mode == "messages"]
    assert "".join(tokens) == "The final answer."
    events = [chunk["type"] for _, mode, chunk in chunks if mode == "custom"]
    assert events == ["run.started", "call.started", "call.finished", "run.finished"]


async def test_without_subgraphs_a_parent_streams_the_answer_once_and_no_proposal() -> None:
    parent = parent_of(Cast().graph().compile())
    stream = parent.astream(QUESTION, stream_mode="messages")
    assert [message.text async for message, _ in stream if message.type != "human"] == ["The final answer."]


async def test_usage_is_counted_once_by_a_parents_callback() -> None:
    counter = UsageMetadataCallbackHandler()
    state = await parent_of(Cast().graph().compile()).ainvoke(QUESTION, {"callbacks": [counter]})
    [counted] = counter.usage_metadata.values()
    usage = state["messages"][-1].usage_metadata
    assert counted["total_tokens"] == usage["total_tokens"] > 0


# --- interrupts and editing -------------------------------------------------------------------------


async def inner_state(parent: Any, config: RunnableConfig = CONFIG) -> Any:
    """Return the mixture's state inside a parent that waits."""
    [task] = (await parent.aget_state(config, subgraphs=True)).tasks
    return task.state


async def test_an_interrupt_before_a_layer_stops_the_parent_and_a_proposal_can_be_edited(
    saver: AsyncSqliteSaver,
) -> None:
    cast = Cast()
    parent = parent_of(cast.graph().compile(interrupt_before=["refine"]), saver=saver)
    await parent.ainvoke(QUESTION, CONFIG)
    assert (await parent.aget_state(CONFIG)).next == ("moa-1",)
    inner = await inner_state(parent)
    assert inner.next == ("refine",)
    assert list(inner.values["proposals"]) == ["draft/a", "draft/b"]
    assert cast.calls == [1, 1, 0, 0]

    edit = {"proposals": {"draft/a": {"text": "Better.", "edited": True}}}
    await parent.aupdate_state(inner.config, edit)
    state = await parent.ainvoke(None, CONFIG)
    assert texts(state) == ["Why?", "The final answer."]
    assert cast.calls == [1, 1, 1, 1]
    assert cast.c.calls[0][0].text.endswith("models:\n1. Better.\n2. B two")


def test_an_interrupt_before_a_layer_and_an_edit_work_under_invoke_too() -> None:
    cast = Cast()
    parent = parent_of(cast.graph().compile(interrupt_before=["refine"]), saver=InMemorySaver())
    parent.invoke(QUESTION, CONFIG)
    [task] = parent.get_state(CONFIG, subgraphs=True).tasks
    assert task.state.next == ("refine",)
    parent.update_state(task.state.config, {"proposals": {"draft/b": {"status": "dropped"}}})
    assert texts(parent.invoke(None, CONFIG)) == ["Why?", "The final answer."]
    assert cast.calls == [1, 1, 1, 1]
    assert cast.c.calls[0][0].text.endswith("models:\n1. A one")


async def test_an_interrupt_after_a_layer_stops_the_parent_until_it_is_resumed() -> None:
    cast = Cast()
    parent = parent_of(cast.graph().compile(interrupt_after=["draft"]), saver=InMemorySaver())
    await parent.ainvoke(QUESTION, CONFIG)
    assert cast.calls == [1, 1, 0, 0]
    assert texts(await parent.ainvoke(None, CONFIG))[-1] == "The final answer."
    assert cast.calls == [1, 1, 1, 1]


def asking(messages: Any) -> str:
    """Ask a person in the middle of a model's call."""
    return f"The person says {interrupt({'ask': 'May I?'})}."


def questions(state: dict[str, Any]) -> list[Any]:
    """Return what a person is asked; LangGraph lists an interrupt of a subgraph's task twice, with one id."""
    return list({found.id: found.value for found in state["__interrupt__"]}.values())


@pytest.mark.parametrize("who", ["a", "c", "z"])
async def test_an_interrupt_inside_a_model_surfaces_in_the_parent_and_is_answered(
    who: str, saver: AsyncSqliteSaver
) -> None:
    cast = Cast(**{who: Model(asking)})
    parent = parent_of(cast.graph().compile(), saver=saver)
    stopped = await parent.ainvoke(QUESTION, CONFIG)
    assert questions(stopped) == [{"ask": "May I?"}]
    state = await parent.ainvoke(Command(resume="yes"), CONFIG)
    assert "__interrupt__" not in state
    assert texts(state)[-1] == ("The person says yes." if who == "z" else "The final answer.")
    assert cast.calls == [2 if name == who else 1 for name in "abcz"]
    if who == "a":
        assert cast.c.calls[0][0].text.endswith("models:\n1. The person says yes.\n2. B two")


def test_an_interrupt_inside_a_model_surfaces_under_invoke_too() -> None:
    cast = Cast(c=Model(asking))
    parent = parent_of(cast.graph().compile(), saver=InMemorySaver())
    assert questions(parent.invoke(QUESTION, CONFIG)) == [{"ask": "May I?"}]
    assert texts(parent.invoke(Command(resume="yes"), CONFIG)) == ["Why?", "The final answer."]
    assert cast.calls == [1, 1, 2, 1]


async def test_two_interrupts_in_one_layer_are_answered_by_their_ids(saver: AsyncSqliteSaver) -> None:
    cast = Cast(a=Model(asking), b=Model(asking))
    parent = parent_of(cast.graph().compile(), saver=saver)
    state = await parent.ainvoke(QUESTION, CONFIG)
    while found := state.get("__interrupt__"):
        state = await parent.ainvoke(Command(resume={found[0].id: "yes"}), CONFIG)
    assert max(cast.calls) <= 3
    assert texts(state)[-1] == "The final answer."
    assert cast.c.calls[0][0].text.endswith("1. The person says yes.\n2. The person says yes.")


# --- neighbours -------------------------------------------------------------------------------------


def numbered(number: int) -> Cast:
    return Cast(
        a=Model(f"A{number}"), b=Model(f"B{number}"), c=Model(f"C{number}"), z=Model(f"Answer {number}.")
    )


async def test_two_mixtures_one_after_the_other_do_not_mix_proposals(saver: AsyncSqliteSaver) -> None:
    first, second = numbered(1), numbered(2)
    parent = parent_of(first.graph().compile(), second.graph().compile(), saver=saver)
    state = await parent.ainvoke(QUESTION, CONFIG)
    assert texts(state) == ["Why?", "Answer 1.", "Answer 2."]
    assert second.c.calls[0][0].text.endswith("models:\n1. A2\n2. B2")
    assert second.z.calls[0][0].text.endswith("models:\n1. C2")
    assert [message.text for message in second.a.calls[0]] == ["Why?", "Answer 1."]
    assert [message.response_metadata["moa"]["calls"] for message in state["messages"][1:]] == [4, 4]


@pytest.mark.parametrize("sync", [False, True])
async def test_two_mixtures_in_parallel_do_not_mix_proposals(sync: bool) -> None:
    first, second = numbered(1), numbered(2)
    parent = StateGraph(MessagesState)
    for name, cast in {"one": first, "two": second}.items():
        parent.add_node(name, cast.graph().compile())
        parent.add_edge(START, name)
    compiled = parent.compile(checkpointer=InMemorySaver())
    state = (
        await asyncio.to_thread(compiled.invoke, QUESTION, CONFIG)
        if sync
        else await compiled.ainvoke(QUESTION, CONFIG)
    )
    assert sorted(texts(state)) == ["Answer 1.", "Answer 2.", "Why?"]
    for number, cast in enumerate((first, second), 1):
        assert cast.calls == [1, 1, 1, 1]
        assert cast.c.calls[0][0].text.endswith(f"models:\n1. A{number}\n2. B{number}")
        assert cast.z.calls[0][0].text.endswith(f"models:\n1. C{number}")


async def test_of_two_parallel_mixtures_only_the_one_that_failed_is_resumed(saver: AsyncSqliteSaver) -> None:
    first, second = numbered(1), numbered(2)
    first.c.script = [DOWN, "C1"]
    parent = StateGraph(MessagesState)
    for name, cast in {"one": first, "two": second}.items():
        parent.add_node(name, cast.graph().compile())
        parent.add_edge(START, name)
    compiled = parent.compile(checkpointer=saver)
    with pytest.raises(QuorumNotMet):
        await compiled.ainvoke(QUESTION, CONFIG)
    state = await compiled.ainvoke(None, CONFIG)
    assert sorted(texts(state)) == ["Answer 1.", "Answer 2.", "Why?"]
    assert (first.calls, second.calls) == ([1, 1, 2, 1], [1, 1, 1, 1])


async def test_one_compiled_mixture_in_two_places_keeps_them_apart(saver: AsyncSqliteSaver) -> None:
    cast = Cast(a=Model("A1", "A2"), b=Model("B1", "B2"), c=Model("C1", "C2"), z=Model("One.", "Two."))
    moa = cast.graph().compile()
    state = await parent_of(moa, moa, saver=saver).ainvoke(QUESTION, CONFIG)
    assert texts(state) == ["Why?", "One.", "Two."]
    assert cast.z.calls[1][0].text.endswith("models:\n1. C2")


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("max_concurrency", [1, 2])
async def test_a_parent_that_runs_one_thing_at_a_time_is_answered_too(
    max_concurrency: int, *, sync: bool
) -> None:
    cast, config = Cast(), CONFIG | {"max_concurrency": max_concurrency}
    parent = parent_of(cast.graph().compile(), saver=InMemorySaver())
    state = (
        await asyncio.to_thread(parent.invoke, QUESTION, config)
        if sync
        else await parent.ainvoke(QUESTION, config)
    )
    assert texts(state) == ["Why?", "The final answer."]
    assert cast.calls == [1, 1, 1, 1]


async def test_a_parent_that_declares_proposals_is_given_them() -> None:
    class State(MessagesState):
        proposals: dict[str, Any]
        documents: list[str]

    parent = StateGraph(State)
    parent.add_node("moa", Cast().graph().compile())
    parent.add_edge(START, "moa")
    compiled = parent.compile(checkpointer=InMemorySaver())
    state = await compiled.ainvoke(QUESTION | {"documents": ["One."]}, CONFIG)
    assert set(state) == {"messages", "proposals", "documents"}
    assert list(state["proposals"]) == ["draft/a", "draft/b", "refine/c"]
    state = await compiled.ainvoke(QUESTION, CONFIG)
    assert list(state["proposals"]) == ["draft/a", "draft/b", "refine/c"]


def test_a_parents_drawing_shows_the_layers() -> None:
    drawn = parent_of(Cast().graph().compile()).get_graph(xray=True)
    assert {"moa-1:draft", "moa-1:refine", "moa-1:aggregator"} <= set(drawn.nodes)


async def test_a_deep_mixture_needs_no_higher_recursion_limit_in_a_parent() -> None:
    layers = {f"layer-{number}": {"a": Model(str(number))} for number in range(30)}
    state = await parent_of(mixture(layers, {"z": Model("Deep.")}).compile()).ainvoke(QUESTION)
    assert texts(state) == ["Why?", "Deep."]


# --- conversations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [None, True, False])
async def test_a_conversation_through_the_parent_has_each_message_once(
    memory: bool | None, saver: AsyncSqliteSaver
) -> None:
    """`memory` is how the mixture is compiled: its own checkpoints for each turn, for the thread, or none."""
    cast = Cast(a=Model("A1", "A2", "A3"), b=Model("B1", "B2", "B3"), z=Model("One.", "Two.", "Three."))
    parent = parent_of(cast.graph().compile(checkpointer=memory), saver=saver)
    seen: list[AnyMessage] = []
    for question, answer in {"Why?": "One.", "How?": "Two.", "When?": "Three."}.items():
        state = await parent.ainvoke({"messages": [("user", question)]}, CONFIG)
        assert set(state) == {"messages"}
        assert texts(state) == [*(message.text for message in seen), question, answer]
        assert [message.id for message in state["messages"]][: len(seen)] == [m.id for m in seen]
        seen = state["messages"]
    assert len({message.id for message in seen}) == len(seen) == 6
    assert [message.text for message in cast.a.calls[2]] == ["Why?", "One.", "How?", "Two.", "When?"]
    assert cast.c.calls[2][0].text.endswith("models:\n1. A3\n2. B3")
    assert [message.response_metadata["moa"]["calls"] for message in seen[1::2]] == [4, 4, 4]


async def test_a_mixture_with_the_threads_memory_shows_its_last_proposals(saver: AsyncSqliteSaver) -> None:
    cast = Cast(a=Model("A1", "A2"))
    moa = cast.graph().compile(checkpointer=True)
    parent = parent_of(moa, saver=saver)
    for _ in range(2):
        await parent.ainvoke(QUESTION, CONFIG)
    inside: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": "moa-1"}}
    values = (await parent.aget_state(inside)).values
    assert values["status"] == "answered"
    assert [record["text"] for record in values["proposals"].values()] == ["A2", "B two", "C three"]


async def test_a_mixture_with_the_threads_memory_is_resumed_within_a_later_turn(
    saver: AsyncSqliteSaver,
) -> None:
    cast = Cast(c=Model("C1", DOWN, "C2"), z=Model("One.", "Two."))
    parent = parent_of(cast.graph().compile(checkpointer=True), saver=saver)
    await parent.ainvoke(QUESTION, CONFIG)
    with pytest.raises(QuorumNotMet):
        await parent.ainvoke({"messages": [("user", "How?")]}, CONFIG)
    assert texts(await parent.ainvoke(None, CONFIG)) == ["Why?", "One.", "How?", "Two."]
    assert cast.calls == [2, 2, 3, 2]
    assert cast.z.calls[1][0].text.endswith("models:\n1. C2")


async def test_a_question_asked_after_a_failed_turn_is_a_new_turn(saver: AsyncSqliteSaver) -> None:
    cast = Cast(a=Model("A1", "A2"), c=Model(DOWN, "C2"))
    parent = parent_of(cast.graph().compile(), saver=saver)
    with pytest.raises(QuorumNotMet):
        await parent.ainvoke(QUESTION, CONFIG)
    state = await parent.ainvoke({"messages": [("user", "How?")]}, CONFIG)
    assert texts(state) == ["Why?", "How?", "The final answer."]
    assert cast.c.calls[1][0].text.endswith("models:\n1. A2\n2. B two")


async def test_a_parents_checkpoints_hold_plain_data_alone() -> None:
    strict = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    parent = parent_of(Cast().graph().compile(interrupt_before=["aggregator"]), saver=strict)
    await parent.ainvoke(QUESTION, CONFIG)
    assert list((await inner_state(parent)).values["proposals"]) == ["draft/a", "draft/b", "refine/c"]
    assert texts(await parent.ainvoke(None, CONFIG)) == ["Why?", "The final answer."]


async def test_a_mixture_two_graphs_deep_is_resumed_as_well(saver: AsyncSqliteSaver) -> None:
    cast = Cast(z=Model(DOWN, "The final answer."))
    parent = parent_of(parent_of(cast.graph().compile()), saver=saver)
    with pytest.raises(AggregatorFailed):
        await parent.ainvoke(QUESTION, CONFIG)
    assert texts(await parent.ainvoke(None, CONFIG)) == ["Why?", "The final answer."]
    assert cast.calls == [1, 1, 1, 2]
