"""What a request asks for is run on the plain graph or in a thread, and told part by part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from moa_graph.errors import QuorumNotMet, ThreadError
from moa_graph.runs.stores import Store, open_store
from moa_graph.server.performing import Answer, Ask, Happened, Part, Performer, Piece, Place, Silence
from moa_graph.spec.schema import MoASpec
from moa_graph.terms import Terms
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel as Model

QUESTION = [HumanMessage("Why?")]
KEPT = Place("me/t", "1", {"note": 1})


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("memory:") as opened:
        yield opened


def spec(name: str = "team", **slot: Any) -> MoASpec:
    return MoASpec.model_validate(
        {
            "moa": 1,
            "name": name,
            "models": {who: {"model": f"host:{who}", **slot} for who in "az"},
            "defaults": {"attempts": 1},
            "layers": [{"name": "draft", "proposers": ["a"]}],
            "aggregator": {"model": "z"},
        }
    )


class Team:
    """Hold a performer and the models that it asks."""

    def __init__(self, store: Store, a: Any = "A draft.", z: Any = "The answer.", **slot: Any) -> None:
        self.a, self.z = Model(a), Model(z)
        self.performer = Performer([spec(**slot)], store, {"a": self.a, "z": self.z})

    async def parts(self, ask: Ask, **options: Any) -> list[Part]:
        return [part async for part in self.performer.parts(ask, **options)]

    async def answer(self, ask: Ask) -> Answer:
        return await self.performer.answer(ask)


def ask(place: Place | None = None, **options: Any) -> Ask:
    return Ask("team", QUESTION, Terms(), place, **options)


@pytest.mark.parametrize("place", [None, KEPT], ids=["plain", "kept"])
async def test_a_run_ends_with_its_answer_and_the_records_of_its_calls(
    store: Store, place: Place | None
) -> None:
    parts = await Team(store).parts(ask(place))
    *before, last = parts
    assert isinstance(last, Answer)
    assert (last.message.text, last.streamed) == ("The answer.", False)
    assert [record["id"] for record in last.records] == ["draft/a"]
    assert last.message.response_metadata["moa"]["answered_by"] == "z"
    assert all(isinstance(part, Happened) for part in before)
    assert before


@pytest.mark.parametrize("place", [None, KEPT], ids=["plain", "kept"])
async def test_pieces_of_the_answer_come_where_they_are_wanted(store: Store, place: Place | None) -> None:
    parts = await Team(store).parts(ask(place, tokens=True))
    pieces = [str(part.chunk.text) for part in parts if isinstance(part, Piece)]
    assert "".join(pieces) == "The answer."
    assert len(pieces) > 1
    assert isinstance(parts[-1], Answer)
    assert parts[-1].streamed


async def test_nothing_is_kept_without_a_place(store: Store) -> None:
    await Team(store).answer(ask())
    assert await store.keys() == []


async def test_the_same_turn_costs_nothing_again_and_has_its_records(store: Store) -> None:
    team = Team(store)
    first = await team.answer(ask(KEPT))
    parts = await team.parts(ask(KEPT, tokens=True))
    again = parts[-1]
    assert isinstance(again, Answer)
    assert (again.message.text, again.streamed) == (first.message.text, False)
    assert [record["id"] for record in again.records] == ["draft/a"]
    assert len(team.z.calls) == 1


async def test_a_turn_that_is_noted_goes_on_whatever_was_asked(store: Store) -> None:
    team = Team(store)
    await team.performer.runs("team").submit(QUESTION, thread=KEPT.thread, turn=KEPT.turn)
    place = Place(KEPT.thread, KEPT.turn, {}, resume=True)
    answer = await team.answer(Ask("team", (), Terms(), place))
    assert answer.message.text == "The answer."


async def test_a_turn_that_another_one_followed_is_not_taken_for_it(store: Store) -> None:
    team = Team(store)
    await team.answer(ask(KEPT))
    await team.answer(Ask("team", [HumanMessage("And then?")], Terms(), Place(KEPT.thread, "2", {})))
    with pytest.raises(ThreadError, match="another turn"):
        await team.answer(Ask("team", (), Terms(), Place(KEPT.thread, KEPT.turn, {}, resume=True)))


async def test_a_turn_goes_on_only_from_the_one_that_it_follows(store: Store) -> None:
    team = Team(store)
    await team.answer(ask(KEPT))
    await team.answer(ask(Place(KEPT.thread, "2", {}, after="1")))
    with pytest.raises(ThreadError, match="is not '1'"):
        await team.answer(ask(Place(KEPT.thread, "3", {}, after="1")))
    await team.performer.runs("team").delete(KEPT.thread)
    with pytest.raises(ThreadError, match="is not '2'"):
        await team.answer(ask(Place(KEPT.thread, "3", {}, after="2")))
    assert (await store.keys(), len(team.z.calls)) == ([], 2)


@pytest.mark.parametrize("place", [None, KEPT], ids=["plain", "kept"])
async def test_lone_surrogates_anywhere_in_a_request_are_replaced(store: Store, place: Place | None) -> None:
    team, actor = Team(store), ActingChatModel(steps=0)
    performer = Performer([spec()], store, {"a": team.a, "z": actor})
    call = {"name": "f", "args": {"text": "\ud800"}, "id": "c"}
    said = [*QUESTION, AIMessage("", tool_calls=[call]), ToolMessage("So.", tool_call_id="c")]
    terms = Terms(acting={"stop": ["\ud800"]})
    answer = await performer.answer(Ask("team", said, terms, place))
    assert answer.message.text == "Done: So."
    assert 'f with {"text": "\ufffd"}' in str(team.a.calls[0])
    assert actor.seen[0].options["stop"] == ["\ufffd"]


@pytest.mark.parametrize("place", [None, KEPT], ids=["plain", "kept"])
async def test_a_run_that_fails_raises_what_it_raises(store: Store, place: Place | None) -> None:
    with pytest.raises(QuorumNotMet):
        await Team(store, a=ValueError("broken")).parts(ask(place))


@pytest.mark.parametrize("place", [None, KEPT], ids=["plain", "kept"])
async def test_who_leaves_cancels_what_is_under_way(store: Store, place: Place | None) -> None:
    team = Team(store)
    begun, heard = asyncio.Event(), []
    team.z.wait = lambda: begun.set() or asyncio.Event().wait()
    async with aclosing(team.performer.parts(ask(place), listen=heard.append)) as parts:
        async for _ in parts:
            if begun.is_set():
                break
            if heard and heard[-1]["type"] == "call.started" and heard[-1]["role"] == "aggregator":
                await begun.wait()
                break
    assert team.z.cancelled == 1


async def test_silence_is_told(store: Store) -> None:
    team = Team(store)
    gate = asyncio.Event()
    team.z.wait = gate.wait
    quiet = 0
    async for part in team.performer.parts(ask(), silence=0.01):
        if isinstance(part, Silence):
            quiet += 1
            if quiet == 3:
                gate.set()
    assert quiet >= 3


async def test_what_a_run_costs_at_most_grows_with_the_conversation_in_its_thread(store: Store) -> None:
    team = Team(store, z="word " * 4000, price={"input": 1.0, "output": 1.0}, max_tokens=10)
    performer = team.performer
    first = await performer.most(ask(KEPT))
    await team.answer(ask(KEPT))
    second = await performer.most(ask(Place(KEPT.thread, "2", {})))
    assert first is not None
    assert second is not None
    assert second > first
    lowered = Ask("team", QUESTION, Terms(limits={"max_cost": first / 2}))
    assert await performer.most(lowered) == first / 2


async def test_a_cost_without_a_bound_is_unknown(store: Store) -> None:
    assert await Team(store).performer.most(ask()) is None


async def test_the_rest_of_a_turn_bounds_what_it_still_costs(store: Store) -> None:
    team = Team(store, price={"input": 1.0, "output": 1.0}, max_tokens=10)
    await team.performer.runs("team").submit(QUESTION, thread=KEPT.thread, turn=KEPT.turn)
    place = Place(KEPT.thread, KEPT.turn, {}, resume=True)
    resumed = Ask("team", (), Terms(), place)
    assert (await team.performer.most(resumed) or 0.0) > 0.0
    await team.answer(resumed)
    assert await team.performer.most(resumed) == 0.0


async def test_a_turn_that_is_noted_costs_as_much_at_most_as_one_that_is_asked_now(store: Store) -> None:
    team = Team(store, price={"input": 1.0, "output": 1.0}, max_tokens=10)
    terms = Terms(acting={"tools": [{"type": "function", "function": {"name": "f" * 9999}}]})
    now = Ask("team", QUESTION, terms, KEPT)
    before = await team.performer.most(now)
    await team.performer.runs("team").submit(QUESTION, thread=KEPT.thread, turn=KEPT.turn, terms=terms)
    assert await team.performer.most(now) == before
    bare = Ask("team", QUESTION, Terms())
    assert (before or 0.0) > 10 * (await team.performer.most(bare) or 0.0)


async def test_what_a_model_lacks_is_told_before_anybody_asks(store: Store) -> None:
    performer = Performer([spec(), spec("other")], store, {"a": Model("A draft.")})
    missing = await performer.warm_up()
    assert list(missing) == ["team", "other"]
    assert "no model is registered under the name 'z'" in missing["team"]
    assert await Team(store).performer.warm_up() == {}
