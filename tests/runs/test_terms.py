"""The terms that a turn is asked on: they are kept with it, and hold for whoever goes on with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from moa_graph.errors import (
    AggregatorFailed,
    BudgetExceeded,
    DeadlineExceeded,
    MoAError,
    QuorumNotMet,
    StoreError,
    ThreadBusy,
    ThreadError,
)
from moa_graph.proposers.relay import Relay
from moa_graph.resources import Registered
from moa_graph.runs.asking import digest_of
from moa_graph.runs.mixtures import Mixture
from moa_graph.runs.records import ThreadRecord, key_of
from moa_graph.runs.stores import Store, open_store
from moa_graph.runs.threads import Runs
from moa_graph.spec.schema import MoASpec
from moa_graph.state import is_proposal
from moa_graph.terms import Terms
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel
from tests.fakes.retrievers import BEES, FakeRetriever
from tests.runs.cast import THREE, TWO, Cast

ROOT = Path(__file__).parents[2]


@tool
def count(start: int) -> str:
    """Count on from a number."""
    return f"After {start} comes {start + 1}."


TOOLS = [convert_to_openai_tool(count)]
ALONE = Terms(acting={"tools": TOOLS}, fan_out="user_turn")
"""The aggregator goes on alone with what its tools return."""


class Failing(ActingChatModel):
    """Raise errors before it acts."""

    errors: list[Exception] = []  # noqa: RUF012 -- pydantic copies it

    def _reply(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        if self.errors:
            raise self.errors.pop()
        return super()._reply(messages, options)


class Acting:
    """Two proposers, and an aggregator that calls a tool as often as `steps` says before it answers."""

    def __init__(
        self, steps: int = 1, *, retrievers: Mapping[str, FakeRetriever] | None = None, **parts: Any
    ) -> None:
        self.proposers = [ScriptedChatModel("One."), ScriptedChatModel("Two.")]
        self.actor = Failing(steps=steps)
        self.models = {"a": self.proposers[0], "b": self.proposers[1], "z": self.actor}
        self.registered = Registered(self.models, retrievers or {})
        self.document = {
            "moa": 1,
            "name": "acting",
            "models": {name: {"model": f"host:{name}"} for name in self.models},
            "layers": [{"name": "draft", "proposers": ["a", "b"]}],
            "aggregator": {"model": "z"},
            "defaults": {"attempts": 1},
            "retrievers": {
                name: {"retriever": f"host:{name}", "on_error": "continue"} for name in retrievers or {}
            },
            **parts,
        }

    @property
    def spec(self) -> MoASpec:
        return MoASpec.model_validate(self.document)

    def runs(self, store: Store) -> Runs:
        return Runs(store, self.spec, self.registered)

    @property
    def asked(self) -> tuple[int, int]:
        """Return how often the proposers and the aggregator were asked."""
        return sum(len(model.calls) for model in self.proposers), len(self.actor.seen)


def results(message: AIMessage | None, text: str = "After 3 comes 4.") -> list[BaseMessage]:
    """Return what a client sends when it has called the tools."""
    assert message is not None
    assert message.tool_calls
    return [ToolMessage(text, tool_call_id=str(call["id"])) for call in message.tool_calls]


async def called(cast: Acting, store: Store, **options: Any) -> AIMessage:
    """Ask in thread t until the aggregator calls a tool; return its message."""
    options = {"terms": ALONE} | options
    run = await cast.runs(store).start("Count on from 3.", thread="t", turn="1", **options)
    assert run.message is not None
    return run.message


# --- what is kept ---


async def test_the_aggregator_gets_the_tools_that_a_turn_is_asked_with(store: Store) -> None:
    cast = Acting()
    message = await called(cast, store, terms=Terms(acting={"tools": TOOLS, "tool_choice": "auto"}))
    assert [call["name"] for call in message.tool_calls] == ["count"]
    assert message.response_metadata["moa"]["calls"] == 3
    assert cast.actor.seen[0].tools == ["count"]


async def test_a_turn_that_failed_goes_on_in_another_process_on_its_own_terms(store: Store) -> None:
    cast = Acting(layers=[{"name": "draft", "proposers": ["a", "b"], "quorum": 2}])
    cast.proposers[1].script = [ValueError("down"), "Two."]
    terms = Terms(
        acting={"tools": TOOLS, "stop": ["."], "top_p": 0.5}, fan_out="user_turn", limits={"max_calls": 9}
    )
    with pytest.raises(QuorumNotMet):
        await cast.runs(store).start("Why?", thread="t", terms=terms)
    record = await cast.runs(store).record("t")
    assert record.turn.terms == terms
    run = await Runs(store, None, Registered(cast.models)).resume("t")
    assert run.status == "answered"
    [seen] = cast.actor.seen
    assert (seen.tools, seen.options["stop"], seen.options["top_p"]) == (["count"], ["."], 0.5)


async def test_a_turn_without_terms_asks_all_again_whatever_its_spec_says(store: Store) -> None:
    cast = Acting(fan_out="user_turn")
    message = await called(cast, store, terms=Terms(acting={"tools": TOOLS}))
    await cast.runs(store).start(results(message), thread="t", terms=Terms(acting={"tools": TOOLS}))
    assert cast.asked == (4, 2)


async def test_what_the_aggregator_may_do_is_part_of_the_question(store: Store) -> None:
    cast = Acting()
    await called(cast, store)
    with pytest.raises(ThreadError, match="asked something else"):
        await called(cast, store, terms=Terms(acting={"tools": []}))
    again = await called(cast, store, terms={**ALONE, "limits": {"max_calls": 1}})
    assert again.tool_calls
    assert cast.asked == (2, 1)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"paid": []}, r"terms: paid: Extra inputs are not permitted"),
        ({"fan_out": "never"}, "terms: fan_out"),
        ({"acting": {"tools": [object()]}}, "terms cannot be kept in a thread: .* not JSON serializable"),
        ({"acting": {"temperature": float("nan")}}, "terms cannot be kept"),
        ({"limits": {"max_tokens": 1}}, "there is no limit 'max_tokens'"),
        ({"limits": {"max_cost": -1}}, "the limit max_cost cannot be -1"),
    ],
)
async def test_terms_that_no_thread_can_keep_are_refused_at_once(store: Store, terms: Any, said: str) -> None:
    cast = Cast(THREE)
    with pytest.raises(MoAError, match=said):
        cast.runs(store).start("Why?", thread="t", terms=terms)
    assert await store.keys() == []


async def test_notes_come_back_as_they_were_given(store: Store) -> None:
    cast, notes = Cast(THREE), {"owner": "me", "parts": [1, 2.5, None, {"deep": "NUL \x00"}]}
    run = await cast.runs(store).start("Why?", thread="t", turn="1", notes=notes)
    kept = {"owner": "me", "parts": [1, 2.5, None, {"deep": "NUL \ufffd"}]}
    assert run.notes == kept
    assert (await cast.runs(store).status("t")).notes == kept
    again = await cast.runs(store).start("Why?", thread="t", turn="1", notes={"other": 1})
    assert again.notes == kept
    with pytest.raises(MoAError, match="notes cannot be kept"):
        cast.runs(store).start("Why?", thread="t", notes={"key": object()})


async def test_a_turn_without_terms_and_notes_is_recorded_as_earlier_versions_did(store: Store) -> None:
    cast = Cast(THREE)
    run = await cast.runs(store).start("Why?", thread="t", turn="1")
    data = await store.read(key_of("t"))
    assert data is not None
    assert not {"terms", "notes"} & data["turns"][0].keys()
    digest = "d3709e0ec7db5d22a5e7b7ce9fd821c189f366b68a0cc74af57414cbc434c59c"
    assert data["turns"][0]["digest"] == digest
    assert await cast.runs(store).start("Why?", thread="t", turn="1") == run
    assert (await cast.runs(store).record("t")).turn.terms == {}


async def test_terms_that_a_record_does_not_write_are_not_believed(store: Store) -> None:
    cast = Cast(THREE)
    await cast.runs(store).start("Why?", thread="t")
    data = await store.read(key_of("t"))
    assert data is not None
    data["turns"][0]["terms"] = {"relay": 1}
    await store.write(key_of("t"), data)
    with pytest.raises(StoreError, match=r"terms.* is not what was written"):
        await cast.runs(store).status("t")


# --- limits ---


async def test_a_lowered_limit_holds_over_a_resume(store: Store) -> None:
    cast = Cast(THREE)
    with pytest.raises(BudgetExceeded, match=r"limits\.max_calls = 3 requests are used up"):
        await cast.runs(store).start("Why?", thread="t", terms=Terms(limits={"max_calls": 3}))
    with pytest.raises(BudgetExceeded):
        await cast.runs(store).resume("t")
    assert dict(cast.sent) == {"a": 1, "b": 1, "c": 1}


async def test_a_lowered_deadline_is_the_one_that_is_named(store: Store) -> None:
    cast = Cast(THREE)
    cast.hold("abc")
    with pytest.raises(DeadlineExceeded, match=r"the run's deadline of 0\.05 s passed"):
        await cast.runs(store).start("Why?", thread="t", terms=Terms(limits={"deadline": 0.05}))


async def test_what_is_left_costs_at_most_the_lowered_limit(store: Store) -> None:
    slot = {"price": {"input": 1.0, "output": 1.0}, "max_tokens": 1000}
    cast = Cast(THREE, slot=slot, limits={"max_cost": 1.0})
    runs = cast.runs(store)
    await runs.submit("Why?", thread="dear")
    cheap = await runs.submit("Why?", thread="cheap", terms=Terms(limits={"max_cost": 1e-6}))
    assert cheap.cost_left == 1e-6
    assert ((await runs.status("dear")).cost_left or 0.0) > 1e-6


# --- message ---


async def test_the_run_holds_the_answers_message_and_no_json_does(store: Store) -> None:
    cast = Cast(THREE)
    run = await cast.runs(store).start("Why?", thread="t", notes={"mine": 1})
    assert run.message is not None
    assert (run.message.text, run.message.response_metadata["moa"]["calls"]) == ("z1", 4)
    assert run.message.usage_metadata is not None
    plain = run.plain()
    assert not {"message", "notes"} & plain.keys()
    assert json.loads(json.dumps(plain))["answer"] == "z1"
    assert run == await cast.runs(store).status("t")
    stopped = await cast.runs(store).start("And?", thread="t", breakpoints="all")
    assert stopped.message is None


async def test_an_answer_that_could_not_be_saved_keeps_the_tools_that_it_calls(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, cast = ThreadRecord.save, Acting()

    async def full(self: ThreadRecord, to: Store) -> None:
        if self.turn.status == "answered":
            raise StoreError("the disk is full")
        await save(self, to)

    monkeypatch.setattr(ThreadRecord, "save", full)
    run = await cast.runs(store).start("Count on from 3.", thread="t", terms=ALONE, notes={"mine": 1})
    assert (run.saved, run.notes) == (False, {"mine": 1})
    assert run.message is not None
    assert run.message.tool_calls[0]["name"] == "count"


# --- pieces and events ---


def collected() -> tuple[list[AIMessageChunk], Relay]:
    pieces: list[AIMessageChunk] = []
    return pieces, Relay(pieces.append)


async def test_a_relay_gets_the_pieces_of_an_answer_that_is_written_now(store: Store) -> None:
    cast = Acting(steps=0)
    pieces, relay = collected()
    run = await cast.runs(store).start("Why?", thread="t", turn="1", terms=Terms(relay=relay))
    assert len(pieces) > 1
    assert "".join(str(piece.text) for piece in pieces) == run.answer
    pieces, relay = collected()
    again = await cast.runs(store).start("Why?", thread="t", turn="1", terms=Terms(relay=relay))
    assert (pieces, relay.began, again.answer) == ([], False, run.answer)


async def test_a_resumed_turn_passes_its_answer_on_to_the_relay_of_the_resume(store: Store) -> None:
    cast = Acting(steps=0)
    await cast.runs(store).start("Why?", thread="t", breakpoints=["aggregator"])
    pieces, relay = collected()
    run = await cast.runs(store).resume("t", relay=relay)
    assert "".join(str(piece.text) for piece in pieces) == run.answer
    pieces, relay = collected()
    await cast.runs(store).resume("t", relay=relay)
    assert pieces == []


async def test_a_relay_gets_nothing_of_an_answer_that_is_restored(store: Store) -> None:
    cast = Acting(steps=0)
    await leave_at_the_answer(cast.runs(store).start("Why?", thread="t"))
    pieces, relay = collected()
    run = await cast.runs(store).resume("t", relay=relay)
    assert run.status == "answered"
    assert run.message is not None
    assert (pieces, cast.asked) == ([], (2, 1))


async def leave_at_the_answer(running: Any) -> None:
    """Follow a run until the answer is reported, and cancel it there."""
    events = running.events()
    async for event in events:
        if event["type"] == "call.finished" and event["role"] == "aggregator":
            break
    await events.aclose()


async def test_a_listener_hears_what_the_run_tells(store: Store) -> None:
    heard: list[str] = []
    terms = Terms(listen=lambda event: heard.append(event["type"]))
    told = [event["type"] async for event in Cast(THREE).runs(store).start("Why?", terms=terms)]
    assert heard == told
    assert heard[-1] == "run.finished"


# --- the aggregator goes on alone ---


async def test_the_aggregator_goes_on_alone_with_what_its_tools_returned(store: Store) -> None:
    cast = Acting()
    message = await called(cast, store)
    run = await cast.runs(store).start(results(message), thread="t", turn="2", terms=ALONE)
    assert (run.status, run.answer) == ("answered", "Done: After 3 comes 4.")
    assert cast.asked == (2, 2)
    assert (run.calls, run.proposals, run.aides, run.passages, run.warnings) == (1, [], [], [], [])
    assert run.usage["output_tokens"] == 5
    assert len(run.aggregators) == 1
    assert (run.next_layer, run.calls_left) == (None, 0)
    prompts = [seen.messages for seen in cast.actor.seen]
    assert [each.text for each in prompts[1][: len(prompts[0])]] == [each.text for each in prompts[0]]
    assert "Two." in str(prompts[1][0].text) + str(prompts[1][1].text)


async def test_instructions_after_what_the_tools_returned_ask_nobody_again(store: Store) -> None:
    cast = Acting(steps=2)
    runs = cast.runs(store)
    message = await called(cast, store)
    for number, time in enumerate(["10:02", "10:03"], 2):
        said = [*results(message), SystemMessage(f"Time {time}")]
        run = await runs.start(said, thread="t", turn=str(number), terms=ALONE)
        assert (run.calls, run.proposals, run.message is not None) == (1, [], True)
        message = run.message or message
    assert cast.asked == (2, 3)
    assert cast.actor.seen[-1].messages[-1].text == "Time 10:03"
    await runs.start([SystemMessage("Be brief."), HumanMessage("And 7?")], thread="t", terms=ALONE)
    assert cast.asked == (4, 4)
    await runs.start([SystemMessage("Go on.")], thread="t", terms=ALONE)
    assert cast.asked == (6, 5)


async def test_the_history_and_the_turns_tell_each_call_once(store: Store) -> None:
    cast = Acting(steps=2)
    first = await called(cast, store)
    runs = cast.runs(store)
    second = await runs.start(results(first), thread="t", turn="2", terms=ALONE)
    await runs.start(results(second.message), thread="t", turn="3", terms=ALONE)
    history = await runs.history("t")
    assert [(point.turn, point.event, point.ok, point.calls) for point in history] == [
        ("1", "question", 0, 0),
        ("1", "draft", 2, 2),
        ("1", "aggregator", 2, 3),
        ("2", "question", 0, 0),
        ("2", "aggregator", 0, 1),
        ("3", "question", 0, 0),
        ("3", "aggregator", 0, 1),
    ]
    assert [(await runs.turn("t", turn)).calls for turn in "123"] == [3, 1, 1]
    assert [len((await runs.turn("t", turn)).proposals) for turn in "123"] == [2, 0, 0]
    shown = await runs.show("t", checkpoint=history[3].number)
    assert (shown.next_layer, shown.calls, shown.calls_left) == ("aggregator", 0, 1)


@pytest.mark.parametrize("placement", ["user", "system"])
async def test_the_prompt_of_an_aggregator_that_goes_on_alone_is_shown_as_it_was(
    store: Store, placement: str
) -> None:
    cast = Acting(aggregator={"model": "z", "references": {"placement": placement}})
    runs = cast.runs(store)
    message = await called(cast, store)
    await runs.start(results(message), thread="t", turn="2", terms=ALONE)
    shown = await runs.prompt("t", "aggregator/z")
    assert [each.text for each in shown] == [each.text for each in cast.actor.seen[1].messages]
    advised = await runs.prompt("t", "draft/a", checkpoint=1)
    assert [each.text for each in advised] == [each.text for each in cast.proposers[0].calls[0]]


async def test_after_the_tools_a_new_question_is_asked_of_all(store: Store) -> None:
    cast = Acting()
    runs = cast.runs(store)
    message = await called(cast, store)
    await runs.start(results(message), thread="t", turn="2", terms=ALONE)
    run = await runs.start("And from 7?", thread="t", turn="3", terms=ALONE)
    assert cast.asked == (4, 3)
    assert (run.calls, len(run.proposals)) == (3, 2)
    again = await runs.start(results(run.message, "8"), thread="t", turn="4", terms=ALONE)
    assert (again.answer, again.calls, cast.asked) == ("Done: 8", 1, (4, 4))


async def test_results_of_several_tools_come_together(store: Store) -> None:
    cast = Acting(steps=2)
    message = await called(cast, store)
    more = [*results(message, "four"), ToolMessage("five", tool_call_id="call-1b")]
    run = await cast.runs(store).start(more, thread="t", turn="2", terms=ALONE)
    assert (run.answer, cast.asked) == ("Done: five", (2, 2))


async def test_a_whole_conversation_in_a_new_thread_goes_on_where_its_message_bears_the_references(
    store: Store,
) -> None:
    cast = Acting()
    message = await called(cast, store)
    said = [HumanMessage("Count on from 3."), message.model_copy(update={"id": None}), *results(message)]
    run = await cast.runs(store).start(said, thread="other", turn="1", terms=ALONE)
    assert (run.answer, run.calls, run.proposals, cast.asked) == ("Done: After 3 comes 4.", 1, [], (2, 2))
    bare = [said[0], AIMessage("", tool_calls=message.tool_calls), said[2]]
    run = await cast.runs(store).start(bare, thread="bare", terms=ALONE)
    assert (run.calls, cast.asked) == (3, (4, 3))


async def test_a_turn_of_the_aggregator_alone_that_failed_is_tried_again_alone(store: Store) -> None:
    cast = Acting()
    message = await called(cast, store)
    cast.actor.errors = [ValueError("down"), ValueError("down")]
    with pytest.raises(AggregatorFailed) as failed:
        await cast.runs(store).start(results(message), thread="t", turn="2", terms=ALONE)
    assert failed.value.calls == 1
    runs = Runs(store, None, Registered(cast.models))  # another process, which is told of no terms
    standing = await runs.status("t")
    assert (standing.status, standing.next_layer, standing.calls_left) == ("failed", "aggregator", 1)
    assert (standing.calls, standing.proposals, len(standing.aggregators)) == (1, [], 1)
    with pytest.raises(AggregatorFailed):
        await runs.resume("t")
    run = await runs.resume("t")
    assert (run.answer, run.calls, cast.asked) == ("Done: After 3 comes 4.", 3, (2, 2))


async def test_an_answer_of_the_aggregator_alone_is_not_paid_again(store: Store) -> None:
    cast = Acting()
    message = await called(cast, store)
    await leave_at_the_answer(cast.runs(store).start(results(message), thread="t", turn="2", terms=ALONE))
    run = await cast.runs(store).resume("t")
    assert (run.status, run.answer, run.calls) == ("answered", "Done: After 3 comes 4.", 1)
    assert cast.asked == (2, 2)


async def test_the_aggregator_alone_can_be_stopped_before(store: Store) -> None:
    cast = Acting()
    runs = cast.runs(store)
    message = await called(cast, store)
    run = await runs.start(results(message), thread="t", turn="2", terms=ALONE, breakpoints="all")
    assert (run.status, run.reason, run.next_layer) == ("interrupted", "before aggregator", "aggregator")
    with pytest.raises(ThreadError, match="no layer of thread 't' has ended yet"):
        await runs.edit("t", "draft/a", text="Mine.")
    assert (await runs.step("t")).answer == "Done: After 3 comes 4."
    assert cast.asked == (2, 2)


async def test_results_of_tools_whose_turn_was_given_up_are_not_carried_on(store: Store) -> None:
    cast = Acting()
    runs = cast.runs(store)
    message = await called(cast, store)
    await runs.submit(results(message), thread="t", turn="2", terms=ALONE)
    run = await runs.start(results(message, "Five."), thread="t", turn="3", terms=ALONE, abandon=True)
    assert (run.answer, cast.asked) == ("Done: Five.", (2, 2))
    texts = [str(each.text) for each in cast.actor.seen[-1].messages]
    assert texts.count("Five.") == 1
    assert "After 3 comes 4." not in texts


async def test_passages_and_their_warnings_are_those_of_the_turn_that_called_the_tools(store: Store) -> None:
    retrievers = {"wiki": FakeRetriever(BEES), "gone": FakeRetriever(error=ValueError("gone"))}
    cast = Acting(retrievers=retrievers, retrieve=[*retrievers])
    runs = cast.runs(store)
    message = await called(cast, store)
    assert "gone" in str(message.response_metadata["moa"]["warnings"])
    run = await runs.start(results(message), thread="t", turn="2", terms=ALONE)
    assert (run.calls, run.passages, run.warnings) == (1, [], [])
    assert [source["retriever"] for source in run.sources] == ["wiki"]
    assert [len(each.asked) for each in retrievers.values()] == [1, 1]
    shown = await runs.prompt("t", "aggregator/z")
    assert [each.text for each in shown] == [each.text for each in cast.actor.seen[1].messages]
    assert BEES["bees.md"] in str([each.text for each in shown])
    fork = await runs.fork("t", to="fork", before="aggregator")
    assert (fork.passages, fork.next_layer) == ([], "aggregator")


# --- forks and exports ---


async def test_a_fork_of_the_aggregator_alone_goes_on_alone(store: Store) -> None:
    cast = Acting()
    runs = cast.runs(store)
    message = await called(cast, store)
    await runs.start(results(message), thread="t", turn="2", terms=ALONE, notes={"mine": 1})
    whole = await runs.fork("t", to="whole")
    assert (whole.status, whole.answer, whole.calls_left) == ("answered", "Done: After 3 comes 4.", 0)
    assert whole.notes == {}
    fork = await runs.fork("t", to="before", before="aggregator")
    assert (fork.next_layer, fork.calls_left, fork.proposals) == ("aggregator", 1, [])
    run = await runs.resume("before")
    assert (run.answer, run.calls, cast.asked) == ("Done: After 3 comes 4.", 1, (2, 3))


async def test_a_fork_under_another_spec_asks_all_about_what_the_tools_returned(store: Store) -> None:
    cast = Acting()
    message = await called(cast, store)
    await cast.runs(store).start(results(message), thread="t", turn="2", terms=ALONE)
    changed = MoASpec.model_validate({**cast.document, "aggregator": {"model": "z", "system": "Be brief."}})
    runs = cast.runs(store)
    fork = await runs.fork("t", to="changed", spec=changed)
    assert (fork.status, fork.next_layer, fork.calls_left) == ("interrupted", "draft", 3)
    run = await runs.resume("changed")
    assert (run.status, run.calls, cast.asked) == ("answered", 3, (4, 3))
    back = await runs.fork("changed", to="back", spec=cast.spec)
    assert (back.next_layer, back.calls_left, back.proposals) == ("aggregator", 1, [])
    assert (await runs.resume("back")).calls == 1
    assert cast.asked == (4, 4)


def as_bytes(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


async def test_a_thread_with_terms_is_the_same_after_export_and_import(store: Store) -> None:
    cast = Acting(steps=2)
    runs = cast.runs(store)
    message = await called(cast, store, notes={"mine": "noted"})
    second = await runs.start(results(message), thread="t", turn="2", terms=ALONE)
    await runs.submit(results(second.message), thread="t", turn="3", terms=ALONE)
    lines = await runs.export("t")
    turns = [line for line in lines if line["type"] == "turn"]
    assert [turn["terms"]["fan_out"] for turn in turns] == ["user_turn"] * 3
    assert [turn.get("notes") for turn in turns] == [{"mine": "noted"}, None, None]
    copy = await runs.import_(as_bytes(lines), to="copy")
    assert (copy.status, copy.reason, copy.next_layer) == ("interrupted", "queued", "aggregator")
    assert (await runs.turn("copy", "1")).notes == {}  # a stranger's notes start no work here
    assert (await runs.turn("copy", "2")).calls == 1
    run = await runs.resume("copy")
    assert (run.answer, run.calls, cast.asked) == ("Done: After 3 comes 4.", 1, (2, 3))
    history = [(point.turn, point.event, point.calls) for point in await runs.history("copy")]
    await runs.resume("t")
    assert history == [(point.turn, point.event, point.calls) for point in await runs.history("t")]


async def test_a_fork_of_the_aggregator_alone_survives_an_export(store: Store) -> None:
    cast = Acting()
    runs = cast.runs(store)
    message = await called(cast, store)
    await runs.start(results(message), thread="t", turn="2", terms=ALONE)
    await runs.fork("t", to="fork")
    copy = await runs.import_(as_bytes(await runs.export("fork")), to="copy")
    assert (copy.status, copy.answer, copy.calls) == ("answered", "Done: After 3 comes 4.", 1)


async def test_an_export_whose_spec_held_a_key_still_goes_on_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "very-secret-word")
    cast = Acting(aggregator={"model": "z", "system": "Say very-secret-word."})
    runs = cast.runs(store)
    message = await called(cast, store)
    await runs.submit(results(message, "very-secret-word"), thread="t", turn="2", terms=ALONE)
    lines = await runs.export("t")
    assert "very-secret-word" not in json.dumps(lines)
    imported = Runs(store, None, Registered(cast.models))
    copy = await imported.import_(as_bytes(lines), to="copy")
    assert copy.next_layer == "aggregator"
    assert (await imported.resume("copy")).answer == "Done: [redacted]"
    assert cast.asked == (2, 2)


async def test_an_export_without_texts_has_neither_notes_nor_what_was_said_to_the_aggregator(
    store: Store,
) -> None:
    cast = Acting()
    message = await called(cast, store, notes={"mine": "noted"})
    runs = cast.runs(store)
    await runs.start(results(message), thread="t", turn="2", terms={**ALONE, "limits": {"deadline": 9}})
    lines = await runs.export("t", texts=False)
    turns = [line for line in lines if line["type"] == "turn"]
    assert [turn["terms"] for turn in turns] == [
        {"fan_out": "user_turn"},
        {"fan_out": "user_turn", "limits": {"deadline": 9}},
    ]
    text = json.dumps(lines)
    assert not any(said in text for said in ("noted", "One.", "Two.", "After 3", "Count on from a number"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limits": {"deadline": -1}}, "the limit deadline cannot be -1"),
        ({"limits": {"speed": 1}}, "there is no limit 'speed'"),
        ({"fan_out": "never"}, "fan_out"),
        ({"acting": 3}, "acting"),
        (["fan_out"], "terms"),
        ({"fan_out": "every_call"}, "the step that comes next is draft"),
    ],
)
async def test_an_import_with_terms_that_do_not_fit_is_refused(store: Store, change: Any, said: str) -> None:
    cast = Acting()
    runs = cast.runs(store)
    message = await called(cast, store)
    await runs.start(results(message), thread="t", turn="2", terms=ALONE)
    lines = await runs.export("t")
    [_, second] = [line for line in lines if line["type"] == "turn"]
    second["terms"] = change
    with pytest.raises(MoAError, match=said):
        await runs.import_(as_bytes(lines), to="copy")
    assert "copy" not in await store.keys()


async def test_an_import_passes_over_terms_of_a_later_version(store: Store) -> None:
    cast = Acting()
    await called(cast, store)
    runs = cast.runs(store)
    lines = await runs.export("t")
    lines[1]["terms"]["mood"] = "good"
    assert (await runs.import_(as_bytes(lines), to="copy")).status == "answered"
    assert "mood" not in (await runs.record("copy")).turn.terms


# --- submit and turn ---


async def test_a_submitted_turn_calls_nobody_and_is_run_by_resume(store: Store) -> None:
    cast = Cast(TWO)
    run = await cast.runs(store).submit("Why?", thread="t", turn="1", notes={"mine": 1})
    assert (run.status, run.reason, run.next_layer, run.calls_left) == ("interrupted", "queued", "draft", 5)
    assert (run.notes, run.message, run.checkpoint, run.question) == ({"mine": 1}, None, None, "Why?")
    [line] = await cast.runs(store).threads()
    assert (line.status, line.reason) == ("interrupted", "queued")
    assert await cast.runs(store).history("t") == []
    assert dict(cast.sent) == {}
    done = await Runs(store, None, Registered(cast.models)).resume("t")
    assert (done.status, done.answer, done.notes) == ("answered", "z1", {"mine": 1})


async def test_a_turn_that_is_known_is_not_submitted_again(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.submit("Why?", thread="t", turn="1")
    again = await runs.submit("Why?", thread="t", turn="1", notes={"other": 1})
    assert (again.reason, again.notes) == ("queued", {})
    assert len((await runs.record("t")).turns) == 1
    assert (await runs.start("Why?", thread="t", turn="1")).answer == "z1"
    assert (await runs.submit("Why?", thread="t", turn="1")).answer == "z1"
    with pytest.raises(ThreadError, match="asked something else"):
        await runs.submit("Why not?", thread="t", turn="1")
    await runs.submit("And?", thread="t", turn="2")
    assert (await runs.submit("Why?", thread="t", turn="1")).answer == "z1"
    assert dict(cast.sent) == {"a": 1, "b": 1, "c": 1, "z": 1}


async def test_a_turn_that_somebody_runs_is_looked_at_without_its_lease(store: Store) -> None:
    cast = Cast(THREE)
    async with store.lease(key_of("t")):
        with pytest.raises(ThreadBusy):
            await cast.runs(store).submit("Why?", thread="t", turn="1")
    await cast.runs(store).submit("Why?", thread="t", turn="1")
    async with store.lease(key_of("t")):
        assert (await cast.runs(store).submit("Why?", thread="t", turn="1")).reason == "queued"
        assert (await cast.runs(store).turn("t", "1")).reason == "queued"


async def test_a_thread_without_a_name_is_submitted_under_a_new_one(store: Store) -> None:
    cast = Cast(THREE)
    run = await cast.runs(store).submit("Why?")
    assert (await cast.runs(store).turn(run.thread, run.turn)).reason == "queued"
    with pytest.raises(MoAError, match="needs a spec"):
        await Runs(store, None, Registered()).submit("Why?")


async def test_a_queued_turn_is_refused_a_successor_or_given_up(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.submit("Why?", thread="t", turn="1")
    with pytest.raises(ThreadError, match="has no answer yet"):
        await runs.start("Another?", thread="t", turn="2")
    with pytest.raises(ThreadError, match="has no answer yet"):
        await runs.submit("Another?", thread="t", turn="2")
    run = await runs.start("Another?", thread="t", turn="2", abandon=True)
    assert (run.answer, run.question) == ("z1", "Another?")
    assert [message.text for message in cast.seen("a")] == ["Another?"]
    old = await runs.turn("t", "1")
    assert (old.status, old.reason, old.next_layer) == ("interrupted", "given up", None)
    assert (old.calls, old.calls_left, old.question) == (0, 0, "Why?")
    with pytest.raises(ThreadError, match="was given up"):
        await runs.start("Why?", thread="t", turn="1")
    await runs.submit("Third?", thread="t", turn="3")
    await runs.submit("Fourth?", thread="t", turn="4", abandon=True)
    assert (await runs.resume("t")).question == "Fourth?"
    copy = await runs.import_(as_bytes(await runs.export("t")), to="copy")
    assert (copy.question, copy.answer) == ("Fourth?", "z2")


async def test_each_turn_tells_how_it_stands(store: Store) -> None:
    cast = Cast(TWO, layer={"refine": {"quorum": 2}})
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", turn="1", notes={"n": 1})
    cast.fail("d")
    with pytest.raises(QuorumNotMet):
        await runs.start("And?", thread="t", turn="2", notes={"n": 2})
    cast.mend()
    await runs.start("Then?", thread="t", turn="3", notes={"n": 3}, abandon=True)
    one, two, three = [await cast.runs(store).turn("t", turn) for turn in "123"]
    assert [(run.status, run.answer, run.notes) for run in (one, two, three)] == [
        ("answered", "z1", {"n": 1}),
        ("failed", None, {"n": 2}),
        ("answered", "z2", {"n": 3}),
    ]
    assert (one.calls, two.reason, three.calls) == (5, "given up", 5)
    assert [record["text"] for record in two.proposals if is_proposal(record)][:2] == ["a2", "b2"]
    for thread, turn in (("t", "4"), ("u", "1")):
        with pytest.raises(ThreadError):
            await runs.turn(thread, turn)


async def test_a_turn_that_was_killed_and_given_up_is_not_running(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.submit("Why?", thread="t", turn="1")
    record = await runs.record("t")
    record.turn.status, record.turn.reason = "running", ""
    await record.save(store)
    assert (await runs.turn("t", "1")).status == "interrupted"
    await runs.start("And?", thread="t", turn="2", abandon=True)
    assert (await runs.turn("t", "1")).status == "interrupted"


async def test_other_programs_checkpoints_are_no_place_for_a_queued_turn(store: Store) -> None:
    cast = Cast(THREE)
    graph = Mixture(cast.spec, Registered(cast.models)).graph(store)
    config: Any = {"configurable": {"thread_id": key_of("t")}}
    async with store.lease(key_of("t")):
        await graph.ainvoke({"messages": [("user", "Why?")]}, config)
    with pytest.raises(ThreadError, match="has checkpoints that moa_graph's threads did not write"):
        await cast.runs(store).submit("Why?", thread="t")
    with pytest.raises(ThreadError, match="cannot be a thread's id"):
        await cast.runs(store).submit("Why?", thread=" ")
    assert await cast.runs(store).threads() == []


# --- after which turn ---


async def test_a_question_that_goes_on_from_a_turn_is_asked_only_after_it(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("One?", thread="t", turn="1\0")
    await runs.start("Two?", thread="t", turn="2", after="1\0")
    there, before = await store.read("t"), cast.sent
    for asking in (
        runs.start("Three?", thread="t", turn="3", after="1\0"),
        runs.submit("Three?", thread="t", turn="3", after="1\0"),
        runs.start("Three?", thread="t", turn="3", after="4"),
    ):
        with pytest.raises(ThreadError, match="the last answered turn of thread 't' is not"):
            await asking
    assert (await store.read("t"), cast.since(before)) == (there, {})
    assert (await runs.submit("Three?", thread="t", turn="3", after="2")).reason == "queued"
    known = await runs.start("Two?", thread="t", turn="2", after="1\0")  # sent again, later
    assert (known.answer, cast.since(before)) == ("z2", {})


async def test_a_question_goes_on_from_the_last_answer_also_where_a_turn_was_given_up(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("One?", thread="t", turn="1")
    await runs.submit("Two?", thread="t", turn="2")
    with pytest.raises(ThreadError, match="has no answer yet"):
        await runs.start("Three?", thread="t", turn="3", after="1")
    with pytest.raises(ThreadError, match="is not '2'"):
        await runs.start("Three?", thread="t", turn="3", after="2", abandon=True)
    run = await runs.start("Three?", thread="t", turn="3", after="1", abandon=True)
    assert run.answer == "z2"


async def test_nothing_goes_on_in_a_thread_that_was_deleted_meanwhile(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("My name is Ada.", thread="t", turn="1")
    await runs.delete("t")
    before = cast.sent
    for asking in (
        runs.start("What is my name?", thread="t", turn="2", after="1"),
        runs.submit("What is my name?", thread="t", turn="2", after="1"),
    ):
        with pytest.raises(ThreadError, match="is not '1'"):
            await asking
    assert (await store.keys(), cast.since(before)) == ([], {})


# --- what a question is ---


def calling(city: str, id_: str = "c") -> list[BaseMessage]:
    call = {"name": "weather", "args": {"city": city}, "id": id_}
    return [HumanMessage("Where?"), AIMessage("", tool_calls=[call]), ToolMessage("Rain", tool_call_id=id_)]


OTHERS = [
    calling("Oslo"),
    calling("Rome", "d"),
    [*calling("Rome")[:2], ToolMessage("Rain", tool_call_id="c", status="error")],
    [
        calling("Rome")[0],
        AIMessage("", invalid_tool_calls=[{"name": "weather", "args": "{", "id": "c", "error": None}]),
        calling("Rome")[2],
    ],
]


@pytest.mark.parametrize("other", OTHERS, ids=["arguments", "id", "status", "invalid"])
async def test_other_calls_of_tools_are_another_question(store: Store, other: list[BaseMessage]) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    first = await runs.start(calling("Rome"), thread="t", turn="1")
    assert (await runs.start(calling("Rome"), thread="t", turn="1")).answer == first.answer
    with pytest.raises(ThreadError, match="asked something else"):
        await runs.start(other, thread="t", turn="1")


def test_what_uses_no_tools_is_known_by_what_earlier_versions_noted() -> None:
    said = [SystemMessage("Be brief."), HumanMessage([{"type": "text", "text": "Why?"}]), AIMessage("So.")]
    digest = "26a8ce3769ad7486486b0a7b585f86754affad5e29a4c55a8295cc411f2979b7"
    assert digest_of(said) == digest


async def test_what_no_store_bears_is_taken_out_of_calls_and_names(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    call = {"name": "weather\0", "args": {"city\ud800": ["Rome\ud800"]}, "id": "c\0"}
    asked = [
        HumanMessage("Where?", name="a\0", id="m\0"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("Rain", tool_call_id="c\0"),
    ]
    assert (await runs.start(asked, thread="t", turn="1")).answer == "z1"
    assert asked[0].name == "a\0"
    human, ai, *_ = await runs.messages("t")
    assert (human.name, human.id) == ("a\ufffd", "m\ufffd")
    assert isinstance(ai, AIMessage)
    assert ai.tool_calls[0]["args"] == {"city\ufffd": ["Rome\ufffd"]}
    assert (await runs.start(asked, thread="t", turn="1")).answer == "z1"
    copy = await runs.import_(as_bytes(await runs.export("t")), to="copy")
    assert copy.answer == "z1"


async def test_a_turn_is_found_by_the_id_that_it_was_asked_under(store: Store) -> None:
    runs = Cast(THREE).runs(store)
    await runs.start("Why?", thread="t", turn="x\0y")
    assert (await runs.turn("t", "x\0y")).answer == "z1"


# --- what it costs at most ---


@pytest.mark.parametrize("begun", [False, True], ids=["queued", "begun"])
async def test_what_is_left_counts_tools_calls_and_pictures(store: Store, begun: bool) -> None:
    cast = Cast(THREE, slot={"price": {"input": 1.0, "output": 1.0}, "max_tokens": 10})
    runs = cast.runs(store)

    async def left(thread: str, asked: list[BaseMessage], **acting: Any) -> float:
        terms = Terms(acting=acting)
        if begun:
            run = await runs.start(asked, thread=thread, terms=terms, breakpoints="all")
        else:
            run = await runs.submit(asked, thread=thread, terms=terms)
        assert run.cost_left is not None
        return run.cost_left

    question, long = HumanMessage("Why?"), "word " * 4000
    described = {"type": "function", "function": {"name": "f", "description": long, "parameters": {}}}
    call = AIMessage("", tool_calls=[{"name": "f", "args": {"text": long}, "id": "c"}])
    picture = HumanMessage([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{long}"}}])
    least = await left("plain", [question])
    assert await left("tools", [question], tools=[described]) > 10 * least
    assert await left("format", [question], response_format={"type": "text", "text": long}) > 10 * least
    assert await left("call", [question, call, ToolMessage("so", tool_call_id="c")]) > 10 * least
    assert await left("picture", [picture]) > 10 * least


# --- kill -9 ---

_SCRIPT = """
    import asyncio, os, signal, sys
    from moa_graph.resources import Registered
    from moa_graph.runs.stores import open_store
    from tests.runs.test_terms import ALONE, Acting, results

    async def main(url, dies_at):
        cast = Acting(steps=1)
        async with open_store(url) as store:
            runs = cast.runs(store)
            message = (await runs.start("Count on from 3.", thread="t", turn="1", terms=ALONE)).message
            async for event in runs.start(results(message), thread="t", turn="2", terms=ALONE):
                if event["type"] == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(("dies_at", "paid"), [("call.started", 1), ("call.finished", 0)])
async def test_the_aggregator_alone_goes_on_after_kill_9(tmp_path: Path, dies_at: str, paid: int) -> None:
    url = f"sqlite:///{tmp_path}/moa.db"
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(  # noqa: ASYNC221 -- nothing else is to go on meanwhile
        [sys.executable, "-c", dedent(_SCRIPT), url, dies_at], cwd=ROOT, env=env, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    cast = Acting()
    async with open_store(url) as store:
        runs = Runs(store, None, Registered(cast.models))
        before = await runs.status("t")
        assert (before.status, before.turn, before.proposals) == ("interrupted", "2", [])
        assert before.calls_left == paid
        run = await runs.resume("t")
        assert (run.answer, run.calls, run.proposals) == ("Done: After 3 comes 4.", 1, [])
        assert cast.asked == (0, paid)
        assert [tool for seen in cast.actor.seen for tool in seen.tools] == ["count"] * paid
