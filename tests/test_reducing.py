"""From many proposals to one: pick, vote, consistency, and windows."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from moa_graph.chat_model import MoAChatModel
from moa_graph.errors import AggregatorFailed, BudgetExceeded, DeadlineExceeded, ModelNotReady
from moa_graph.tool import as_tool
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.panels import Panel, draft, too_long

NUMBERS = {"a": "It is 12.", "b": "I say 13", "c": "The answer is 12"}
UNCLEAR = "the reply names none of the proposals clearly"
PRICE = {"price": {"input": 0, "output": 1_000_000}}


def voting(**given: Any) -> Panel:
    models = {name: given.pop(name) for name in list(given) if name in {"a", "b", "c"}}
    return Panel(aggregator={"reduce": "vote", "extract": "number", **given}, **{**NUMBERS, **models})


def picking(reply: Any, *, reduce: str = "pick", layer: Any = None, **given: Any) -> Panel:
    models = {name: given.pop(name) for name in list(given) if name in {"a", "b", "c", "y", "s"}}
    return Panel([layer or draft()], {"model": "r", "reduce": reduce, **given}, r=reply, **models)


def numbered(panel: Panel, name: str = "r") -> list[str]:
    """Return what the user's message shows to whoever chooses, in order."""
    return re.findall(r'<response-(?:\w+) number="\d+">\n(.*?)\n</response-', panel.asked(name), re.DOTALL)


# -- vote ----------------------------------------------------------------------------------------------------


async def test_the_answer_of_a_vote_is_a_proposal_to_the_letter_and_nobody_was_asked_for_it() -> None:
    outcome = await voting().run()
    assert outcome.answer == "It is 12."
    assert outcome.summary["answered_by"] == "draft/a"
    assert outcome.summary["decision"] == {
        "by": "vote",
        "proposal": "draft/a",
        "answer": "12",
        "votes": 2.0,
        "total": 3.0,
    }
    assert outcome.summary["calls"] == 3
    assert outcome.summary["aggregator"]["attempts"] == 0
    assert outcome.message.response_metadata["model_name"] == "scripted"


async def test_a_vote_costs_nothing_and_its_tokens_are_those_of_the_proposers() -> None:
    panel = voting()
    panel.spec["models"] = {name: {**slot, **PRICE} for name, slot in panel.spec["models"].items()}
    outcome = await panel.run()
    assert outcome.summary["cost"] == 3 + 3 + 4
    assert outcome.message.usage_metadata is not None
    assert outcome.message.usage_metadata["output_tokens"] == 3 + 3 + 4


async def test_a_tie_goes_to_the_earliest_of_the_spec_whoever_came_first() -> None:
    last = asyncio.Event()

    def release(_: Any) -> str:
        last.set()
        return "It is 2"

    panel = Panel(
        [{"name": "draft", "proposers": ["a", "b"]}],
        {"reduce": "vote", "extract": "number"},
        a=Model("It is 1", wait=last.wait),
        b=release,
    )
    outcome = await panel.run()
    assert (outcome.answer, outcome.summary["decision"]["votes"]) == ("It is 1", 1.0)


async def test_a_proposer_of_more_weight_can_outvote_the_others() -> None:
    outcome = await voting(weights={"b": 2.5}).run()
    assert (outcome.answer, outcome.summary["decision"]["total"]) == ("I say 13", 4.5)


async def test_who_cannot_be_read_abstains() -> None:
    outcome = await voting(a="I do not know.", c=ValueError("down")).run()
    decision = outcome.summary["decision"]
    assert (outcome.answer, decision["votes"], decision["total"]) == ("I say 13", 1.0, 1.0)


async def test_if_nobody_can_be_read_there_is_no_answer_and_what_was_paid_is_kept() -> None:
    error = await voting(a="?", b="?", c="?").fail()
    assert isinstance(error, AggregatorFailed)
    assert error.message == "aggregator: no answer could be read from any proposal"
    assert ([record["id"] for record in error.proposals], error.calls) == (
        ["draft/a", "draft/b", "draft/c"],
        3,
    )


async def test_if_nobody_can_be_read_the_first_is_taken_where_that_is_declared_and_it_says_so() -> None:
    outcome = await voting(a="?", b="??", c="???", on_error="first").run()
    assert (outcome.answer, outcome.summary["answered_by"]) == ("?", "draft/a")
    assert outcome.summary["decision"] == {"by": "first", "proposal": "draft/a"}
    assert outcome.warnings == ["no answer could be read from any proposal: the first one was taken"]


async def test_of_one_proposal_nothing_is_chosen() -> None:
    outcome = await voting(b=ValueError("down"), c=ValueError("down")).run()
    assert outcome.summary["decision"] == {"by": "alone", "proposal": "draft/a"}
    panel = picking("1", a=ValueError("down"), b=ValueError("down"))
    outcome = await panel.run()
    assert (outcome.answer, panel.count("r")) == ("C", 0)


async def test_the_answer_is_the_whole_proposal_also_where_less_of_it_is_shown() -> None:
    panel = picking("1", references={"max_chars": 3}, **NUMBERS)
    outcome = await panel.run()
    assert numbered(panel) == ["It…", "I…", "Th…"]
    assert outcome.answer == "It is 12."


def test_invoke_votes_as_ainvoke_does() -> None:
    outcome = voting().run_sync()
    assert (outcome.answer, outcome.summary["decision"]["votes"]) == ("It is 12.", 2.0)


async def test_what_a_selection_left_out_has_no_vote() -> None:
    panel = Panel(
        [draft(select={"by": "rank", "model": "r", "keep": 1})],
        {"reduce": "vote", "extract": "number"},
        r="2 > 1 > 3",
        **NUMBERS,
    )
    assert (await panel.run()).answer == "I say 13"


# -- pick and consistency ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reduce", "said"), [("pick", "answers it best"), ("consistency", "most consistent")]
)
async def test_the_model_chooses_by_number_and_the_proposal_is_the_answer(reduce: str, said: str) -> None:
    panel = picking("I like the second.\n2", reduce=reduce)
    outcome = await panel.run()
    assert (outcome.answer, outcome.summary["answered_by"]) == ("B", "draft/b")
    assert outcome.summary["decision"] == {"by": reduce, "proposal": "draft/b"}
    assert said in panel.asked("r")
    assert numbered(panel) == ["A", "B", "C"]
    assert outcome.proposals["aggregator/@ranker:r"]["role"] == "ranker"
    assert (outcome.summary["calls"], outcome.summary["proposals"]) == (4, {"ok": 3})
    assert outcome.message.usage_metadata is not None
    assert outcome.message.usage_metadata["output_tokens"] == 3 + 5


async def test_a_fallback_chooses_where_the_first_says_nothing_clear_and_the_answer_says_so() -> None:
    panel = picking("9", fallbacks=["y"], y="3")
    outcome = await panel.run()
    assert outcome.answer == "C"
    assert outcome.warnings == [f"aggregator/@ranker:r failed: malformed: {UNCLEAR}"]
    assert (panel.count("r"), panel.count("y"), outcome.summary["calls"]) == (1, 1, 5)


async def test_if_nobody_can_choose_there_is_no_answer_and_what_was_paid_is_kept() -> None:
    panel = picking("9", fallbacks=["y"], y=ValueError("down"))
    panel.spec["models"] = {name: {**slot, **PRICE} for name, slot in panel.spec["models"].items()}
    error = await panel.fail()
    assert isinstance(error, AggregatorFailed)
    assert [record["id"] for record in error.proposals][3:] == [
        "aggregator/@ranker:r",
        "aggregator/@ranker:y",
    ]
    assert error.message.startswith("aggregator: nobody could choose among the proposals\n")
    assert f"aggregator/@ranker:r: malformed: {UNCLEAR}" in error.message
    assert (error.calls, error.cost) == (5, 4.0)
    assert "give it fallbacks, or take the first proposal then (`on_error: first`)" in error.hint


async def test_if_nobody_can_choose_the_first_is_taken_where_that_is_declared() -> None:
    outcome = await picking("None of them.", on_error="first").run()
    assert (outcome.answer, outcome.summary["decision"]["by"]) == ("A", "first")
    assert outcome.warnings == [
        f"aggregator/@ranker:r failed: malformed: {UNCLEAR}",
        "nobody could choose among the proposals: the first one was taken",
    ]


async def test_a_spent_budget_is_not_tried_on_those_who_take_over() -> None:
    panel = picking("1", fallbacks=["y"], y="1")
    panel.spec["limits"] = {"max_calls": 3}
    error = await panel.fail()
    assert isinstance(error, BudgetExceeded)
    assert (panel.count("r"), panel.count("y")) == (0, 0)


async def test_the_runs_deadline_ends_who_chooses() -> None:
    panel = picking(Model(wait=asyncio.Event().wait), fallbacks=["y"], y="1")
    panel.spec["limits"] = {"deadline": 0.2}
    assert isinstance(await panel.fail(), DeadlineExceeded)
    assert panel.count("y") == 0


async def test_a_choice_among_what_fitted_into_the_prompt_keeps_its_numbers_right() -> None:
    outcome = await picking(too_long(1200, "2"), b="B" * 2000).run()
    assert (outcome.answer, outcome.summary["aggregator"]["references"]) == ("C", ["draft/a", "draft/c"])
    assert outcome.warnings == ["aggregator/@ranker:r: context overflow: reference draft/b was left out"]


async def test_a_choice_among_shuffled_references_is_that_of_the_number_shown() -> None:
    panel = picking("1", references={"order": "shuffled", "seed": 3})
    outcome = await panel.run()
    assert numbered(panel)[0] == outcome.answer
    assert (
        len(
            {(await picking("1", references={"order": "shuffled", "seed": n}).run()).answer for n in range(9)}
        )
        > 1
    )


async def test_of_summaries_the_whole_proposal_is_chosen() -> None:
    panel = picking("2", references={"payload": "summary", "summarizer": "s"}, s=Model("sa", "sb", "sc"))
    outcome = await panel.run()
    assert numbered(panel) == ["sa", "sb", "sc"]
    assert (outcome.answer, outcome.summary["decision"]["proposal"]) == ("B", "draft/b")


async def test_a_numbered_list_inside_a_proposal_does_not_pass_for_a_proposal() -> None:
    panel = picking("2", a="Steps:\n1. Think\n2. Answer", b="B")
    outcome = await panel.run()
    assert numbered(panel) == ["Steps:\n1. Think\n2. Answer", "B", "C"]
    assert [message.text for message in panel.models["r"].calls[0] if message.type == "system"] == []
    assert outcome.answer == "B"


async def test_a_choice_that_cannot_be_read_is_asked_for_again_as_often_as_attempts_says() -> None:
    panel = picking(Model("None of them.", "3"), attempts=2, fallbacks=["y"], y="1")
    outcome = await panel.run()
    assert (outcome.answer, panel.count("r"), panel.count("y")) == ("C", 2, 0)
    assert (outcome.warnings, outcome.proposals["aggregator/@ranker:r"]["attempts"]) == ([], 2)


def test_invoke_picks_as_ainvoke_does() -> None:
    assert picking("3").run_sync().answer == "C"


async def test_resuming_after_nobody_could_choose_asks_only_those_who_choose() -> None:
    panel = picking(Model(ValueError("down"), "2"))
    compiled = panel.graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(AggregatorFailed):
        await compiled.ainvoke({"messages": [("user", "Why?")]}, config)
    state = await compiled.ainvoke(None, config)
    assert state["messages"][-1].text == "B"
    assert [panel.count(name) for name in "abcr"] == [1, 1, 1, 2]


# -- windows -------------------------------------------------------------------------------------------------


def windowed(script: Any, window: int = 2, **given: Any) -> Panel:
    models = {name: given.pop(name) for name in list(given) if name in {"y", "d", "e"}}
    layer = {"name": "draft", "proposers": ["a", "b", "c", "d", "e"]}
    return Panel(
        [layer], {"model": "z", "window": window, **given}, **{"d": "D", "e": "E", "z": script, **models}
    )


def seen(panel: Panel, name: str = "z") -> list[str]:
    prompts = [panel.asked(name, call) for call in range(panel.count(name))]
    return [prompt.split("models:\n")[1].removesuffix("\n\nWhy?") for prompt in prompts]


async def test_a_window_carries_the_synthesis_of_those_before_it() -> None:
    panel = windowed(Model("one", "two", "three", "four"))
    outcome = await panel.run()
    assert seen(panel) == ["1. A\n2. B", "1. one\n2. C", "1. two\n2. D", "1. three\n2. E"]
    assert (outcome.answer, outcome.summary["answered_by"], outcome.summary["calls"]) == ("four", "z", 9)
    assert outcome.proposals["aggregator/@window-1:z"]["role"] == "synthesizer"
    assert outcome.summary["aggregator"]["references"] == ["aggregator/@window-3:z", "draft/e"]


@pytest.mark.parametrize(
    ("window", "prompts"),
    [
        (3, ["1. A\n2. B\n3. C", "1. one\n2. D\n3. E"]),
        (4, ["1. A\n2. B\n3. C\n4. D", "1. one\n2. E"]),
        (5, ["1. A\n2. B\n3. C\n4. D\n5. E"]),
        (9, ["1. A\n2. B\n3. C\n4. D\n5. E"]),
    ],
)
async def test_windows_of_any_size_show_each_proposal_once(window: int, prompts: list[str]) -> None:
    panel = windowed(Model("one", "two"), window)
    await panel.run()
    assert seen(panel) == prompts


async def test_in_a_window_that_fails_a_fallback_takes_over() -> None:
    panel = windowed(Model("one", ValueError("down"), "three", "four"), 3, fallbacks=["y"], y="From y.")
    panel.spec["layers"][0]["proposers"] = [
        "a",
        "b",
        "c",
        "d",
        "e",
        {"model": "a", "id": "f"},
        {"model": "b", "id": "g"},
    ]
    outcome = await panel.run()
    assert seen(panel, "y") == ["1. one\n2. D\n3. E"]
    assert seen(panel)[-1] == "1. From y.\n2. A\n3. B"
    assert outcome.warnings == ["aggregator/@window-2:z failed: error: ValueError: down"]
    assert outcome.summary["answered_by"] == "z"


async def test_a_window_that_nobody_can_write_ends_the_run_with_all_that_was_paid_for() -> None:
    panel = windowed(Model("one", ValueError("down")), fallbacks=["y"], y="  ")
    panel.spec["models"] = {name: {**slot, **PRICE} for name, slot in panel.spec["models"].items()}
    error = await panel.fail()
    assert isinstance(error, AggregatorFailed)
    assert error.message.startswith("aggregator: no synthesis of window 2\n")
    assert [record["id"] for record in error.proposals][5:] == [
        "aggregator/@window-1:z",
        "aggregator/@window-2:z",
        "aggregator/@window-2:y",
    ]
    assert error.calls == 8
    assert error.usage["output_tokens"] == 5 + 1 + 0


async def test_when_the_last_step_fails_the_windows_are_paid_for_and_a_resume_does_not_pay_again() -> None:
    panel = windowed(Model("one", ValueError("down"), "The end."), 4)
    compiled = panel.graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(AggregatorFailed) as raised:
        await compiled.ainvoke({"messages": [("user", "Why?")]}, config)
    assert [record["id"] for record in raised.value.proposals][5:] == [
        "aggregator/@window-1:z",
        "aggregator/z",
    ]
    state = await compiled.ainvoke(None, config)
    assert (state["messages"][-1].text, panel.count("z")) == ("The end.", 3)


def test_invoke_folds_as_ainvoke_does() -> None:
    panel = windowed(Model("one", "two"), 3)
    assert panel.run_sync().answer == "two"


# -- in a chat model, a tool, a mixture ----------------------------------------------------------------------


@pytest.fixture(params=["pick", "vote"])
def chat(request: pytest.FixtureRequest) -> MoAChatModel:
    panel = (
        picking("Hm.\n1")
        if request.param == "pick"
        else Panel(aggregator={"reduce": "vote", "extract": "last-line"}, r="")
    )
    panel.models["a"].script = ["The whole answer of a."]
    return MoAChatModel(panel.spec, models=panel.models)


def test_a_chat_model_answers_with_the_proposal_and_counts_all_tokens_once(chat: MoAChatModel) -> None:
    answer = chat.invoke("Why?")
    extra = 2 if chat.spec.aggregator.reduce == "pick" else 0
    assert answer.text == "The whole answer of a."
    assert answer.usage_metadata["output_tokens"] == 5 + 1 + 1 + extra
    assert answer.response_metadata["moa"]["answered_by"] == "draft/a"


async def test_a_stream_brings_the_whole_answer_once_and_never_what_the_ranker_said(
    chat: MoAChatModel,
) -> None:
    for chunks in ([chunk async for chunk in chat.astream("Why?")], list(chat.stream("Why?"))):
        texts = [chunk.text for chunk in chunks if chunk.text]
        assert texts == ["The whole answer of a."]
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        extra = 2 if chat.spec.aggregator.reduce == "pick" else 0
        assert whole.usage_metadata["output_tokens"] == 5 + 1 + 1 + extra
        assert whole.response_metadata["moa"]["decision"]["proposal"] == "draft/a"


async def test_a_stream_of_a_graphs_messages_shows_the_ranker_as_what_it_is_and_the_answer_once() -> None:
    compiled = picking("Hm.\n1").graph.compile()
    spoken: dict[str, str] = {}
    async for message, metadata in compiled.astream({"messages": [("user", "Why?")]}, stream_mode="messages"):
        who = metadata.get("moa_role", "answer")
        spoken[who] = spoken.get(who, "") + message.text
    assert spoken.pop("proposer")
    assert spoken == {"ranker": "Hm.\n1", "answer": "A"}


async def test_a_chat_model_asked_again_after_a_failure_pays_nobody_twice_who_was_asked_about_proposals() -> (
    None
):
    layers = [
        draft(select={"by": "rank", "model": "r", "keep": 2}),
        {
            "name": "deep",
            "proposers": ["a", "b"],
            "references": {"payload": "summary", "summarizer": "s"},
            "residual": {"model": "d"},
        },
    ]
    panel = Panel(layers, r="3 > 2 > 1", s="Short.", d="Lost.", z=Model(ValueError("down"), "The answer."))
    chat = MoAChatModel(panel.spec, models=panel.models)
    with pytest.raises(AggregatorFailed):
        await chat.ainvoke("Why?")
    answer = await chat.ainvoke("Why?")
    assert [panel.count(name) for name in ("a", "b", "c", "r", "s", "d", "z")] == [2, 2, 1, 1, 2, 1, 2]
    assert answer.response_metadata["moa"]["calls"] == 5 + 1 + 2 + 1 + 2
    assert panel.asked("z") == panel.asked("z", 0)


async def test_a_tool_that_picks_returns_the_proposal() -> None:
    panel = picking("2")
    message = await as_tool(panel.spec, models=panel.models).ainvoke(
        {"name": "second_opinion", "args": {"question": "Why?"}, "id": "1", "type": "tool_call"}
    )
    assert message.content == "B"
    assert message.artifact["summary"]["answered_by"] == "draft/b"


async def test_a_mixture_that_votes_can_be_a_proposer() -> None:
    inner = voting().spec | {"name": "inner"}
    panel = Panel([{"name": "outer", "proposers": [{"spec": inner}]}], **NUMBERS)
    outcome = await panel.run()
    record = outcome.proposals["outer/inner"]
    assert (record["text"], record["attempts"], record["actual_model"]) == ("It is 12.", 3, "scripted")
    assert "1. It is 12." in panel.asked("z")
    assert (outcome.summary["calls"], outcome.summary["usage"]["output_tokens"]) == (4, 3 + 3 + 4 + 2)


async def test_a_prompt_that_is_too_long_never_loses_the_synthesis_of_the_windows_before() -> None:
    script = Model("S" * 400, too_long(1200, "The end."))
    outcome = await Panel(aggregator={"model": "z", "window": 2}, c="C" * 300, z=script).run()
    assert outcome.summary["aggregator"]["references"] == ["aggregator/@window-1:z"]
    assert outcome.warnings == ["aggregator/z: context overflow: reference draft/c was left out"]


async def test_a_synthesis_that_is_too_long_by_itself_ends_the_run() -> None:
    script = Model("S" * 2000, too_long(1500, "The end."))
    error = await Panel(aggregator={"model": "z", "window": 2}, z=script).fail()
    assert "aggregator/z: context_overflow" in error.message


@pytest.mark.parametrize(
    ("answer", "weights", "problem"),
    [
        ("?", {}, "no answer could be read from any proposal"),
        ("7", {"a": 0}, "no proposal with an answer that could be read has a weight"),
    ],
)
async def test_in_a_vote_the_only_proposal_has_to_be_readable_too(
    answer: str, weights: dict[str, float], problem: str
) -> None:
    given: Any = {"a": answer, "b": ValueError("down"), "c": ValueError("down"), "weights": weights}
    error = await voting(**given).fail()
    assert error.message.startswith(f"aggregator: {problem}")
    outcome = await voting(on_error="first", **given).run()
    assert outcome.summary["decision"] == {"by": "first", "proposal": "draft/a"}
    assert outcome.warnings[-1] == f"{problem}: the first one was taken"


async def test_votes_of_long_texts_are_counted_while_others_go_on() -> None:
    outcome = await voting(a="It is 12. " * 8000, c="So 12. " * 8000).run()
    assert outcome.summary["decision"]["votes"] == 2.0
    panel = voting(a="It is 12. " * 8000, c="So 12. " * 8000, b=Model("13", wait=asyncio.Event().wait))
    panel.spec["limits"] = {"deadline": 0.1}
    assert isinstance(await panel.fail(), DeadlineExceeded)


@pytest.mark.parametrize("bound", ["response_format", "tools"])
async def test_who_writes_no_answer_cannot_write_it_in_a_form(bound: str) -> None:
    panel = voting()
    chat = MoAChatModel(panel.spec, models=panel.models).bind(**{bound: [{"type": "json_object"}]})
    with pytest.raises(ModelNotReady, match="takes a proposal as it is"):
        await chat.ainvoke("Why?")
    assert panel.count("a") == 0


async def test_what_is_said_to_a_writer_where_there_is_none_is_warned_of() -> None:
    panel = voting()
    chat = MoAChatModel(panel.spec, models=panel.models, max_tokens=5)
    summary = (await chat.ainvoke("Why?", stop=["."])).response_metadata["moa"]
    assert summary["warnings"] == ["`reduce: vote` writes no answer: max_tokens, stop said nothing"]
