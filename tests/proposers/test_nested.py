"""Proposers that are mixtures themselves: a spec inside a spec, which the outer run pays for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, SystemMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from moa_graph.errors import AggregatorFailed, BudgetExceeded, ModelNotReady, QuorumNotMet
from moa_graph.runs.threads import Runs
from tests.fakes.agents import ToolCaller
from tests.fakes.insides import QUESTION, ask, inner, panel
from tests.fakes.models import ScriptedChatModel as Model

DOWN = ValueError("down")


class Cast:
    """A nested mixture of think/a, think/b and the aggregator w; `cast.a.calls` are the calls of think/a."""

    def __init__(self, **models: Model) -> None:
        self.a = models.get("a", Model("Inner a."))
        self.b = models.get("b", Model("Inner b."))
        self.w = models.get("w", Model("Inner answer."))

    @property
    def models(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b, "w": self.w}

    @property
    def calls(self) -> list[int]:
        return [len(model.calls) for model in (self.a, self.b, self.w)]

    def graph(self, *others: Any, member: Any = None, spec: Any = None, **parts: Any) -> Any:
        """Return an outer mixture with the nested one as its first proposer."""
        return panel(
            {"spec": inner("a", "b", "w", **(spec or {})), **(member or {})},
            *others,
            models={**self.models, **parts.pop("models", {})},
            **parts,
        )


def priced(*slots: str) -> dict[str, Any]:
    price = {"input": 0, "output": 1000}
    return {"models": {slot: {"model": f"host:{slot}", "max_tokens": 100, "price": price} for slot in slots}}


async def failed(graph: Any) -> Any:
    with pytest.raises(QuorumNotMet) as raised:
        await ask(graph)
    [record] = raised.value.proposals
    return record


# --- what comes of it ---


async def test_the_inner_answer_is_the_proposal_and_the_sums_are_all_its_calls() -> None:
    cast = Cast()
    state, events = await ask(
        cast.graph(spec=priced("a", "b", "w"), slots={"z": {"price": {"input": 0, "output": 0}}})
    )
    record = state["proposals"]["draft/inner"]
    assert (record["text"], record["attempts"], record["requested_model"]) == (
        "Inner answer.",
        3,
        "spec:inner",
    )
    assert record["actual_model"] == "scripted"
    assert record["usage"] == {"input_tokens": 1 + 1 + 2, "output_tokens": 6, "source": "provider"}
    assert record["cost"] == pytest.approx(6 * 1000 / 1e6)
    assert [(event["type"], event.get("id")) for event in events] == [
        ("run.started", None),
        ("layer.started", None),
        ("call.started", "draft/inner"),
        ("call.finished", "draft/inner"),
        ("layer.joined", None),
        ("call.started", "aggregator/z"),
        ("call.finished", "aggregator/z"),
        ("run.finished", None),
    ]
    summary = state["messages"][-1].response_metadata["moa"]
    assert (summary["calls"], summary["cost"]) == (4, pytest.approx(0.006))
    assert [message.text for message in state["messages"]] == ["Why?", "The answer."]


def test_a_nested_mixture_answers_under_invoke_too() -> None:
    state = Cast().graph().compile().invoke(QUESTION)
    assert state["proposals"]["draft/inner"]["attempts"] == 3


async def test_the_members_system_text_reaches_the_inner_proposers() -> None:
    cast = Cast()
    await ask(cast.graph(member={"system": "Question every claim."}))
    assert isinstance(cast.a.calls[0][0], SystemMessage)
    assert cast.a.calls[0][0].text == "Question every claim."


async def test_references_of_an_outer_layer_reach_the_inner_proposers() -> None:
    cast = Cast()
    graph = panel(
        "first",
        models={**cast.models, "first": Model("First words.")},
        layers=[
            {"name": "one", "proposers": ["first"]},
            {"name": "two", "proposers": [{"spec": inner("a", "b", "w")}]},
        ],
    )
    await ask(graph)
    assert cast.a.calls[0][0].text.endswith("\n1. First words.")


async def test_samples_share_one_graph_and_run_apart() -> None:
    cast = Cast()
    state, _ = await ask(cast.graph(member={"samples": 2}))
    assert list(state["proposals"]) == ["draft/inner-1", "draft/inner-2"]
    assert [record["attempts"] for record in state["proposals"].values()] == [3, 3]


async def test_what_went_wrong_inside_is_a_warning_of_the_call() -> None:
    state, _ = await ask(Cast(b=Model(DOWN)).graph())
    record = state["proposals"]["draft/inner"]
    assert record["warnings"] == ["inside inner: think/b failed: error: ValueError: down"]
    warnings = state["messages"][-1].response_metadata["moa"]["warnings"]
    assert warnings == ["draft/inner: inside inner: think/b failed: error: ValueError: down"]


# --- failures ---


async def test_a_run_that_fails_inside_is_the_failure_of_the_call_with_all_that_was_paid() -> None:
    cast = Cast(w=Model(DOWN))
    record = await failed(cast.graph(member={"attempts": 3}))
    assert record["failure"]["kind"] == "error"
    assert record["failure"]["message"].startswith("inside inner: no answer from the aggregator (tried w)")
    assert "ValueError: down" in record["failure"]["message"]
    assert (record["attempts"], record["usage"]["output_tokens"], cast.calls) == (3, 4, [1, 1, 1])


async def test_the_inner_deadline_is_a_deadline_failure() -> None:
    cast = Cast(w=Model("never", wait=asyncio.Event().wait))
    record = await failed(cast.graph(spec={"limits": {"deadline": 0.2}}))
    assert record["failure"]["kind"] == "deadline"
    assert "the run's deadline of 0.2 s passed" in record["failure"]["message"]
    assert (record["attempts"], cast.w.cancelled) == (3, 1)


async def test_the_timeout_ends_all_that_is_inside_and_counts_it() -> None:
    cast = Cast(w=Model("never", wait=asyncio.Event().wait))
    record = await failed(cast.graph(member={"timeout": 0.2}))
    assert (record["failure"]["kind"], record["attempts"], cast.w.cancelled) == ("timeout", 3, 1)
    assert record["usage"]["source"] == "estimated"
    assert record["usage"]["output_tokens"] == 4


async def test_another_attempt_asks_all_again_and_both_are_counted() -> None:
    waits = iter([asyncio.Event().wait, asyncio.Barrier(1).wait])

    async def wait() -> None:
        await next(waits)()

    cast = Cast(w=Model("Inner answer.", wait=wait))
    state, events = await ask(cast.graph(member={"attempts": 2, "timeout": 0.2}))
    record = state["proposals"]["draft/inner"]
    assert (record["text"], record["attempts"], cast.calls) == ("Inner answer.", 6, [2, 2, 1])
    [retried] = [event for event in events if event["type"] == "call.retried"]
    assert (retried["id"], retried["attempt"], retried["failure"]["kind"]) == ("draft/inner", 3, "timeout")


async def test_a_straggler_is_cut_with_all_that_is_inside() -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    cast = Cast(w=Model("never", wait=wait))
    graph = cast.graph(
        "quick",
        models={"quick": Model("Quick.", wait=begun.wait)},
        layer={"quorum": 1, "grace": 0.001},
    )
    state, _ = await ask(graph)
    record = state["proposals"]["draft/inner"]
    assert (record["status"], record["attempts"], cast.w.cancelled) == ("cut", 3, 1)
    assert record["usage"]["output_tokens"] == 4


# --- limits ---


@pytest.mark.parametrize("mode", ["values", "messages"])
async def test_the_limit_of_characters_is_for_one_output_whoever_listens(mode: str) -> None:
    models = {"a": Model("x" * 600), "b": Model("y" * 600), "w": Model("z" * 600)}
    graph = panel({"spec": inner("a", "b", "w")}, models=models, limits={"max_output_chars": 1000}).compile()
    last: Any = None
    async for kind, part in graph.astream(QUESTION, stream_mode=["values", mode]):
        last = part if kind == "values" else last
    assert last["proposals"]["draft/inner"]["text"] == "z" * 600


@pytest.mark.parametrize("limit", [1, 2])
async def test_the_outer_limit_of_calls_holds_inside(limit: int) -> None:
    cast = Cast()
    with pytest.raises(BudgetExceeded, match=f"limits.max_calls = {limit} requests are used up") as raised:
        await ask(cast.graph(limits={"max_calls": limit}))
    [record] = raised.value.proposals
    assert (record["failure"]["kind"], record["attempts"], sum(cast.calls)) == ("budget", limit, limit)


async def test_the_inner_limit_of_calls_is_a_budget_failure_and_others_go_on() -> None:
    cast = Cast()
    graph = cast.graph("other", models={"other": Model("Other.")}, spec={"limits": {"max_calls": 2}})
    state, _ = await ask(graph)
    record = state["proposals"]["draft/inner"]
    assert (record["status"], record["failure"]["kind"], record["attempts"]) == ("failed", "budget", 2)
    assert state["status"] == "answered"


async def test_the_outer_limit_of_cost_holds_inside() -> None:
    cast = Cast()
    with pytest.raises(BudgetExceeded, match=r"limits.max_cost = \$0.101"):
        await ask(cast.graph(spec=priced("a", "b", "w"), limits={"max_cost": 0.101}))
    assert sum(cast.calls) == 1


async def test_the_outer_concurrency_holds_for_calls_inside_and_outside_together() -> None:
    now, most = 0, 0

    async def count() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(50):  # much longer than what it takes to begin and to end a call
            await asyncio.sleep(0)
        now -= 1

    models = {slot: Model(f"{slot}.", wait=count) for slot in "abcdw"}
    graph = panel(
        {"spec": inner("a", "b", "w")},
        {"spec": inner("c", "d", "w"), "id": "other"},
        "a",
        models=models,
        limits={"max_concurrency": 2},
    )
    state, _ = await ask(graph)
    assert {record["status"] for record in state["proposals"].values()} == {"ok"}
    assert most == 2


async def test_a_single_place_is_enough_for_a_nested_mixture() -> None:
    state, _ = await ask(Cast().graph(limits={"max_concurrency": 1}))
    assert state["proposals"]["draft/inner"]["attempts"] == 3


def test_a_wide_mixture_inside_a_narrow_one_asks_all_at_once() -> None:
    barrier = asyncio.Barrier(8)

    async def meet() -> None:
        async with asyncio.timeout(5):
            await barrier.wait()

    slots = "abcdefgh"
    models = {slot: Model(f"{slot}.", wait=meet) for slot in slots} | {"w": Model("Inner answer.")}
    state = panel({"spec": inner(*slots, "w")}, models=models).compile().invoke(QUESTION)
    assert state["proposals"]["draft/inner"]["warnings"] == []


# --- depth, readiness, marks ---


def nest(levels: int) -> dict[str, Any]:
    """Return specs inside each other, the innermost of which has one proposer."""
    spec = inner("a", "w", name=f"level-{levels}")
    for level in range(levels - 1, 0, -1):
        outer = inner("w", name=f"level-{level}")
        spec = {**outer, "layers": [{"name": "think", "proposers": [{"spec": spec}]}]}
    return spec


@pytest.mark.parametrize("levels", [1, 2])
async def test_three_mixtures_may_stand_inside_each_other(levels: int) -> None:
    models = {"a": Model("Deep."), "w": Model("Inner answer.")}
    state, _ = await ask(panel({"spec": nest(levels), "id": "n"}, models=models))
    assert state["proposals"]["draft/n"]["attempts"] == levels + 1


async def test_a_fourth_mixture_inside_is_refused_and_says_where() -> None:
    models = {"a": Model("Deep."), "w": Model("Inner answer.")}
    record = await failed(panel({"spec": nest(3), "id": "n"}, models=models))
    assert (
        "level-3 would run inside 3 other mixtures (outer: draft/n > level-1: think/level-2 > "
        "level-2: think/level-3); at most 3 may stand inside each other" in record["failure"]["message"]
    )
    assert models["a"].calls == []


async def test_what_is_missing_inside_is_said_before_any_call_with_its_place() -> None:
    model = Model("never")
    spec = inner("a", "gone")
    spec["layers"][0]["proposers"].append({"runnable": "nobody"})
    graph = panel({"spec": spec}, "a", models={"a": model}).compile()
    with pytest.raises(ModelNotReady) as raised:
        await graph.ainvoke(QUESTION)
    assert "draft/inner: models.gone (host:gone): no model is registered" in str(raised.value)
    assert "draft/inner: think/nobody: no runnable is registered" in str(raised.value)
    assert model.calls == []


async def test_calls_inside_are_marked_as_nested_and_the_inner_run_says_its_own_name() -> None:
    marks = {}
    async for event in Cast().graph().compile().astream_events(QUESTION, version="v2"):
        if event["event"] == "on_chat_model_start":
            data = event["metadata"]
            marks[data["moa_proposer"]] = data["moa_role"], data.get("moa_inside"), data["moa_name"]
    assert marks == {
        "a": ("nested", "outer: draft/inner", "inner"),
        "b": ("nested", "outer: draft/inner", "inner"),
        "w": ("nested", "outer: draft/inner", "inner"),
        "z": ("aggregator", None, "outer"),
    }


# --- threads ---


@tool
def search(question: str) -> str:
    """Search the library."""
    return f"found {question}"


async def test_a_thread_with_all_kinds_of_proposers_resumes_and_shows_its_prompts(tmp_path: Path) -> None:
    cast, z = Cast(), Model(DOWN, "The answer.")
    spoken: list[Any] = []

    def speak(messages: Any) -> str:
        spoken.append(messages)
        return "Runnable."

    members = [{"runnable": "r"}, {"runnable": "g"}, {"model": "t", "tools": ["search"]}]
    agent = ToolCaller(ToolCaller.asking("sky", tool="search"), "Agent.")
    graph = cast.graph(*members, member={"system": "Doubt."}, models={"z": z, "t": agent})
    unsaved = StateGraph(MessagesState).add_node("n", lambda state: {"messages": [AIMessage("Graph.")]})
    unsaved.add_edge(START, "n")
    async with Runs.open(
        f"sqlite:///{tmp_path}/moa.db",
        graph.spec,
        models={**cast.models, "z": z, "t": agent},
        tools={"search": search},
        runnables={"r": RunnableLambda(speak), "g": unsaved.compile(checkpointer=False)},
    ) as runs:
        with pytest.raises(AggregatorFailed):
            await runs.start("Why?", thread="t")
        run = await runs.resume("t")
        assert (run.status, run.calls) == ("answered", 3 + 1 + 1 + 2 + 2)
        assert [record["status"] for record in run.proposals] == ["ok"] * 4
        assert (cast.calls, len(spoken)) == ([1, 1, 1], 1)
        prompt = await runs.prompt("t", "draft/inner")
        assert [message.text for message in prompt] == ["Doubt.", "Why?"]
        assert [message.text for message in await runs.prompt("t", "draft/r")] == ["Why?"]
        assert len(await runs.history("t")) == 3
