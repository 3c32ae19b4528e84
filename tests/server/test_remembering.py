"""What a turn goes on with survives clients that send back messages without our metadata."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from moa_graph import MoAChatModel
from moa_graph.advising import turns_of
from moa_graph.errors import StoreError
from moa_graph.runs.serializer import make_serializer
from moa_graph.server.keys import Key, KeyLimits
from moa_graph.server.remembering import Turns
from moa_graph.server.shelf import LARGEST, Shelf, open_shelf
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel

OWNER = Key("a" * 12, "a", KeyLimits())
STRANGER = Key("b" * 12, "b", KeyLimits())
TURNS = {"mark": {"nonce": "0" * 16, "references": [{"id": "draft/a", "text": "yes"}]}}


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    async with open_shelf("memory:") as opened:
        yield opened


@pytest.fixture
def turns(shelf: Shelf) -> Turns:
    return Turns(shelf)


def calling(*ids: str, invalid: str | None = None, turns: dict[str, Any] | None = None) -> AIMessage:
    """Return an answer that calls tools, as the graph gives it with turns, as a client sends it without."""
    return AIMessage(
        "",
        tool_calls=[{"name": "add", "args": {"a": 1}, "id": id_, "type": "tool_call"} for id_ in ids],
        invalid_tool_calls=[
            {"name": "add", "args": "{", "id": invalid, "error": None, "type": "invalid_tool_call"}
        ]
        if invalid
        else [],
        response_metadata={} if turns is None else {"moa": {"name": "panel", "turns": turns}},
    )


def result(id_: str) -> ToolMessage:
    return ToolMessage("2", tool_call_id=id_)


def asked(text: Any = "What is 1 + 1?") -> list[BaseMessage]:
    return [SystemMessage("Be brief."), HumanMessage(text)]


async def recalled(turns: Turns, messages: list[BaseMessage], owner: Key = OWNER) -> list[dict[str, Any]]:
    """Return what the messages bear that come after the last question."""
    found = await turns.recall(owner, "panel", messages)
    return [turns_of(each) for each in found if isinstance(each, AIMessage)]


async def test_an_answer_that_calls_tools_gets_back_what_it_bore(turns: Turns) -> None:
    await turns.remember(OWNER, "panel", asked(), calling("1", "2", turns=TURNS))
    messages = [*asked(), calling("1", "2"), result("1"), result("2")]
    before = deepcopy(messages)
    found = await turns.recall(OWNER, "panel", messages)
    assert turns_of(found[2]) == TURNS
    assert [each.model_dump(exclude={"response_metadata"}) for each in found] == [
        each.model_dump(exclude={"response_metadata"}) for each in before
    ]
    assert messages == before


async def test_tools_called_several_times_in_a_turn_leave_the_first_answer_its_own(turns: Turns) -> None:
    await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
    later = [*asked(), calling("1"), result("1")]
    await turns.remember(OWNER, "panel", later, calling("2", turns={}))
    messages = [*later, calling("2"), result("2"), calling("3"), result("3")]
    assert await recalled(turns, messages) == [TURNS, {}, {}]


async def test_several_answers_of_a_turn_may_bear_something(turns: Turns) -> None:
    await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
    later = [*asked(), calling("1"), result("1")]
    await turns.remember(OWNER, "panel", later, calling("2", turns={"inner": {"nonce": "1"}}))
    messages = [*later, calling("2"), result("2")]
    assert await recalled(turns, messages) == [TURNS, {"inner": {"nonce": "1"}}]


async def test_calls_that_were_not_understood_count_and_their_order_does_not(turns: Turns) -> None:
    await turns.remember(OWNER, "panel", asked(), calling("1", invalid="2", turns=TURNS))
    assert await recalled(turns, [*asked(), calling("2", "1"), result("1")]) == [TURNS]


async def test_parts_of_content_are_known_again_whatever_their_keys_order(turns: Turns) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}}
    again = {"image_url": {"detail": "low", "url": "data:image/png;base64,AA"}, "type": "image_url"}
    await turns.remember(OWNER, "panel", asked([image]), calling("1", turns=TURNS))
    assert await recalled(turns, [*asked([again]), calling("1"), result("1")]) == [TURNS]


async def test_what_stands_before_the_question_does_not_matter(turns: Turns) -> None:
    await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
    shortened = [HumanMessage("What is 1 + 1?"), calling("1"), result("1")]
    assert await recalled(turns, shortened) == [TURNS]


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([*asked("What is 1 + 1? "), calling("1"), result("1")], id="another question"),
        pytest.param([*asked(), calling("2"), result("2")], id="another call"),
        pytest.param([*asked(), calling("1", "2"), result("1")], id="more calls"),
        pytest.param([*asked(), calling("1"), result("1"), HumanMessage("And?")], id="another turn"),
        pytest.param([*asked(), calling("1")], id="no result yet"),
        pytest.param([calling("1"), result("1")], id="no question"),
    ],
)
async def test_nothing_else_is_known_again(turns: Turns, messages: list[BaseMessage]) -> None:
    await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
    assert await recalled(turns, messages) == [{}]


async def test_nothing_goes_to_another_owner_or_another_model(turns: Turns) -> None:
    await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
    messages = [*asked(), calling("1"), result("1")]
    assert await recalled(turns, messages, STRANGER) == [{}]
    assert turns_of((await turns.recall(OWNER, "solo", messages))[2]) == {}


async def test_an_answer_that_bears_something_keeps_it(turns: Turns) -> None:
    await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
    own = {"mark": {"nonce": "9"}}
    assert await recalled(turns, [*asked(), calling("1", turns=own), result("1")]) == [own]


async def test_what_else_a_message_bears_stays(turns: Turns) -> None:
    await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
    message = calling("1", turns={})
    message.response_metadata["finish_reason"] = "tool_calls"
    found = await turns.recall(OWNER, "panel", [*asked(), message, result("1")])
    assert found[2].response_metadata == {
        "finish_reason": "tool_calls",
        "moa": {"name": "panel", "turns": TURNS},
    }


@pytest.mark.parametrize(
    ("messages", "answer"),
    [
        (asked(), AIMessage("2", response_metadata={"moa": {"turns": TURNS}})),
        (asked(), calling("1", turns={})),
        (asked(), calling("1")),
        ([result("0")], calling("1", turns=TURNS)),
    ],
)
async def test_what_nobody_goes_on_with_is_not_kept(
    shelf: Shelf, messages: list[BaseMessage], answer: AIMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    async def put(*arguments: Any) -> None:
        kept.append(arguments)

    monkeypatch.setattr(shelf, "put", put)
    await Turns(shelf).remember(OWNER, "panel", messages, answer)
    assert kept == []


async def test_a_shelf_that_fails_costs_no_answer_but_a_warning(
    turns: Turns, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> None:
        raise StoreError("the shelf fell down")

    await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
    monkeypatch.setattr(shelf, "put", fail)
    monkeypatch.setattr(shelf, "get", fail)
    messages = [*asked(), calling("1"), result("1")]
    with caplog.at_level(logging.WARNING):
        await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
        assert await turns.recall(OWNER, "panel", messages) == messages
    assert [record.getMessage().count("the shelf fell down") for record in caplog.records] == [1, 1]


@pytest.mark.parametrize("large", [{"mark": "x" * LARGEST}, {"mark": object()}])
async def test_what_cannot_be_kept_costs_no_answer(
    turns: Turns, caplog: pytest.LogCaptureFixture, large: dict[str, Any]
) -> None:
    with caplog.at_level(logging.WARNING):
        await turns.remember(OWNER, "panel", asked(), calling("1", turns=large))
    assert len(caplog.records) == 1
    assert await recalled(turns, [*asked(), calling("1"), result("1")]) == [{}]


async def test_what_is_not_what_was_kept_is_not_used(
    turns: Turns, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(_: str) -> list[int]:
        return [1]

    monkeypatch.setattr(shelf, "get", get)
    assert await recalled(turns, [*asked(), calling("1"), result("1")]) == [{}]


async def test_a_loop_of_tools_fans_out_once_a_turn_though_its_client_sends_no_metadata(turns: Turns) -> None:
    @tool
    def count(start: int) -> str:
        """Count on from a number."""
        return f"After {start} comes {start + 1}."

    proposer, actor = ScriptedChatModel("Four."), ActingChatModel(steps=3)
    model = MoAChatModel(
        spec={
            "moa": 1,
            "name": "panel",
            "models": {"a": {"model": "host:a"}, "actor": {"model": "host:actor"}},
            "layers": [{"name": "draft", "proposers": ["a"]}],
            "aggregator": {"model": "actor"},
        },
        models={"a": proposer, "actor": actor},
    ).bind_tools([count])
    messages: list[BaseMessage] = [HumanMessage("Count on from 3.")]
    for _ in range(4):
        messages = await turns.recall(OWNER, "panel", messages)
        answer = await model.ainvoke(messages)
        await turns.remember(OWNER, "panel", messages, answer)
        stripped = [
            each.model_copy(update={"response_metadata": {}, "id": None}) for each in [*messages, answer]
        ]
        results = [
            ToolMessage(count.invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls
        ]
        messages = [*stripped, *results]
    assert messages[-1].text == "Done: After 3 comes 4."
    assert (len(proposer.calls), len(actor.seen)) == (1, 4)


async def test_what_an_encrypted_store_keeps_is_not_in_plain_text_here(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELF_AES", "0123456789abcdef")
    turns = Turns(shelf, make_serializer("SHELF_AES"))
    kept: list[Any] = []
    put = shelf.put

    async def noted(name: str, value: Any, seconds: float) -> None:
        kept.append(value)
        await put(name, value, seconds)

    monkeypatch.setattr(shelf, "put", noted)
    await turns.remember(OWNER, "panel", asked(), calling("1", turns=TURNS))
    assert "draft/a" not in str(kept)
    assert await recalled(turns, [*asked(), calling("1"), result("1")]) == [TURNS]
