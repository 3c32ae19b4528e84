"""Proposers that the host brings: any Runnable, under the rules of every other call."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from moa_graph.budget import BudgetSpent
from moa_graph.errors import BudgetExceeded, MoAError, ModelNotReady, QuorumNotMet
from moa_graph.runs.threads import Runs
from moa_graph.terms import TERMS
from tests.fakes.insides import QUESTION, ask, panel
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model


def hosting(runnable: Any, models: Any = None, member: Any = None, **parts: Any) -> Any:
    """Return a mixture whose only proposer is this runnable, registered under the name `r`."""
    runnable = runnable if isinstance(runnable, Runnable) else RunnableLambda(runnable)
    return panel(
        {"runnable": "r", **(member or {})}, models=models, registered={"runnables": {"r": runnable}}, **parts
    )


def graph_of(node: Any) -> Any:
    """Return the compiled MessagesState graph of one node."""
    return StateGraph(MessagesState).add_node("n", node).add_edge(START, "n").add_edge("n", END).compile()


async def record_of(runnable: Any, **parts: Any) -> Any:
    state, _ = await ask(hosting(runnable, **parts))
    return state["proposals"]["draft/r"]


async def failure_of(runnable: Any, **parts: Any) -> Any:
    with pytest.raises(QuorumNotMet) as raised:
        await ask(hosting(runnable, **parts))
    [record] = raised.value.proposals
    return record


# --- what it is given, and what it may give back ---


async def test_a_sync_function_is_given_messages_and_its_text_is_the_proposal() -> None:
    given = []

    def answer(messages: Any) -> str:
        given.extend(messages)
        return "Blue."

    state, events = await ask(hosting(answer, member={"system": "Be brief."}))
    record = state["proposals"]["draft/r"]
    assert (record["text"], record["attempts"], record["requested_model"]) == ("Blue.", 1, "runnable:r")
    assert (record["usage"], record["cost"]) == (None, None)
    assert [message.text for message in given] == ["Be brief.", "Why?"]
    assert [(event["type"], event["id"]) for event in events if event["type"].startswith("call.")][:2] == [
        ("call.started", "draft/r"),
        ("call.finished", "draft/r"),
    ]
    assert state["messages"][-1].response_metadata["moa"]["calls"] == 2


def test_a_runnable_answers_under_invoke_too() -> None:
    state = hosting(lambda _: "Blue.").compile().invoke(QUESTION)
    assert state["proposals"]["draft/r"]["text"] == "Blue."


@pytest.mark.parametrize(
    "output",
    [
        "Blue.",
        AIMessage("Blue."),
        AIMessageChunk("Blue."),
        HumanMessage("Blue."),
        {"messages": [HumanMessage("Why?"), AIMessage("Blue.")]},
        {"messages": [AIMessage("Blue."), HumanMessage("Thanks.")], "score": 1},
    ],
)
async def test_texts_messages_and_mappings_with_messages_are_answers(output: Any) -> None:
    assert (await record_of(lambda _: output))["text"] == "Blue."


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (7, "an object of type int"),
        (None, "None"),
        ({}, "an empty mapping"),
        ({"answer": "Blue."}, "a mapping with 'answer'"),
        ({"messages": 3}, '"messages" of type int'),
        ({"messages": []}, "no new AIMessage"),
        ({"messages": [HumanMessage("Blue.")]}, "no new AIMessage"),
        (["Blue."], "an object of type list"),
    ],
)
async def test_anything_else_is_malformed_and_the_failure_says_what_came(output: Any, said: str) -> None:
    record = await failure_of(lambda _: output, member={"attempts": 3})
    assert (record["failure"]["kind"], record["attempts"]) == ("malformed", 1)
    assert f"the runnable 'r' returned {said}; accepted are a text" in record["failure"]["message"]


async def test_an_earlier_answer_is_not_taken_for_a_proposal() -> None:
    graph = hosting(graph_of(lambda state: {})).compile()
    conversation = [("user", "Hello?"), ("ai", "An earlier answer."), ("user", "Why?")]
    with pytest.raises(QuorumNotMet, match="no new AIMessage"):
        await graph.ainvoke({"messages": conversation})


@pytest.mark.parametrize("configured", [False, True])
async def test_a_compiled_graph_is_given_a_state_with_messages(configured: bool) -> None:
    def node(state: MessagesState) -> Any:
        return {"messages": [AIMessage(f"{len(state['messages'])}: {state['messages'][-1].text}")]}

    graph = graph_of(node)
    record = await record_of(graph.with_config(tags=["x"]).bind() if configured else graph)
    assert record["text"] == "1: Why?"


async def test_a_name_that_nobody_registered_is_said_before_any_call() -> None:
    model = Model("never")
    graph = panel({"runnable": "r"}, "a", models={"a": model}).compile()
    with pytest.raises(ModelNotReady, match="draft/r: no runnable is registered under the name 'r'"):
        await graph.ainvoke(QUESTION)
    assert model.calls == []


# --- what it takes ---


async def test_its_requests_to_models_are_counted_and_priced() -> None:
    model = Model("Blue light.")
    record = await record_of(
        RunnableLambda(lambda messages: messages) | model,
        member={"price": {"input": 1000, "output": 2000}},
    )
    assert (record["attempts"], record["usage"]["output_tokens"], record["usage"]["source"]) == (
        1,
        2,
        "provider",
    )
    assert record["cost"] == pytest.approx((1 * 1000 + 2 * 2000) / 1e6)


async def test_several_requests_are_all_counted_and_their_cost_is_unknown_without_a_price() -> None:
    model = Model("One.", "Two.", "Three.")

    async def thrice(messages: Any) -> str:
        return " ".join([(await model.ainvoke(messages)).text for _ in range(3)])

    record = await record_of(thrice)
    assert (record["text"], record["attempts"], record["cost"]) == ("One. Two. Three.", 3, None)
    assert record["usage"]["output_tokens"] == 3


async def test_requests_from_a_sync_function_are_counted() -> None:
    model = Model("Blue light.")
    record = await record_of(lambda messages: model.invoke(messages).text)
    assert (record["text"], record["attempts"], record["usage"]["output_tokens"]) == ("Blue light.", 1, 2)


async def test_a_model_that_completes_text_is_counted_by_estimate() -> None:
    llm = FakeListLLM(responses=["Blue light scatters."])
    record = await record_of(RunnableLambda(lambda messages: messages[-1].text) | llm)
    assert (record["attempts"], record["usage"]["source"]) == (1, "estimated")
    assert record["usage"]["output_tokens"] == 5


async def test_usage_that_only_its_message_tells_is_taken() -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    record = await record_of(
        lambda _: AIMessage("Blue.", usage_metadata=usage), member={"price": {"input": 0, "output": 1000}}
    )
    assert (record["attempts"], record["usage"]["input_tokens"], record["cost"]) == (1, 7, 0.003)


async def test_a_mixture_elsewhere_tells_its_calls_and_its_cost() -> None:
    usage = {"input_tokens": 70, "output_tokens": 30, "total_tokens": 100}
    summary = {"name": "far", "calls": 5, "cost": 0.25, "warnings": ["draft/b failed: timeout: slow"]}
    message = AIMessage("Blue.", usage_metadata=usage, response_metadata={"moa": summary})
    record = await record_of(lambda _: message)
    assert (record["attempts"], record["cost"], record["usage"]["input_tokens"]) == (5, 0.25, 70)
    assert record["warnings"] == ["inside far: draft/b failed: timeout: slow"]


async def test_the_limit_of_calls_holds_inside_a_runnable_that_swallows_errors() -> None:
    model = Model("One.", "Two.", "Three.")

    async def stubborn(messages: Any) -> str:
        await model.ainvoke(messages)
        return (
            await model.with_fallbacks([RunnableLambda(lambda _: AIMessage("Canned."))]).ainvoke(messages)
        ).text

    with pytest.raises(BudgetExceeded, match="max_calls = 1 requests are used up") as raised:
        await ask(hosting(stubborn, limits={"max_calls": 1}))
    [record] = raised.value.proposals
    assert (record["failure"]["kind"], record["attempts"], len(model.calls)) == ("budget", 1, 1)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_runnable_that_goes_on_without_a_refused_request_has_no_answer(answers: bool) -> None:
    model = Model("One.")

    def swallow(messages: Any) -> str:
        for _ in range(2):
            try:
                model.invoke(messages)
            except BudgetSpent:
                if not answers:
                    raise ValueError("no luck") from None
        return "Made up."

    with pytest.raises(BudgetExceeded) as raised:
        await ask(hosting(swallow, limits={"max_calls": 1}))
    assert raised.value.proposals[0]["failure"]["kind"] == "budget"
    assert len(model.calls) == 1


async def test_no_runnable_is_started_when_the_calls_are_used_up() -> None:
    started = []
    graph = panel(
        "a",
        models={"a": Model("Blue.")},
        registered={"runnables": {"r": RunnableLambda(started.append)}},
        layers=[{"name": "one", "proposers": ["a"]}, {"name": "two", "proposers": [{"runnable": "r"}]}],
        limits={"max_calls": 1},
    )
    with pytest.raises(BudgetExceeded):
        await ask(graph)
    assert started == []


async def test_the_limit_of_cost_holds_inside_a_runnable() -> None:
    model = Model("Blue light.")
    graph = hosting(
        lambda messages: model.invoke(messages).text,
        member={"price": {"input": 10_000_000, "output": 0}},
        limits={"max_cost": 0.5},
    )
    with pytest.raises(BudgetExceeded, match=r"limits.max_cost = \$0.5"):
        await ask(graph)
    assert model.calls == []


# --- failures, time, cancelling ---


async def test_what_it_raises_is_the_failure_and_attempts_hold() -> None:
    script = iter([ConnectionError("gone"), ConnectionError("gone"), None])

    def answer(_: Any) -> str:
        if error := next(script):
            raise error
        return "Blue."

    state, events = await ask(hosting(answer, member={"attempts": 3}))
    record = state["proposals"]["draft/r"]
    assert (record["status"], record["attempts"], record["usage"]) == ("ok", 3, None)
    retried = [event for event in events if event["type"] == "call.retried"]
    assert [(event["id"], event["attempt"], event["failure"]["kind"]) for event in retried] == [
        ("draft/r", 1, "connection"),
        ("draft/r", 2, "connection"),
    ]


async def test_an_empty_text_is_no_proposal() -> None:
    assert (await failure_of(lambda _: "  "))["failure"]["kind"] == "empty"


async def test_the_timeout_ends_it_and_the_request_under_way_is_cancelled() -> None:
    model = Model("never", wait=asyncio.Event().wait)
    record = await failure_of(RunnableLambda(lambda messages: messages) | model, member={"timeout": 0.2})
    assert (record["failure"]["kind"], record["attempts"], model.cancelled) == ("timeout", 1, 1)
    assert record["usage"]["source"] == "estimated"
    assert record["warnings"] == ["a request ended before its tokens were reported; they are estimated"]


async def test_a_thread_that_is_left_behind_sends_no_further_request() -> None:
    model, go_on, refused = Model("One.", "Two."), threading.Event(), threading.Event()

    def slow(messages: Any) -> str:
        model.invoke(messages)
        go_on.wait()
        try:
            return model.invoke(messages).text
        except BudgetSpent:
            refused.set()
            raise

    record = await failure_of(slow, member={"timeout": 0.2})
    assert (record["failure"]["kind"], record["attempts"]) == ("timeout", 1)
    go_on.set()
    assert await asyncio.to_thread(refused.wait, 5)
    assert len(model.calls) == 1


async def test_a_straggler_is_cut_and_its_request_cancelled() -> None:
    begun = asyncio.Event()
    slow = Model("never")

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    slow.wait = wait

    async def node(state: MessagesState) -> Any:
        return {"messages": [await slow.ainvoke(state["messages"])]}

    graph = panel(
        {"runnable": "r"},
        "a",
        models={"a": Model("Blue.", wait=begun.wait)},
        registered={"runnables": {"r": graph_of(node)}},
        layer={"quorum": 1, "grace": 0.001},
    )
    state, _ = await ask(graph)
    record = state["proposals"]["draft/r"]
    assert (record["status"], record["attempts"], slow.cancelled) == ("cut", 1, 1)


async def test_an_interrupt_inside_surfaces_and_its_answer_goes_in() -> None:
    def node(state: MessagesState) -> Any:
        return {"messages": [AIMessage(f"A person says {interrupt('Which colour?')}.")]}

    graph = hosting(graph_of(node)).compile(checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    state = await graph.ainvoke(QUESTION, thread)
    assert [asked.value for asked in state["__interrupt__"]] == ["Which colour?"]
    state = await graph.ainvoke(Command(resume="blue"), thread)
    assert state["proposals"]["draft/r"]["text"] == "A person says blue."


async def test_under_threads_an_interrupt_is_refused_and_says_what_to_do() -> None:
    asked = RunnableLambda(lambda _: f"A person says {interrupt('Which colour?')}.")
    graph = panel(
        {"runnable": "r"}, "a", models={"a": Model("Blue.")}, registered={"runnables": {"r": asked}}
    )
    models = {"a": Model("Blue."), "z": Model("never")}
    async with Runs.open("memory:", graph.spec, models=models, runnables={"r": asked}) as runs:
        for go_on in (partial(runs.start, "Why?", thread="t"), partial(runs.resume, "t")):
            with pytest.raises(MoAError, match="asks for a person") as raised:
                await go_on()
            assert "compiled with a checkpointer of yours" in raised.value.hint
            run = await runs.status("t")
            assert (run.status, run.reason) == ("failed", f"MoAError: {raised.value.message}")
            assert [record["id"] for record in run.proposals if record["status"] == "ok"] == ["draft/a"]
        assert (len(models["a"].calls), models["z"].calls) == (1, [])


async def test_a_graph_with_tasks_ends_where_the_run_around_it_does_one_thing_at_a_time() -> None:
    @task
    async def think(text: str) -> str:
        return f"Blue, {text}."

    @entrypoint()
    async def thinking(state: Any) -> Any:
        return {"messages": [AIMessage(await think("surely"))]}

    graph = hosting(thinking, member={"timeout": 5}).compile()
    state = await graph.ainvoke(QUESTION, {"max_concurrency": 1})
    assert state["proposals"]["draft/r"]["text"] == "Blue, surely."


# --- a mixture of the host as a proposer ---


def inside() -> Any:
    layers = {"think": {"a": Model("Inner a."), "b": Model("Inner b.")}}
    return mixture(layers, {"w": Model("Inner answer.")}).compile()


async def test_a_mixture_as_a_runnable_gets_none_of_the_outer_terms() -> None:
    terms = []

    def look(messages: Any) -> str:
        terms.append(get_config()["configurable"].get(TERMS))
        return "Blue."

    graph = hosting(look).compile()
    await graph.ainvoke(QUESTION, {"configurable": {TERMS: {"fan_out": "every_call"}}})
    assert terms == [None]


async def test_a_mixture_as_a_runnable_is_counted_request_by_request() -> None:
    record = await record_of(inside())
    assert (record["text"], record["attempts"]) == ("Inner answer.", 3)


async def test_the_events_of_a_mixture_inside_are_not_the_outer_runs() -> None:
    _, events = await ask(hosting(inside()))
    assert [event["name"] for event in events if event["type"] == "run.started"] == ["outer"]
    assert {event["id"] for event in events if "id" in event} == {"draft/r", "aggregator/z"}


@pytest.mark.parametrize("subgraphs", [False, True])
async def test_only_the_outer_aggregators_tokens_are_marked_as_the_aggregators(subgraphs: bool) -> None:
    graph, pieces, nested = hosting(inside()).compile(), [], set()
    async for part in graph.astream(QUESTION, stream_mode="messages", subgraphs=subgraphs):
        message, metadata = part[1] if subgraphs else part
        if metadata.get("moa_role") == "aggregator":
            pieces.append(message.text)
        elif metadata.get("moa_role") == "nested":
            nested.add((metadata["moa_inside"], metadata["moa_proposer"]))
    assert "".join(pieces) == "The answer."
    expected = {("outer: draft/r", "a"), ("outer: draft/r", "b"), ("outer: draft/r", "w")}
    assert nested == (expected if subgraphs else set())


async def test_a_mixture_inside_that_breaks_the_outer_limit_is_a_budget_failure() -> None:
    with pytest.raises(BudgetExceeded, match="max_calls = 2") as raised:
        await ask(hosting(inside(), limits={"max_calls": 2}))
    [record] = raised.value.proposals
    assert (record["failure"]["kind"], record["attempts"]) == ("budget", 2)


async def test_a_mixture_that_asks_itself_is_refused_at_depth_four() -> None:
    graphs: dict[str, Any] = {}
    entered = []

    async def again(messages: Any) -> str:
        entered.append(len(messages))
        state = await graphs["outer"].ainvoke({"messages": messages})
        return state["messages"][-1].text

    graphs["outer"] = hosting(again).compile()
    with pytest.raises(QuorumNotMet, match="at most 3 may stand inside each other"):
        await graphs["outer"].ainvoke(QUESTION)
    assert len(entered) == 3


def test_a_mixture_that_asks_itself_from_threads_is_refused_too() -> None:
    graphs: dict[str, Any] = {}

    def again(messages: Any) -> str:
        return graphs["outer"].invoke({"messages": messages})["messages"][-1].text

    graphs["outer"] = hosting(again).compile()
    with pytest.raises(
        QuorumNotMet, match=r"inside 3 other mixtures \(outer: draft/r > outer: draft/r > outer"
    ):
        graphs["outer"].invoke(QUESTION)
