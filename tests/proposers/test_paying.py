"""A mixture inside a call, however it got there: its requests count one by one, whatever becomes of them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from moa_graph.chat_model import MoAChatModel
from moa_graph.errors import BudgetExceeded, QuorumNotMet
from moa_graph.graph import build_graph
from moa_graph.spec.schema import MoASpec
from tests.fakes.agents import ToolCaller
from tests.fakes.insides import QUESTION, ask, inner, panel
from tests.fakes.models import ScriptedChatModel as Model

DOWN = ValueError("down")
PRICE = {"input": 0, "output": 1000}
PRICED = {"price": PRICE, "max_tokens": 100}
KINDS = ["slot", "runnable", "function", "thread", "graph", "agent", "nested"]


@tool
def search(question: str) -> str:
    """Search the library."""
    return f"found {question}"


class Cast:
    """A mixture of two proposers and an aggregator, three requests; `sent` counts what really goes out."""

    def __init__(self, *, w: Any = None, **parts: Any) -> None:
        self.a, self.b, self.w = Model("Inner a."), Model("Inner b."), w or ToolCaller("Inner answer.")
        self.models = {"a": self.a, "b": self.b, "w": self.w}
        priced = {slot: {"model": f"host:{slot}", **PRICED} for slot in self.models}
        self.spec = inner("a", "b", "w", models=priced, **parts)
        self.model = MoAChatModel(MoASpec.model_validate(self.spec), models=self.models)

    @property
    def sent(self) -> int:
        return sum(len(model.calls) for model in self.models.values())

    def inside(self, kind: str, member: Any = None, models: Any = None, **parts: Any) -> Any:
        """Return an outer mixture with this one as its proposer `x`."""
        chat = self.model
        own: dict[str, Any] = {"slot": "m", "nested": "", "agent": "m"}
        runnables: dict[str, Any] = {
            "runnable": chat,
            "function": RunnableLambda(_awaiting(chat)),
            "thread": RunnableLambda(chat.invoke),
            "graph": build_graph(MoASpec.model_validate(self.spec), models=self.models).compile(),
        }
        proposer: dict[str, Any] = {"id": "x", **(member or {})}
        if kind == "nested":
            proposer["spec"] = self.spec
        elif kind in own:
            proposer |= {"model": "m"} | ({"tools": ["search"]} if kind == "agent" else {})
        else:
            proposer["runnable"] = "r"
        registered: dict[str, Any] = {"tools": {"search": search}}
        if kind in runnables:
            registered["runnables"] = {"r": runnables[kind]}
        asked = {"m": chat} if kind in {"slot", "agent"} else {}
        asked |= self.models if kind == "nested" else {}
        return panel(proposer, models={**asked, **(models or {})}, registered=registered, **parts)


def _awaiting(chat: Any) -> Any:
    async def answer(messages: Any) -> Any:
        return await chat.ainvoke(messages)

    return answer


async def failed(graph: Any) -> Any:
    with pytest.raises((QuorumNotMet, BudgetExceeded)) as raised:
        await ask(graph)
    [record] = raised.value.proposals
    return record


@pytest.mark.parametrize("kind", KINDS)
async def test_its_requests_are_counted_and_cost_what_its_slots_cost(kind: str) -> None:
    cast = Cast()
    state, _ = await ask(cast.inside(kind))
    record = state["proposals"]["draft/x"]
    assert (record["status"], record["attempts"], cast.sent) == ("ok", 3, 3)
    assert (record["usage"]["output_tokens"], record["usage"]["source"]) == (6, "provider")
    assert record["cost"] == pytest.approx(0.006)


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_counted_under_invoke_too(kind: str) -> None:
    record = Cast().inside(kind).compile().invoke(QUESTION)["proposals"]["draft/x"]
    assert (record["attempts"], record["cost"]) == (3, pytest.approx(0.006))


@pytest.mark.parametrize("kind", KINDS)
async def test_what_it_took_is_not_lost_when_it_fails(kind: str) -> None:
    cast = Cast(w=ToolCaller(DOWN))
    record = await failed(cast.inside(kind))
    assert (record["failure"]["kind"], record["attempts"], cast.sent) == ("error", 3, 3)
    assert record["failure"]["message"].startswith("inside ")
    assert (record["usage"]["output_tokens"], record["cost"]) == (4, pytest.approx(0.004))


@pytest.mark.parametrize("kind", KINDS)
async def test_what_it_took_is_not_lost_when_its_time_is_up(kind: str) -> None:
    # A thread cannot be stopped: what it waits for ends by its own timeout.
    cast = Cast(w=ToolCaller("never", wait=asyncio.Event().wait), defaults={"attempts": 1, "timeout": 1})
    graph = cast.inside(kind, {"timeout": 0.3})
    record = await failed(graph)
    assert (record["failure"]["kind"], record["attempts"]) == ("timeout", 3)
    assert record["usage"]["output_tokens"] == 4
    assert record["warnings"] == ["a request ended before its tokens were reported; they are estimated"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [1, 2])
async def test_the_outer_limit_of_calls_holds(kind: str, limit: int) -> None:
    cast = Cast()
    record = await failed(cast.inside(kind, limits={"max_calls": limit}))
    assert (record["failure"]["kind"], record["attempts"], cast.sent) == ("budget", limit, limit)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_outer_limit_of_cost_holds(kind: str) -> None:
    cast = Cast()
    asked = ("m", "z") if kind in {"slot", "agent"} else ("z",)
    member = {} if kind in {"slot", "agent", "nested"} else {"price": PRICE}
    graph = cast.inside(kind, member, limits={"max_cost": 0.101}, slots=dict.fromkeys(asked, PRICED))
    record = await failed(graph)
    assert (record["failure"]["kind"], cast.sent) == ("budget", 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sync", [False, True])
async def test_a_single_place_is_enough(kind: str, sync: bool) -> None:
    graph = Cast().inside(kind, limits={"max_concurrency": 1, "deadline": 5}).compile()
    state = await (asyncio.to_thread(graph.invoke, QUESTION) if sync else graph.ainvoke(QUESTION))
    assert state["proposals"]["draft/x"]["attempts"] == 3


@pytest.mark.parametrize("member", [{"runnable": "r"}, {"model": "m"}])
async def test_one_that_is_asked_again_goes_on_and_nothing_counts_twice(member: Any) -> None:
    cast = Cast(w=ToolCaller(ConnectionError("gone"), "Inner answer."), defaults={"attempts": 1})
    again = cast.model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    if "model" in member:
        graph = panel("m", models={"m": cast.model, "n": cast.model})
        with pytest.raises(QuorumNotMet):
            await ask(graph)
        state, _ = await ask(graph)
        record = state["proposals"]["draft/m"]
        assert (record["attempts"], record["cost"], cast.sent) == (1, pytest.approx(0.002), 4)
        return
    state, _ = await ask(panel(member, registered={"runnables": {"r": again}}))
    record = state["proposals"]["draft/r"]
    assert (record["attempts"], record["cost"], cast.sent) == (4, pytest.approx(0.006), 4)


async def test_a_mixture_that_is_left_behind_in_a_thread_sends_no_further_request() -> None:
    cast, go_on, ended = Cast(), threading.Event(), threading.Event()
    graph = build_graph(MoASpec.model_validate(cast.spec), models=cast.models).compile()

    def slow(messages: Any) -> str:
        go_on.wait()
        try:
            return str(graph.invoke({"messages": messages}, {"callbacks": []})["messages"][-1].text)
        finally:
            ended.set()

    runnables = {"r": RunnableLambda(slow)}
    record = await failed(panel({"runnable": "r", "timeout": 0.1}, registered={"runnables": runnables}))
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 5)
    assert (record["failure"]["kind"], record["attempts"], cast.sent) == ("timeout", 1, 0)


async def test_three_at_once_in_one_function_are_counted_request_by_request() -> None:
    cast = Cast()

    async def thrice(messages: Any) -> str:
        answers = await asyncio.gather(*(cast.model.ainvoke(messages) for _ in range(3)))
        return " ".join(answer.text for answer in answers)

    state, _ = await ask(panel({"runnable": "r"}, registered={"runnables": {"r": RunnableLambda(thrice)}}))
    assert (state["proposals"]["draft/r"]["attempts"], cast.sent) == (9, 9)


async def test_a_mixture_as_the_model_of_a_mixture_inside_is_counted_once() -> None:
    cast = Cast()
    middle = inner("m", name="middle")
    graph = build_graph(MoASpec.model_validate(middle), models={"m": cast.model}).compile()
    for member, parts in (
        ({"spec": middle, "id": "x"}, {"models": {"m": cast.model}}),
        ({"runnable": "r", "id": "x"}, {"registered": {"runnables": {"r": graph}}}),
    ):
        before = cast.sent
        state, _ = await ask(panel(member, **parts))
        assert (state["proposals"]["draft/x"]["attempts"], cast.sent - before) == (3, 3)


async def test_a_tool_that_asks_a_mixture_is_paid_for_by_the_agent_that_calls_it() -> None:
    cast = Cast()

    @tool
    async def second_opinion(question: str) -> str:
        """Ask others."""
        return str((await cast.model.ainvoke(question)).text)

    agent = ToolCaller(ToolCaller.asking("sky"), "Agent.")
    graph = panel(
        {"model": "t", "tools": ["second_opinion"]},
        models={"t": agent},
        registered={"tools": {"second_opinion": second_opinion}},
    )
    state, _ = await ask(graph)
    assert state["proposals"]["draft/t"]["attempts"] == 2 + 3


@pytest.mark.parametrize("sync", [False, True])
async def test_an_agent_inside_that_is_cut_off_is_counted_with_what_is_under_way(sync: bool) -> None:
    slow = ToolCaller("never", wait=asyncio.Event().wait)
    spec = inner("s", "w")
    spec["layers"][0]["proposers"] = [{"model": "s", "tools": ["search"]}, {"model": "s", "id": "plain"}]
    graph = panel(
        {"spec": spec, "timeout": 0.3},
        "a",
        models={"s": slow, "w": Model("never"), "a": Model("Blue.")},
        registered={"tools": {"search": search}},
    ).compile()
    state = await (asyncio.to_thread(graph.invoke, QUESTION) if sync else graph.ainvoke(QUESTION))
    record = state["proposals"]["draft/inner"]
    assert (record["attempts"], record["usage"]["input_tokens"], record["usage"]["source"]) == (
        2,
        2,
        "estimated",
    )
    assert record["warnings"] == ["a request ended before its tokens were reported; they are estimated"]


@pytest.mark.parametrize(
    "odd",
    [
        {"a": 1},
        "text",
        {"name": "z", "warnings": None, "calls": 2, "cost": 1},
        {"name": 1, "warnings": [], "calls": 2, "cost": 1},
        {"name": "z", "warnings": [1], "calls": 2, "cost": 1},
        {"name": "z", "warnings": [], "calls": "2", "cost": 1},
        {"name": "z", "warnings": [], "calls": 2, "cost": "1"},
    ],
)
@pytest.mark.parametrize("kind", ["slot", "runnable"])
async def test_what_a_message_says_under_our_name_in_another_form_is_nothing(odd: Any, kind: str) -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    message = AIMessage("Blue.", response_metadata={"moa": odd}, usage_metadata=usage)
    if kind == "slot":
        graph = panel({"model": "a", "id": "x"}, models={"a": Model(message)})
    else:
        answer = RunnableLambda(lambda _: message)
        graph = panel({"runnable": "r", "id": "x"}, registered={"runnables": {"r": answer}})
    state, _ = await ask(graph)
    record = state["proposals"]["draft/x"]
    assert (record["text"], record["attempts"], record["cost"], record["warnings"]) == ("Blue.", 1, None, [])
