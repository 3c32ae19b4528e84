"""The layer node: order, quorum, grace, deadline, cutting, and what a failure leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from langchain_core.messages import ChatMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from moa_graph.errors import BudgetExceeded, DeadlineExceeded, MoAError, QuorumNotMet
from tests.fakes.mixture import mixture
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.panels import Panel

QUESTION: Any = {"messages": [("user", "Why?")]}


def hanging() -> Model:
    """Return a model that answers only when it is cancelled."""

    async def wait() -> None:
        await asyncio.Event().wait()

    return Model(wait=wait)


def broken() -> Model:
    return Model(ValueError("broken"))


async def run(graph: Any, config: Any = None) -> dict[str, Any]:
    return await graph.compile().ainvoke(QUESTION, config)


async def test_proposals_stand_in_the_order_of_the_spec_and_not_of_arrival() -> None:
    last_is_first = asyncio.Event()

    async def wait() -> None:
        await last_is_first.wait()

    def release(_: Any) -> str:
        last_is_first.set()
        return "C"

    final = Model("answer")
    state = await run(mixture({"draft": {"a": Model("A", wait=wait), "c": Model(release)}}, {"z": final}))
    assert list(state["proposals"]) == ["draft/a", "draft/c"]
    assert final.calls[0][0].text.endswith("\n1. A\n2. C")


async def test_each_layer_sees_only_the_layer_before() -> None:
    second, third, final = Model("B"), Model("C"), Model("D")
    await run(mixture({"one": {"a": Model("A")}, "two": {"b": second}, "three": {"c": third}}, {"z": final}))
    assert second.calls[0][0].text.endswith("models:\n1. A")
    assert third.calls[0][0].text.endswith("models:\n1. B")
    assert final.calls[0][0].text.endswith("models:\n1. C")


async def test_first_layer_gets_the_callers_messages_unchanged() -> None:
    first = Model("A")
    await run(mixture({"one": {"a": first}}, {"z": Model()}))
    assert [(message.type, message.text) for message in first.calls[0]] == [("human", "Why?")]


async def test_failed_proposers_are_left_out_and_the_rest_is_numbered_without_gaps() -> None:
    final = Model("answer")
    graph = mixture({"draft": {"a": Model("A"), "b": broken(), "c": Model("C")}}, {"z": final})
    state = await run(graph)
    assert final.calls[0][0].text.endswith("models:\n1. A\n2. C")
    failed = state["proposals"]["draft/b"]
    assert (failed["status"], failed["failure"]["kind"]) == ("failed", "error")
    assert state["status"] == "answered"


async def test_error_texts_never_reach_a_prompt() -> None:
    final = Model("answer")
    await run(mixture({"draft": {"a": Model("A"), "b": Model(ValueError("SECRET TRACE"))}}, {"z": final}))
    assert "SECRET TRACE" not in str(final.calls)


@pytest.mark.parametrize("failing", [1, 2, 3])
async def test_as_many_may_fail_as_the_quorum_leaves_and_no_sibling_is_cancelled(failing: int) -> None:
    gate = asyncio.Event()
    siblings = [Model(f"{number}", wait=gate.wait) for number in range(6 - failing)]

    def last(_: Any) -> str:
        raise ValueError("broken")

    members = {f"ok{number}": model for number, model in enumerate(siblings)}
    members |= {f"bad{number}": Model(last) for number in range(failing)}
    graph = mixture({"draft": members}, {"z": Model()}, layer={"draft": {"quorum": 3}})

    async def open_gate() -> None:
        gate.set()

    state, _ = await asyncio.gather(run(graph), open_gate())
    statuses = [proposal["status"] for proposal in state["proposals"].values()]
    assert statuses.count("ok") == 6 - failing
    assert statuses.count("failed") == failing
    assert sum(model.cancelled for model in siblings) == 0


async def test_below_the_quorum_the_run_ends_with_what_was_paid_for_and_no_aggregator_call() -> None:
    final = Model("answer")
    graph = mixture(
        {"draft": {"a": Model("A"), "b": broken(), "c": broken()}},
        {"z": final},
        layer={"draft": {"quorum": 2}},
    )
    with pytest.raises(QuorumNotMet, match="layer draft: 1 of 3 proposals, quorum 2") as raised:
        await run(graph)
    assert [record["status"] for record in raised.value.proposals] == ["ok", "failed", "failed"]
    assert raised.value.proposals[0]["text"] == "A"
    assert raised.value.calls == 3
    assert "draft/b: error: ValueError: broken" in str(raised.value)
    assert raised.value.hint
    assert final.calls == []


async def test_straggler_is_cancelled_after_grace() -> None:
    straggler = hanging()
    graph = mixture(
        {"draft": {"a": Model("A"), "slow": straggler, "c": Model("C")}},
        {"z": Model()},
        layer={"draft": {"quorum": 2, "grace": 0.01}},
    )
    state = await run(graph)
    assert straggler.cancelled == 1
    cut = state["proposals"]["draft/slow"]
    assert (cut["status"], cut["failure"]["kind"], cut["attempts"]) == ("cut", "deadline", 1)
    assert list(state["proposals"]) == ["draft/a", "draft/slow", "draft/c"]


async def test_without_grace_the_layer_waits_for_all() -> None:
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    graph = mixture({"draft": {"a": Model("A"), "slow": Model("B", wait=wait)}}, {"z": Model()})
    running = asyncio.create_task(run(graph))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not running.done()
    gate.set()
    state = await running
    assert [proposal["status"] for proposal in state["proposals"].values()] == ["ok", "ok"]


async def test_what_arrives_within_the_grace_is_kept() -> None:
    quorum_is_there = asyncio.Event()

    def first(_: Any) -> str:
        quorum_is_there.set()
        return "A"

    graph = mixture(
        {"draft": {"a": Model(first), "late": Model("B", wait=quorum_is_there.wait)}},
        {"z": Model()},
        layer={"draft": {"quorum": 1, "grace": 30}},
    )
    state = await run(graph)
    assert state["proposals"]["draft/late"]["status"] == "ok"


async def test_the_layers_deadline_ends_it_and_the_quorum_decides() -> None:
    graph = mixture(
        {"draft": {"a": Model("A"), "slow": hanging()}}, {"z": Model()}, layer={"draft": {"deadline": 0.3}}
    )
    state = await run(graph)
    late = state["proposals"]["draft/slow"]
    assert (late["status"], late["failure"]["kind"]) == ("failed", "deadline")
    assert state["status"] == "answered"


async def test_the_layers_deadline_without_a_quorum_ends_the_run() -> None:
    graph = mixture(
        {"draft": {"a": Model("A"), "slow": hanging()}},
        {"z": Model()},
        layer={"draft": {"deadline": 0.3, "quorum": 2}},
    )
    with pytest.raises(QuorumNotMet, match="draft/slow: deadline"):
        await run(graph)


async def test_the_runs_deadline_ends_with_its_own_error_and_keeps_the_proposals() -> None:
    graph = mixture(
        {"draft": {"a": Model("A"), "slow": hanging()}},
        {"z": Model()},
        layer={"draft": {"quorum": 2}},
        limits={"deadline": 0.3},
    )
    with pytest.raises(DeadlineExceeded, match=r"deadline of 0\.3 s passed") as raised:
        await run(graph)
    assert raised.value.proposals[0]["text"] == "A"


async def test_a_model_that_ignores_cancellation_does_not_hold_the_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("moa_graph.proposers.waiting.CANCEL_GRACE", 0.01)
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    graph = mixture(
        {"draft": {"a": Model("A"), "slow": Model("B", wait=stubborn)}},
        {"z": Model()},
        layer={"draft": {"quorum": 1, "grace": 0.01}},
    )
    state = await run(graph)
    assert state["proposals"]["draft/slow"]["status"] == "cut"
    released.set()
    await asyncio.sleep(0)


async def test_max_calls_ends_the_run_before_the_call_is_made() -> None:
    models = [Model(str(number)) for number in range(3)]
    graph = mixture(
        {"draft": {f"m{number}": model for number, model in enumerate(models)}},
        {"z": Model()},
        layer={"draft": {"quorum": 3}},
        limits={"max_calls": 2},
    )
    with pytest.raises(BudgetExceeded, match="max_calls = 2") as raised:
        await run(graph)
    assert sum(len(model.calls) for model in models) == 2
    assert raised.value.calls == 2


async def test_max_cost_is_checked_before_the_call_from_max_tokens() -> None:
    model = Model("A")
    graph = mixture(
        {"draft": {"a": model}},
        {"z": Model()},
        slots={"draft-a": {"max_tokens": 1000, "price": {"input": 0, "output": 1000}}},
        limits={"max_cost": 0.5},
    )
    with pytest.raises(BudgetExceeded, match="max_cost"):
        await run(graph)
    assert model.calls == []


async def test_a_failed_proposer_is_tried_again_on_resume_and_finished_ones_are_not() -> None:
    good = [Model(str(number)) for number in range(5)]
    flaky = Model(ValueError("down"), "back")
    final = Model("answer")
    members = {f"ok{number}": model for number, model in enumerate(good)} | {"flaky": flaky}
    graph = mixture({"draft": members}, {"z": final}, layer={"draft": {"quorum": 6}})
    compiled = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(QuorumNotMet):
        await compiled.ainvoke(QUESTION, config)
    state = await compiled.ainvoke(None, config)
    assert [len(model.calls) for model in good] == [1] * 5
    assert len(flaky.calls) == 2
    assert len(final.calls) == 1
    assert state["proposals"]["draft/flaky"]["text"] == "back"


async def test_edited_and_dropped_proposals_are_what_the_next_layer_sees() -> None:
    final = Model("answer")
    graph = mixture({"draft": {"a": Model("A"), "b": Model("B")}}, {"z": final})
    compiled = graph.compile(checkpointer=InMemorySaver(), interrupt_before=["aggregator"])
    config: Any = {"configurable": {"thread_id": "t"}}
    state = await compiled.ainvoke(QUESTION, config)
    edited = {**state["proposals"]["draft/a"], "text": "A, edited", "edited": True}
    dropped = {**state["proposals"]["draft/b"], "status": "dropped"}
    await compiled.aupdate_state(config, {"proposals": {"draft/a": edited, "draft/b": dropped}})
    state = await compiled.ainvoke(None, config)
    assert final.calls[0][0].text.endswith("models:\n1. A, edited")
    assert list(state["proposals"]) == ["draft/a", "draft/b"]


async def test_with_every_proposal_dropped_the_next_layer_is_not_run() -> None:
    second = Model("B")
    graph = mixture({"one": {"a": Model("A")}, "two": {"b": second}}, {"z": Model()})
    compiled = graph.compile(checkpointer=InMemorySaver(), interrupt_before=["two"])
    config: Any = {"configurable": {"thread_id": "t"}}
    state = await compiled.ainvoke(QUESTION, config)
    dropped = {**state["proposals"]["one/a"], "status": "dropped"}
    await compiled.aupdate_state(config, {"proposals": {"one/a": dropped}})
    with pytest.raises(QuorumNotMet, match="layer two: layer one left no proposal"):
        await compiled.ainvoke(None, config)
    assert second.calls == []


async def test_a_partial_edit_keeps_the_rest_of_the_record() -> None:
    final = Model("answer")
    compiled = mixture({"draft": {"a": Model("A")}}, {"z": final}).compile(
        checkpointer=InMemorySaver(), interrupt_before=["aggregator"]
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    await compiled.ainvoke(QUESTION, config)
    await compiled.aupdate_state(config, {"proposals": {"draft/a": {"text": "mine", "edited": True}}})
    state = await compiled.ainvoke(None, config)
    assert final.calls[0][0].text.endswith("1. mine")
    assert (state["proposals"]["draft/a"]["status"], state["proposals"]["draft/a"]["attempts"]) == ("ok", 1)


async def test_restored_proposals_count_against_the_limits_of_the_run_that_goes_on() -> None:
    flaky = Model(ValueError("down"), "back")
    graph = mixture(
        {"draft": {"a": Model("A"), "b": Model("B"), "flaky": flaky}},
        {"z": Model()},
        layer={"draft": {"quorum": 3}},
        limits={"max_calls": 3},
    )
    compiled = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(QuorumNotMet):
        await compiled.ainvoke(QUESTION, config)
    with pytest.raises(BudgetExceeded, match="max_calls = 3"):
        await compiled.ainvoke(None, config)


async def test_an_interrupt_inside_a_proposer_surfaces_and_its_siblings_finish() -> None:
    def ask(_: Any) -> str:
        return str(interrupt("approve?"))

    sibling = Model("A")
    graph = mixture({"draft": {"asking": Model(ask), "a": sibling}}, {"z": Model("answer")})
    compiled = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    state = await compiled.ainvoke(QUESTION, config)
    assert [found.value for found in state["__interrupt__"]] == ["approve?"]
    state = await compiled.ainvoke(Command(resume="yes"), config)
    assert state["proposals"]["draft/asking"]["text"] == "yes"
    assert len(sibling.calls) == 1


@pytest.mark.parametrize("value", [{}, {"messages": []}])
async def test_without_a_message_nothing_is_called(value: Any) -> None:
    model = Model("A")
    with pytest.raises(MoAError, match="nothing to answer"):
        await mixture({"draft": {"a": model}}, {"z": Model()}).compile().ainvoke(value)
    assert model.calls == []


def test_ctrl_c_in_invoke_ends_the_calls_at_once() -> None:
    async def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    slow = Model(wait=interrupted)
    graph = mixture({"draft": {"slow": slow}}, {"z": Model()}).compile()
    with pytest.raises(KeyboardInterrupt):
        graph.invoke(QUESTION)
    assert slow.cancelled == 1


async def test_a_picture_is_not_counted_as_text_in_the_reservation() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2_000_000}}
    graph = mixture(
        {},
        {"z": Model("A cat.")},
        slots={"z": {"price": {"input": 1.8, "output": 1.8}}},
        limits={"max_cost": 0.05},
    )
    content = [{"type": "text", "text": "What is this?"}, picture, "Say it."]
    state = await graph.compile().ainvoke({"messages": [HumanMessage(content)]})
    assert state["messages"][-1].text == "A cat."


async def test_a_model_that_returns_something_else_than_an_ai_message_is_malformed() -> None:
    class Odd(Model):
        async def ainvoke(self, *_: Any, **__: Any) -> Any:
            return ChatMessage("hm", role="oracle")

    with pytest.raises(QuorumNotMet, match="draft/odd: malformed: the model returned ChatMessage"):
        await run(mixture({"draft": {"odd": Odd()}}, {"z": Model()}))


async def test_a_model_that_cancels_its_own_call_has_failed_and_not_the_run() -> None:
    class Quitting(Model):
        async def ainvoke(self, *_: Any, **__: Any) -> Any:
            raise asyncio.CancelledError

    state = await run(mixture({"draft": {"a": Model("A")}}, {"z": Quitting(), "y": Model("Y")}))
    summary = state["messages"][-1].response_metadata["moa"]
    assert summary["answered_by"] == "y"
    assert summary["failed_aggregators"][0]["failure"]["message"] == "the model cancelled its own call"


async def test_a_record_says_which_proposals_its_prompt_held() -> None:
    layers = {
        "draft": {"a": Model("A"), "b": Model(ValueError("down")), "c": Model("C")},
        "refine": {"a": Model("A2")},
    }
    state = await mixture(layers, {"z": Model("Z")}).compile().ainvoke(QUESTION)
    assert state["proposals"]["draft/a"]["references"] == []
    assert state["proposals"]["refine/a"]["references"] == ["draft/a", "draft/c"]
    aggregator = state["messages"][-1].response_metadata["moa"]["aggregator"]
    assert aggregator["references"] == ["refine/a"]


async def test_a_proposal_that_was_added_by_hand_is_the_last_reference() -> None:
    final = Model("Z")
    compiled = mixture({"draft": {"a": Model("A"), "b": Model("B")}}, {"z": final}).compile(
        checkpointer=InMemorySaver(), interrupt_before=["aggregator"]
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    state = await compiled.ainvoke(QUESTION, config)
    added = {**state["proposals"]["draft/a"], "id": "draft/mine", "proposer": "mine", "text": "Mine."}
    await compiled.aupdate_state(config, {"proposals": {"draft/mine": added}})
    await compiled.ainvoke(None, config)
    assert final.calls[0][0].text.endswith("\n1. A\n2. B\n3. Mine.")


async def test_proposals_that_a_fork_kept_are_not_asked_for_again() -> None:
    draft, other = Model("paid again"), Model("B")
    compiled = mixture({"draft": {"a": draft, "b": other}}, {"z": Model("Z")}).compile(
        checkpointer=InMemorySaver()
    )
    whole = await mixture({"draft": {"a": Model("A")}}, {"z": Model("Z")}).compile().ainvoke(QUESTION)
    record, config = whole["proposals"]["draft/a"], {"configurable": {"thread_id": "1"}}
    kept = {"message": "m", "proposals": {"draft/a": record}}
    question = HumanMessage("Why?", id="m")
    await compiled.aupdate_state(config, {"messages": [question], "moa_kept": kept}, as_node="__start__")
    state = await compiled.ainvoke(None, config)
    assert [proposal["text"] for proposal in state["proposals"].values()] == ["A", "B"]
    assert (len(draft.calls), len(other.calls)) == (0, 1)
    assert state["messages"][-1].response_metadata["moa"]["calls"] == 3
    # The next question is another one: what was kept for the first does not answer it.
    state = await compiled.ainvoke({"messages": [HumanMessage("And now?", id="n")]}, config)
    assert state["proposals"]["draft/a"]["text"] == "paid again"


async def test_a_quorum_of_kept_proposals_waits_no_longer_than_its_grace() -> None:
    never = asyncio.Event()
    slow = Model("late", wait=never.wait)
    graph = mixture(
        {"draft": {"a": Model("a1"), "b": slow}},
        {"z": Model("done")},
        layer={"draft": {"grace": 0.05}},
    ).compile()
    first = (
        await mixture(
            {"draft": {"a": Model("kept"), "b": Model("b1")}},
            {"z": Model("z")},
        )
        .compile()
        .ainvoke({"messages": [("user", "Why?")]})
    )
    kept = {"draft/a": first["proposals"]["draft/a"]}
    question = HumanMessage("Why?", id="1")

    async with asyncio.timeout(10):
        state = await graph.ainvoke({"messages": [question], "moa_kept": {"message": "1", "proposals": kept}})

    assert [record["status"] for record in state["proposals"].values()] == ["ok", "cut"]


# -- one by one, and until enough agree ----------------------------------------------------------------------


def counting(width: int, **layer: Any) -> tuple[Panel, list[int]]:
    """Return a panel of one layer, and how many were under way at each beginning of a call."""
    running: set[str] = set()
    peaks: list[int] = []

    def member(name: str) -> Model:
        async def wait() -> None:
            running.add(name)
            peaks.append(len(running))
            await asyncio.sleep(0)
            running.discard(name)

        return Model(name, wait=wait)

    names = [f"m{number}" for number in range(width)]
    return Panel([{"name": "draft", "proposers": names, **layer}], **{n: member(n) for n in names}), peaks


@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_no_more_proposers_are_asked_at_once_than_the_layer_says(concurrency: int) -> None:
    panel, peaks = counting(5, concurrency=concurrency)
    outcome = await panel.run()
    assert max(peaks) == concurrency
    assert [record["text"] for record in outcome.proposals.values()] == [f"m{n}" for n in range(5)]


def test_invoke_asks_one_by_one_in_the_order_of_the_spec() -> None:
    order: list[str] = []

    def note(name: str) -> Any:
        return lambda _: order.append(name) or name

    layer = {"name": "draft", "proposers": ["c", "a", "b"], "concurrency": 1}
    outcome = Panel([layer], **{name: note(name) for name in "abc"}).run_sync()
    assert order == ["c", "a", "b"]
    assert outcome.answer == "The answer."


def agreeing(*texts: Any, agree: int = 2, **layer: Any) -> Panel:
    names = [f"m{number}" for number in range(len(texts))]
    return Panel(
        [{"name": "draft", "proposers": names, **layer}],
        {"reduce": "vote", "extract": "number"},
        parts={"stop": {"by": "agreement", "agree": agree, "extract": "number"}},
        **dict(zip(names, texts, strict=True)),
    )


def statuses(outcome: Any) -> list[str]:
    return [record["status"] for record in outcome.proposals.values()]


async def test_one_by_one_nobody_is_asked_any_more_once_enough_agree() -> None:
    panel = agreeing("It is 7", "8", "So 7", "9", "9", concurrency=1)
    outcome = await panel.run()
    assert [panel.count(f"m{number}") for number in range(5)] == [1, 1, 1, 0, 0]
    assert statuses(outcome) == ["ok", "ok", "ok", "cut", "cut"]
    assert (outcome.answer, outcome.summary["calls"], outcome.warnings) == ("It is 7", 3, [])
    unasked = outcome.proposals["draft/m4"]
    assert (unasked["attempts"], unasked["text"]) == (0, "")
    assert unasked["failure"]["message"] == "not asked as enough proposals agree"
    assert [event["id"] for event in outcome.of("call.started")] == ["draft/m0", "draft/m1", "draft/m2"]
    (joined,) = outcome.of("layer.joined")
    assert (joined["ok"], joined["failed"], joined["cut"]) == (3, 0, 2)


async def test_who_was_not_asked_costs_nothing_even_where_no_price_is_known() -> None:
    panel = agreeing("1", "1", "1", concurrency=1)
    slots = panel.spec["models"]
    slots["m0"]["price"] = slots["m1"]["price"] = {"input": 0, "output": 1_000_000}
    assert (await panel.run()).summary["cost"] == 2.0


def test_invoke_stops_asking_as_ainvoke_does() -> None:
    panel = agreeing("7", "7", "8", concurrency=1)
    outcome = panel.run_sync()
    assert (panel.count("m2"), statuses(outcome)) == (0, ["ok", "ok", "cut"])


async def test_those_under_way_are_cut_once_enough_agree_and_what_is_unknown_of_them_is_said() -> None:
    slow = hanging()
    panel = agreeing("7", slow, "7")
    outcome = await panel.run()
    assert (slow.cancelled, statuses(outcome)) == (1, ["ok", "cut", "ok"])
    said = "draft/m1: a request ended before its tokens were reported; they are estimated"
    assert outcome.warnings == [said]


async def test_an_agreement_is_enough_below_the_quorum() -> None:
    outcome = await agreeing("7", "7", "8", concurrency=1, quorum=3).run()
    assert outcome.answer == "7"


async def test_failures_and_those_who_say_no_answer_agree_to_nothing() -> None:
    panel = agreeing(ValueError("down"), "Hm.", "Hm.", "7", "7", "7", concurrency=1)
    outcome = await panel.run()
    assert statuses(outcome) == ["failed", "ok", "ok", "ok", "ok", "cut"]


async def test_after_the_grace_those_who_wait_for_their_turn_are_not_asked() -> None:
    slow, last = hanging(), Model("late")
    layer = {"name": "draft", "proposers": ["a", "slow", "last"], "concurrency": 1, "grace": 0.01}
    outcome = await Panel([layer], slow=slow, last=last).run()
    assert statuses(outcome) == ["ok", "cut", "cut"]
    assert (slow.cancelled, last.calls) == (1, [])
    assert [warning.partition(":")[0] for warning in outcome.warnings] == ["draft/slow cut", "draft/slow"]


async def test_a_resume_goes_on_with_those_who_were_not_asked() -> None:
    names = ["a", "b", "c"]
    layer = {"name": "draft", "proposers": names, "concurrency": 1, "quorum": 3}
    panel = Panel([layer], b=Model(ValueError("down"), "B"))
    compiled = panel.graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(QuorumNotMet):
        await compiled.ainvoke(QUESTION, config)
    state = await compiled.ainvoke(None, config)
    assert state["messages"][-1].text == "The answer."
    assert [panel.count(name) for name in names] == [1, 2, 1]
