"""MoA as a chat model: what LangChain applications see of it."""

from __future__ import annotations

import asyncio
import copy
import pickle
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import (
    BaseCallbackHandler,
    UsageMetadataCallbackHandler,
    get_usage_metadata_callback,
)
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tools import tool
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel

from moa_graph import (
    AggregatorFailed,
    BudgetExceeded,
    MoAChatModel,
    MoAError,
    ModelNotReady,
    QuorumNotMet,
    RunError,
    dump_spec,
    load_spec,
)
from moa_graph.advising import turns_of
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


class Verdict(BaseModel):
    """Judge an answer."""

    score: int
    reason: str


def spec(layers: int = 1, width: int = 2, **parts: Any) -> dict[str, Any]:
    models = [f"m{number}" for number in range(1, width + 1)]
    return {
        "moa": 1,
        "name": "panel",
        "models": {name: {"model": f"host:{name}"} for name in [*models, "last"]},
        "layers": [{"name": f"layer-{number}", "proposers": models} for number in range(1, layers + 1)],
        "aggregator": {"model": "last"},
    } | parts


class Panel:
    """An MoAChatModel with its models at hand."""

    def __init__(self, final: Any = None, *, layers: int = 1, width: int = 2, **parts: Any) -> None:
        self.options = {name: parts.pop(name) for name in list(parts) if name in MoAChatModel.model_fields}
        self.proposers = [ScriptedChatModel(f"Proposal {number}.") for number in range(1, width + 1)]
        self.aggregator = final or ScriptedChatModel("The whole answer.")
        models = {f"m{number}": model for number, model in enumerate(self.proposers, 1)}
        self.model = MoAChatModel(
            spec=spec(layers, width, **parts), models={**models, "last": self.aggregator}, **self.options
        )

    @property
    def fan_outs(self) -> int:
        return sum(len(model.calls) for model in self.proposers)


# -- answers -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["invoke", "ainvoke"])
def ask(request: pytest.FixtureRequest) -> Any:
    async def call(model: Any, *args: Any, **kwargs: Any) -> Any:
        if request.param == "invoke":
            return await asyncio.to_thread(model.invoke, *args, **kwargs)
        return await model.ainvoke(*args, **kwargs)

    return call


async def test_the_answer_carries_the_usage_and_the_summary_of_the_whole_run(ask: Any) -> None:
    panel = Panel(layers=2, width=3)

    answer = await ask(panel.model, "Why is the sky blue?")

    summary = answer.response_metadata["moa"]
    assert answer.text == "The whole answer."
    assert summary["calls"] == 7
    assert answer.usage_metadata["output_tokens"] == 6 * 2 + 3
    assert answer.response_metadata["model_name"] == "scripted"


async def test_the_messages_of_the_caller_are_left_as_they_are(ask: Any) -> None:
    question = HumanMessage("Why?")

    await ask(Panel().model, [SystemMessage("Be brief."), question, AIMessage("What?"), question])

    assert question.id is None


async def test_an_equal_message_said_twice_is_seen_twice() -> None:
    panel = Panel()
    again = HumanMessage("Why?", id="same")

    await panel.model.ainvoke([again, AIMessage("Because."), again])

    assert [message.text for message in panel.proposers[0].calls[0]] == ["Why?", "Because.", "Why?"]


async def test_a_run_that_fails_raises_with_what_was_paid_for(ask: Any) -> None:
    panel = Panel(ScriptedChatModel(ValueError("broken")))

    with pytest.raises(AggregatorFailed) as caught:
        await ask(panel.model, "Why?")

    assert [proposal["status"] for proposal in caught.value.proposals] == ["ok", "ok", "failed"]


def test_a_missing_key_is_told_when_called_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model = MoAChatModel(spec="graphs/openai.yaml")

    with pytest.raises(ModelNotReady, match="OPENAI_API_KEY"):
        model.invoke("Why?")


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(ValueError, match="max_retries"):
        MoAChatModel(spec=spec(), max_retries=3)


# -- streams -------------------------------------------------------------------------------------------------


async def chunks_of(model: Any, question: Any, how: str) -> list[AIMessageChunk]:
    if how == "stream":
        return await asyncio.to_thread(lambda: list(model.stream(question)))
    return [chunk async for chunk in model.astream(question)]


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_the_tokens_of_the_aggregator_are_streamed_once_and_no_others(how: str) -> None:
    panel = Panel(layers=2)

    chunks = await chunks_of(panel.model, "Why?", how)

    whole = sum(chunks[1:], chunks[0])
    assert [chunk.text for chunk in chunks if chunk.text] == ["The", " whole", " answer."]
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 4 * 2 + 3
    assert whole.response_metadata["moa"]["calls"] == 5
    assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_tool_calls_are_streamed_in_pieces_that_add_up(how: str) -> None:
    panel = Panel(ActingChatModel())

    chunks = await chunks_of(panel.model.bind_tools([weather]), "Oslo", how)

    whole = sum(chunks[1:], chunks[0])
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("weather", {"city": "Oslo"})]
    assert sum(bool(chunk.tool_call_chunks) for chunk in chunks) == 3


async def test_a_stream_that_is_left_ends_the_calls_under_way() -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await never.wait()

    panel = Panel()
    panel.proposers[0].wait = wait
    stream = panel.model.astream("Why?")
    first = asyncio.ensure_future(anext(stream))
    await begun.wait()
    first.cancel()
    await asyncio.wait({first})

    assert panel.proposers[0].cancelled == 1


class Breaking(ScriptedChatModel):
    """Break off a stream after its first word."""

    async def _astream(self, *args: Any, **kwargs: Any) -> Any:
        async for chunk in super()._astream(*args, **kwargs):
            yield chunk
            raise ConnectionError("gone")


async def test_a_stream_that_breaks_is_an_error_and_not_the_beginning_of_another_answer() -> None:
    spare = ScriptedChatModel("Something else.")
    panel = Panel(Breaking("The whole answer."), aggregator={"model": "last", "fallbacks": ["m1"]})
    panel.model.models["m1"] = spare
    stream = panel.model.astream("Why?")

    assert (await anext(stream)).text == "The"
    with pytest.raises(AggregatorFailed) as caught:
        await anext(stream)

    assert len(caught.value.proposals) == 3
    assert len(spare.calls) == 1  # as a proposer, not as a fallback


async def test_a_failure_before_the_first_token_falls_back_in_the_middle_of_a_stream() -> None:
    panel = Panel(ScriptedChatModel(ValueError("broken")), aggregator={"model": "last", "fallbacks": ["m1"]})

    chunks = await chunks_of(panel.model, "Why?", "astream")

    assert "".join(chunk.text for chunk in chunks) == "Proposal 1."


# -- callbacks -----------------------------------------------------------------------------------------------


class Ear(BaseCallbackHandler):
    """Note what a user's handler hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.heard.append("start")

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.heard.append(str(token))

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.heard.append("end")


async def test_a_handler_hears_of_one_call(ask: Any) -> None:
    ear = Ear()

    await ask(Panel().model, "Why?", {"callbacks": [ear]})

    assert ear.heard == ["start", "end"]


async def test_a_handler_hears_each_token_once() -> None:
    ear = Ear()

    async for _ in Panel().model.astream("Why?", {"callbacks": [ear]}):
        pass

    assert [word for word in ear.heard if word] == ["start", "The", " whole", " answer.", "end"]


async def test_usage_is_counted_once(ask: Any) -> None:
    counter = UsageMetadataCallbackHandler()

    answer = await ask(Panel().model, "Why?", {"callbacks": [counter]})

    assert [usage["total_tokens"] for usage in counter.usage_metadata.values()] == [
        answer.usage_metadata["total_tokens"]
    ]


async def test_a_tracer_records_the_calls_inside_as_children(ask: Any) -> None:
    collector = RunCollectorCallbackHandler()

    await ask(Panel(layers=2).model, "Why?", {"callbacks": [collector], "tags": ["mine"]})

    (call,) = collector.traced_runs
    (graph,) = call.child_runs
    layers = [run for run in graph.child_runs if run.name in {"layer-1", "layer-2", "aggregator"}]
    names = [[child.name for child in _leaves(run)] for run in layers]
    assert call.run_type == "llm"
    assert [run.name for run in layers] == ["layer-1", "layer-2", "aggregator"]
    assert [sorted(set(inner)) for inner in names] == [
        ["layer-1/m1", "layer-1/m2"],
        ["layer-2/m1", "layer-2/m2"],
        ["aggregator/last"],
    ]
    assert "mine" in (layers[0].tags or [])


def _leaves(run: Any) -> list[Any]:
    if run.run_type == "llm":
        return [run]
    return [leaf for child in run.child_runs for leaf in _leaves(child)]


# -- caches, identity ----------------------------------------------------------------------------------------


def test_a_cache_answers_the_second_time_and_keeps_mixtures_apart() -> None:
    cache = InMemoryCache()
    document = {**spec(), "models": {name: {"model": "embedded:extractive"} for name in ("m1", "m2", "last")}}
    question = "Tea grows in Assam.\n\nWhere does tea grow?"
    first = MoAChatModel(spec=document, cache=cache)
    same = MoAChatModel(spec=document, cache=cache)
    other = MoAChatModel(spec={**document, "name": "other"}, cache=cache)

    answer, again, different = first.invoke(question), same.invoke(question), other.invoke(question)

    assert answer.response_metadata["moa"]["name"] == again.response_metadata["moa"]["name"] == "panel"
    assert again.usage_metadata["total_cost"] == 0
    assert different.response_metadata["moa"]["name"] == "other"


def test_objects_of_the_host_are_never_taken_for_each_other_by_a_cache() -> None:
    cache = InMemoryCache()
    first, second = (
        Panel(ScriptedChatModel("One."), cache=cache),
        Panel(ScriptedChatModel("Two."), cache=cache),
    )

    assert [panel.model.invoke("Why?").text for panel in (first, first, second)] == ["One.", "One.", "Two."]
    assert first.fan_outs == 2


class Limiter(BaseRateLimiter):
    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.asked += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire()


async def test_a_rate_limiter_is_asked_once_a_call(ask: Any) -> None:
    limiter = Limiter()

    await ask(Panel(rate_limiter=limiter).model, "Why?")

    assert limiter.asked == 1


def test_it_is_pickled_with_its_spec() -> None:
    model = MoAChatModel(spec="graphs/quickstart.yaml")
    question = "Tea grows in Assam.\n\nWhere does tea grow?"
    answer = model.invoke(question)

    copy = pickle.loads(pickle.dumps(model))

    assert dump_spec(copy.spec) == dump_spec(load_spec("graphs/quickstart.yaml"))
    assert copy.invoke(question).text == answer.text


def test_its_profile_is_the_aggregators() -> None:
    assert Panel(ActingChatModel()).model.profile == {"max_input_tokens": 32_000, "tool_calling": True}


# -- tools: advisors advise, one model acts ------------------------------------------------------------------

LOOP = [
    HumanMessage("What is the weather in Oslo?"),
    AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Oslo"}, "id": "1", "type": "tool_call"}]),
    ToolMessage("It rains in Oslo.", tool_call_id="1", name="weather"),
]


async def test_only_the_aggregator_is_offered_tools_and_only_its_calls_come_back(ask: Any) -> None:
    actor = ActingChatModel()
    panel = Panel(actor)

    answer = await ask(panel.model.bind_tools([weather]), "Oslo")

    assert [call["name"] for call in answer.tool_calls] == ["weather"]
    assert actor.seen[0].tools == ["weather"]
    told = panel.proposers[0].calls[0]
    assert [message.type for message in told] == ["system", "human"]
    assert "You advise another model" in told[0].text


async def test_proposers_see_what_tools_returned_as_plain_text() -> None:
    panel = Panel(ActingChatModel())

    await panel.model.bind_tools([weather]).ainvoke(LOOP)

    told = panel.proposers[0].calls[0]
    assert [message.type for message in told] == ["system", "human", "ai", "human"]
    assert told[2].text == '(calls the tool weather with {"city": "Oslo"})'
    assert told[3].text == "The tool weather returned:\nIt rains in Oslo."


async def test_a_proposer_that_calls_a_tool_all_the_same_is_a_failure_and_not_a_call() -> None:
    panel = Panel(ActingChatModel(), width=2)
    panel.model.models["m2"] = ScriptedChatModel(LOOP[1])

    answer = await panel.model.bind_tools([weather]).ainvoke("Oslo")

    assert len(answer.tool_calls) == 1
    assert "layer-1/m2 failed: tool_call" in answer.response_metadata["moa"]["warnings"][0]


async def test_results_of_tools_go_to_the_aggregator_alone_within_a_turn_of_the_user() -> None:
    actor = ActingChatModel(steps=2)
    panel = Panel(actor)
    model = panel.model.bind_tools([weather])
    talk: list[Any] = [HumanMessage("Oslo")]
    for _ in range(2):
        answer = await model.ainvoke(talk)
        call = answer.tool_calls[0]
        talk += [answer, ToolMessage("Rain.", tool_call_id=call["id"], name=call["name"])]
    last = await model.ainvoke(talk)

    assert last.text == "Done: Rain."
    assert last.response_metadata["moa"]["calls"] == 1
    assert panel.fan_outs == 2
    # the next question of the user is a new turn
    await model.ainvoke([*talk, last, HumanMessage("And Rome?")])
    assert panel.fan_outs == 4


@pytest.mark.parametrize("where", ["spec", "model", "call"])
async def test_every_call_fans_out_where_that_is_asked_for(where: str) -> None:
    panel = Panel(ActingChatModel(), **({} if where == "call" else {"fan_out": "every_call"}))
    if where == "spec":
        panel.model.fan_out = None
        panel.model.spec = load_spec(spec(fan_out="every_call"))
    model = panel.model.bind_tools([weather])
    options = {"fan_out": "every_call"} if where == "call" else {}
    answer = await model.ainvoke("Oslo", **options)
    result = ToolMessage("Rain.", tool_call_id=answer.tool_calls[0]["id"], name="weather")

    await model.ainvoke([HumanMessage("Oslo"), answer, result], **options)

    assert panel.fan_outs == 4


async def test_a_turn_whose_references_are_gone_is_asked_anew_rather_than_answered_without_them() -> None:
    panel = Panel(ActingChatModel())

    answer = await panel.model.bind_tools([weather]).ainvoke(LOOP)

    assert answer.text == "Done: It rains in Oslo."
    assert panel.fan_outs == 2


class Clumsy(ActingChatModel):
    """Write arguments that are no JSON at first."""

    def _reply(self, messages: Any, options: Any) -> AIMessage:
        reply = super()._reply(messages, options)
        if len(self.seen) > 1:
            return reply
        wrong = {"name": "weather", "args": "{", "id": "1", "error": "no JSON", "type": "invalid_tool_call"}
        return reply.model_copy(update={"tool_calls": [], "invalid_tool_calls": [wrong]})


async def test_a_call_with_broken_arguments_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moa_graph.proposers.call.BACKOFF_BASE", 0)
    clumsy = Clumsy()

    answer = await Panel(clumsy).model.bind_tools([weather]).ainvoke("Oslo")

    assert len(clumsy.seen) == 2
    assert len(answer.tool_calls) == 1


async def test_settings_of_a_host_model_stay_when_tools_are_bound() -> None:
    actor = ActingChatModel()
    panel = Panel(actor, aggregator={"model": "last", "max_tokens": 77})

    await panel.model.bind_tools([weather]).ainvoke("Oslo")

    assert actor.seen[0].options["max_tokens"] == 77
    assert actor.seen[0].tools == ["weather"]


# -- structured output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
async def test_it_judges_in_a_form(ask: Any, method: str) -> None:
    judge = Panel(ActingChatModel()).model.with_structured_output(Verdict, method=method)

    verdict = await ask(judge, "Give this 7 of 10.")

    assert isinstance(verdict, Verdict)
    assert verdict.score == 7


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
async def test_the_raw_answer_comes_along_on_request(method: str) -> None:
    panel = Panel(ActingChatModel())

    result = await panel.model.with_structured_output(Verdict, method=method, include_raw=True).ainvoke("7")

    assert result["raw"].response_metadata["moa"]["calls"] == 3
    assert (result["parsed"] is None) == (result["parsing_error"] is not None) == (method == "json_mode")


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(MoAError, match="telepathy"):
        Panel().model.with_structured_output(Verdict, method="telepathy")


# -- inside LangChain applications ---------------------------------------------------------------------------


def test_in_a_chain() -> None:
    chain = ChatPromptTemplate.from_template("Tell me of {topic}.") | Panel().model | StrOutputParser()

    assert chain.invoke({"topic": "tea"}) == "The whole answer."
    assert "".join(chain.stream({"topic": "tea"})) == "The whole answer."


async def test_two_hundred_at_once() -> None:
    panel = Panel()

    answers = await panel.model.abatch([f"Question {number}?" for number in range(200)])

    assert {answer.text for answer in answers} == {"The whole answer."}
    assert {answer.response_metadata["moa"]["calls"] for answer in answers} == {3}
    assert panel.fan_outs == 400


def test_two_hundred_in_threads() -> None:
    answers = Panel().model.batch([f"Question {number}?" for number in range(200)], {"max_concurrency": 20})

    assert len({answer.id for answer in answers}) == 200


async def test_inside_another_graph_it_neither_uses_its_checkpointer_nor_talks_in_its_streams() -> None:
    panel = Panel()
    saver = InMemorySaver()

    async def answer(state: MessagesState) -> Any:
        return {"messages": [await panel.model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    compiled = graph.compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    modes = ["custom", "messages", "updates"]
    seen = [
        item
        async for item in compiled.astream(
            {"messages": [("user", "Why?")]}, config, stream_mode=modes, subgraphs=True
        )
    ]

    tokens = [payload[0].text for _, mode, payload in seen if mode == "messages" and payload[0].text]
    assert tokens == ["The", " whole", " answer."]
    assert {mode for _, mode, _ in seen} == {"messages", "updates"}
    assert {namespace for namespace, _, _ in seen} == {()}
    assert {checkpoint.config["configurable"]["checkpoint_ns"] for checkpoint in saver.list(None)} == {""}


async def test_it_becomes_a_tool_with_a_name_of_its_own(ask: Any) -> None:
    panel = Panel()

    opinion = panel.model.as_tool(name="panel")

    assert opinion.name == "panel"
    assert await ask(opinion, {"question": "Why?"}) == "The whole answer."
    with pytest.raises(MoAError, match="one question"):
        panel.model.as_tool(arg_types={"topic": str})


# -- asked again after a failure -----------------------------------------------------------------------------


async def test_asked_again_after_a_failure_it_pays_for_what_failed_alone(ask: Any) -> None:
    panel = Panel(ScriptedChatModel(ValueError("broken"), "At last."), layers=2)
    with pytest.raises(AggregatorFailed):
        await ask(panel.model, "Why?")

    answer = await ask(panel.model, "Why?")

    assert answer.text == "At last."
    assert panel.fan_outs == 4
    assert answer.response_metadata["moa"]["calls"] == 4 + 2  # with the one that failed
    assert answer.usage_metadata["output_tokens"] == 4 * 2 + 2


async def test_a_layer_that_failed_is_asked_again_where_it_failed() -> None:
    panel = Panel(layers=1, defaults={"attempts": 1})
    panel.proposers[1].script.insert(0, ValueError("broken"))
    panel.model.spec = load_spec(
        {**spec(defaults={"attempts": 1}), "layers": [{"proposers": ["m1", "m2"], "quorum": 2}]}
    )
    with pytest.raises(QuorumNotMet):
        await panel.model.ainvoke("Why?")

    answer = await panel.model.ainvoke("Why?")

    assert answer.text == "The whole answer."
    assert [len(model.calls) for model in panel.proposers] == [1, 2]


async def test_another_question_begins_anew_and_so_does_the_same_one_once_it_was_answered() -> None:
    panel = Panel(ScriptedChatModel(ValueError("broken"), "At last."))
    with pytest.raises(AggregatorFailed):
        await panel.model.ainvoke("Why?")

    await panel.model.ainvoke("Why not?")
    assert panel.fan_outs == 4
    await panel.model.ainvoke("Why?")
    assert panel.fan_outs == 4
    await panel.model.ainvoke("Why?")
    assert panel.fan_outs == 6


async def test_a_budget_that_was_used_up_is_not_used_up_for_ever() -> None:
    panel = Panel(limits={"max_calls": 3}, defaults={"attempts": 1})
    panel.model.models["last"] = ScriptedChatModel(ConnectionError("gone"), "At last.")
    panel.model.models["m2"] = ScriptedChatModel(ConnectionError("gone"), "Proposal 2.")

    for _ in range(3):
        with suppress(RunError):
            answer = await panel.model.ainvoke("Why?")

    assert answer.text == "At last."


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_thoughts_are_streamed_as_reasoning_and_not_as_the_answer(how: str) -> None:
    panel = Panel(ScriptedChatModel("<think>Let me see.</think> It is four."))

    chunks = await chunks_of(panel.model, "What is two and two?", how)

    whole = sum(chunks[1:], chunks[0])
    assert whole.text == "It is four."
    assert whole.additional_kwargs["reasoning_content"] == "Let me see."


class Whole(FakeMessagesListChatModel):
    """Call a tool, and have no way to stream."""

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        return self


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_an_aggregator_that_cannot_stream_gives_its_answer_at_once(how: str) -> None:
    panel = Panel(Whole(responses=[LOOP[1], AIMessage("It rains.")]))
    model = panel.model.bind_tools([weather])

    calling, answering = await chunks_of(model, "Oslo", how), await chunks_of(model, "Oslo", how)

    whole = sum(calling[1:], calling[0])
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("weather", {"city": "Oslo"})]
    assert "".join(chunk.text for chunk in answering) == "It rains."


@pytest.mark.parametrize(
    "damage",
    [
        {"nonce": "</response>"},
        {"references": []},
        {"references": [{"id": "layer-1/m1", "text": 5}]},
        {"passages": [{"id": "a-123456", "text": "No source."}]},
        {"sources": [1]},
    ],
    ids=str,
)
async def test_what_carries_a_turn_and_was_damaged_is_not_gone_on_with(damage: dict[str, Any]) -> None:
    panel = Panel(ActingChatModel())
    model = panel.model.bind_tools([weather])
    answer = await model.ainvoke("Oslo")
    (turn,) = answer.response_metadata["moa"]["turns"].values()
    turn |= damage
    result = ToolMessage("Rain.", tool_call_id=answer.tool_calls[0]["id"], name="weather")

    last = await model.ainvoke([HumanMessage("Oslo"), answer, result])

    assert last.text == "Done: Rain."
    assert panel.fan_outs == 4


# -- what breaks other wrappers ------------------------------------------------------------------------------


async def test_usage_is_counted_once_by_langchains_context_manager(ask: Any) -> None:
    with get_usage_metadata_callback() as counter:
        answer = await ask(Panel().model, "Why?")

    counted = [usage["total_tokens"] for usage in counter.usage_metadata.values()]
    assert counted == [answer.usage_metadata["total_tokens"]]


def test_a_stop_word_of_the_model_is_part_of_what_a_cache_knows_it_by() -> None:
    cache = InMemoryCache()
    document = {**spec(), "models": {name: {"model": "embedded:extractive"} for name in ("m1", "m2", "last")}}

    keys = {
        MoAChatModel(document, cache=cache, **options)._get_llm_string()
        for options in (
            {},
            {"stop": ["x"]},
            {"temperature": 1.0},
            {"max_tokens": 9},
            {"fan_out": "every_call"},
        )
    }

    assert len(keys) == 5


async def test_a_changed_copy_answers_as_what_it_was_changed_to() -> None:
    panel, other = Panel(), Panel(ScriptedChatModel("Another answer."))
    await panel.model.ainvoke("Why?")

    changed = panel.model.model_copy(update={"models": other.model.models})
    deep = copy.deepcopy(MoAChatModel("graphs/quickstart.yaml"))

    assert (await changed.ainvoke("Why?")).text == "Another answer."
    assert changed._get_llm_string() != panel.model._get_llm_string()
    assert deep.invoke("Tea grows in Assam.\n\nWhere does tea grow?").text == "Tea grows in Assam."
    panel.model.models = other.model.models
    assert (await panel.model.ainvoke("Why?")).text == "Another answer."


def asks_a_person(_: Any) -> str:
    return str(interrupt("May I?"))


async def test_a_question_to_a_person_inside_is_an_error_and_never_the_users_own_words(ask: Any) -> None:
    panel = Panel()
    panel.model.models["m2"] = ScriptedChatModel(asks_a_person)

    with pytest.raises(RunError, match="asks for a person") as caught:
        await ask(panel.model, "Why?")

    assert "checkpointer" in caught.value.hint


async def test_an_unknown_cadence_is_refused(ask: Any) -> None:
    with pytest.raises(MoAError, match="no fan_out 'user-turn'"):
        await ask(Panel().model, "Why?", fan_out="user-turn")


async def test_a_mixture_goes_on_with_its_own_turn_only() -> None:
    first, second = Panel(ActingChatModel()), Panel(ActingChatModel(), description="Another one.")
    answer = await first.model.bind_tools([weather]).ainvoke("Oslo")
    result = ToolMessage("Rain.", tool_call_id=answer.tool_calls[0]["id"], name="weather")

    await second.model.bind_tools([weather]).ainvoke([HumanMessage("Oslo"), answer, result])

    assert second.fan_outs == 2


async def test_an_aggregator_that_is_a_mixture_goes_on_with_its_own_references() -> None:
    inner = Panel(ActingChatModel(steps=2), description="The inner one.")
    outer = Panel(inner.model)
    model = outer.model.bind_tools([weather])
    talk: list[Any] = [HumanMessage("Oslo")]
    for _ in range(2):
        answer = await model.ainvoke(talk)
        call = answer.tool_calls[0]
        talk += [answer, ToolMessage("Rain.", tool_call_id=call["id"], name=call["name"])]
    await model.ainvoke(talk)

    assert (outer.fan_outs, inner.fan_outs) == (2, 2)
    bearing = [message for message in talk if message.type == "ai" and turns_of(message)]
    assert len(bearing) == 1  # once a turn, not once a step


async def cancelled_in_the_aggregator(panel: Panel) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await never.wait()

    panel.aggregator.wait = wait
    call = asyncio.ensure_future(panel.model.ainvoke("Why?"))
    await begun.wait()
    call.cancel()
    await asyncio.wait({call})
    panel.aggregator.wait = None


async def test_a_call_that_is_cancelled_keeps_what_had_been_made() -> None:
    panel = Panel(ScriptedChatModel("At last."))
    await cancelled_in_the_aggregator(panel)

    assert (await panel.model.ainvoke("Why?")).text == "At last."
    assert panel.fan_outs == 2


async def test_calls_that_were_not_understood_are_plain_text_for_proposers() -> None:
    panel = Panel(ActingChatModel())
    wrong = {"name": "weather", "args": "{", "id": "1", "error": "no JSON", "type": "invalid_tool_call"}

    await panel.model.ainvoke(
        [HumanMessage("Oslo"), AIMessage("", invalid_tool_calls=[wrong]), HumanMessage("?")]
    )

    assert [message.text for message in panel.proposers[0].calls[0]][1:] == [
        "Oslo",
        "(calls the tool weather with {)",
        "?",
    ]


def test_tools_are_strict_where_that_is_asked_for_or_where_a_response_format_needs_it() -> None:
    def strict(**options: Any) -> Any:
        bound: Any = Panel().model.bind_tools([weather], **options)
        return bound.kwargs["tools"][0]["function"].get("strict")

    assert strict() is None
    assert strict(strict=True) is True
    assert strict(response_format={"type": "json_object"}) is True
    assert strict(response_format={"type": "json_object"}, strict=False) is False


async def test_a_form_can_be_strict() -> None:
    actor = ActingChatModel()

    await Panel(actor).model.with_structured_output(Verdict, strict=True).ainvoke("7")

    assert actor.seen[0].options["tools"][0]["function"]["strict"] is True


async def test_no_tools_are_no_reason_to_speak_of_tools() -> None:
    panel = Panel(ActingChatModel())

    await panel.model.bind_tools([]).ainvoke("Why?")

    assert [message.type for message in panel.proposers[0].calls[0]] == ["human"]


async def test_an_aggregator_that_cannot_call_tools_is_told_before_anybody_is_asked(ask: Any) -> None:
    panel = Panel()

    with pytest.raises(ModelNotReady, match=r"models.last .*cannot call tools"):
        await ask(panel.model.bind_tools([weather]), "Oslo")

    assert panel.fan_outs == 0


def test_tokens_are_counted_by_the_aggregator_or_estimated() -> None:
    counting = ScriptedChatModel(custom_get_token_ids=lambda text: list(range(len(text))))

    assert Panel(counting).model.get_num_tokens("four") == 4
    assert Panel().model.get_num_tokens("sixteen letters.") == 4


async def test_a_longer_output_is_reserved_before_it_is_asked_for() -> None:
    free = {"input": 0, "output": 0}
    slots = {"m1": free, "m2": free, "last": {"input": 0, "output": 1_000_000}}
    models = {
        name: {"model": f"host:{name}", "max_tokens": 10, "price": price} for name, price in slots.items()
    }
    panel = Panel()
    panel.model.spec = load_spec(spec(limits={"max_cost": 20}) | {"models": models})

    assert (await panel.model.ainvoke("Why?")).text == "The whole answer."
    with pytest.raises(BudgetExceeded, match="may cost"):
        await panel.model.ainvoke("Why not?", max_tokens=500)


# -- found by reading ----------------------------------------------------------------------------------------


async def test_calls_that_a_cancellation_cut_off_count_against_the_limits() -> None:
    panel = Panel(limits={"max_calls": 3})
    await cancelled_in_the_aggregator(panel)

    with pytest.raises(BudgetExceeded):
        await panel.model.ainvoke("Why?")


async def test_what_a_failed_run_paid_in_vain_is_told_by_the_one_that_goes_on() -> None:
    panel = Panel(layers=1, width=1, defaults={"attempts": 1})
    panel.proposers[0].script.insert(0, ValueError("broken"))
    with pytest.raises(QuorumNotMet):
        await panel.model.ainvoke("Why?")

    answer = await panel.model.ainvoke("Why?")

    assert answer.response_metadata["moa"]["calls"] == 3


class Overflowing(ScriptedChatModel):
    """Say that the prompt was too long after the first word."""

    async def _astream(self, *args: Any, **kwargs: Any) -> Any:
        async for chunk in super()._astream(*args, **kwargs):
            yield chunk
            raise ValueError("maximum context length exceeded")


async def test_a_prompt_that_is_too_long_after_the_first_token_is_no_reason_to_begin_again() -> None:
    panel = Panel(Overflowing("Paris is", "London it is"))
    stream = panel.model.astream("Why?")

    assert (await anext(stream)).text == "Paris"
    with pytest.raises(AggregatorFailed):
        await anext(stream)


def test_its_tool_keeps_the_settings_of_the_model() -> None:
    actor = ActingChatModel()

    Panel(actor, temperature=0.1, max_tokens=50).model.as_tool().invoke({"question": "Why?"})

    assert (actor.seen[0].options["temperature"], actor.seen[0].options["max_tokens"]) == (0.1, 50)


async def test_a_question_to_a_person_costs_what_was_made_by_then() -> None:
    panel = Panel(width=3)
    panel.model.models["m2"] = ScriptedChatModel(asks_a_person)

    with pytest.raises(RunError, match="asks for a person") as caught:
        await panel.model.ainvoke("Why?")

    assert (len(caught.value.proposals), caught.value.calls) == (2, 2)
