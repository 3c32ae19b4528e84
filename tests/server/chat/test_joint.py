"""The route with real mixtures behind it: in-process models, which count what they are asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from moa_graph.runs.records import read_record
from moa_graph.server.keys import Key, KeyLimits
from moa_graph.server.performing import Performer
from moa_graph.spec.schema import MoASpec
from tests.fakes.models import ScriptedChatModel
from tests.server.chat.fakes import HELLO, Played, read_stream

Play = Callable[..., Played]

TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}


class Actor(ScriptedChatModel):
    """Be a model that takes tools."""

    chosen: Any = None

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **options: Any) -> Any:
        self.chosen = tool_choice
        return self


def calling(id_: str) -> AIMessage:
    call = {"name": "look_up", "args": {"word": "moa"}, "id": id_, "type": "tool_call"}
    return AIMessage(
        "",
        tool_calls=[call],
        response_metadata={"finish_reason": "tool_calls"},
        usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    )


class Team:
    """Hold a mixture of two proposers and an aggregator, and the application that serves it."""

    def __init__(self, play: Play, *script: Any, **models: Any) -> None:
        self.models: dict[str, Any] = {
            "a": ScriptedChatModel("Draft A."),
            "b": ScriptedChatModel("Draft B."),
            "z": Actor(script=list(script) or ["The answer."]),
            **models,
        }
        self.spec = MoASpec.model_validate(
            {
                "moa": 1,
                "name": "team",
                "models": {name: {"model": f"host:{name}"} for name in self.models},
                "defaults": {"attempts": 1},
                "layers": [{"name": "draft", "proposers": ["a", "b"]}],
                "aggregator": {"model": "z"},
            }
        )
        self._play = play
        self.played = self._served()

    def _served(self) -> Played:
        store = self._play().script.store
        return self._play(performer=Performer([self.spec], store, self.models))

    def restart(self) -> None:
        """Serve anew on the same store."""
        self.played = self._served()

    def count(self, name: str) -> int:
        """Return how often a model was asked."""
        return len(self.models[name].calls)

    async def say(self, *messages: Any, headers: dict[str, str] | None = None, **parts: Any) -> Any:
        """Return the completion of a conversation; texts are a user's."""
        said = [{"role": "user", "content": each} if isinstance(each, str) else each for each in messages]
        response = await self.played.post({"model": "team", "messages": said, **parts}, headers)
        assert response.status_code == 200, response.text
        return response.json()

    def conversation(self, name: str, call: int = -1) -> list[tuple[str, str]]:
        """Return roles and texts of what a model was asked, without instructions and references."""
        return [(message.type, message.text) for message in self.models[name].calls[call]]


def text_of(completion: Any) -> str:
    text: str = completion["choices"][0]["message"]["content"]
    return text


# -- once -----------------------------------------------------------------------------------------------


async def test_a_mixture_answers_with_the_usage_of_all_its_calls(play: Play) -> None:
    team = Team(play)
    completion = await team.say("Why?", headers={"x-moa-detail": "true"})
    assert text_of(completion) == "The answer."
    assert [team.count(name) for name in "abz"] == [1, 1, 1]
    detail = completion["moa"]
    assert sorted(each["text"] for each in detail["proposals"]) == ["Draft A.", "Draft B."]
    assert (detail["answered_by"], detail["calls"], detail["counts"]) == ("z", 3, {"ok": 2})
    usage = completion["usage"]
    calls = [*detail["proposals"], *detail["others"]]
    assert usage["prompt_tokens"] == sum(each["input_tokens"] for each in calls)
    assert usage["completion_tokens"] == sum(each["output_tokens"] for each in calls) == 6


async def test_a_mixture_streams_its_answer(play: Play) -> None:
    response = await Team(play).played.post({**HELLO, "stream": True}, {"x-moa-progress": "true"})
    deltas = [chunk["choices"][0]["delta"] for chunk in read_stream(response.text)]
    assert [delta["content"] for delta in deltas if delta.get("content")] == ["The", " answer."]
    progress = "".join(delta.get("reasoning_content", "") for delta in deltas)
    assert "draft: asking 2 proposers\n" in progress
    assert "draft: 2 proposals" in progress
    assert progress.endswith("writing the answer\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_cut_at_its_limit_says_so(play: Play, stream: bool) -> None:
    cut = AIMessage("The beg", response_metadata={"finish_reason": "length"})
    team = Team(play, cut)
    response = await team.played.post({**HELLO, "max_tokens": 2, "stream": stream})
    assert response.status_code == 200
    if stream:
        chunks = read_stream(response.text)
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        reason = chunks[-1]["choices"][0]["finish_reason"]
    else:
        text, reason = text_of(response.json()), response.json()["choices"][0]["finish_reason"]
    assert (text, reason) == ("The beg", "length")


@pytest.mark.parametrize("stream", [False, True])
async def test_of_an_answer_that_a_filter_ended_nothing_is_told(play: Play, stream: bool) -> None:
    filtered = AIMessage("Secret wo", response_metadata={"finish_reason": "content_filter"})
    response = await Team(play, filtered).played.post({**HELLO, "stream": stream})
    assert response.status_code == 200
    ended = read_stream(response.text)[-1] if stream else response.json()
    assert ended["choices"][0]["finish_reason"] == "content_filter"
    if not stream:
        assert text_of(ended) == ""


async def test_an_aggregator_that_fails_is_an_error(play: Play) -> None:
    response = await Team(play, RuntimeError("secret words")).played.post(HELLO)
    assert response.status_code == 502
    assert "secret" not in response.text


async def test_tools_are_offered_to_the_aggregator_and_their_results_go_to_it_alone(play: Play) -> None:
    team = Team(play, calling("call_1"), calling("call_2"), "A bird.")
    messages: list[Any] = [{"role": "user", "content": "What is a moa?"}]
    for _ in range(2):
        completion = await team.say(*messages, tools=[TOOL], tool_choice="required")
        message = completion["choices"][0]["message"]
        assert completion["choices"][0]["finish_reason"] == "tool_calls"
        assert message["content"] is None
        (call,) = message["tool_calls"]
        assert team.models["z"].chosen == "any"
        assert json.loads(call["function"]["arguments"]) == {"word": "moa"}
        messages += [message, {"role": "tool", "tool_call_id": call["id"], "content": "Extinct."}]
    assert text_of(await team.say(*messages, tools=[TOOL])) == "A bird."
    assert [team.count(name) for name in "abz"] == [1, 1, 3]
    assert "Draft A." in str(team.models["z"].calls[-1])


# -- threads --------------------------------------------------------------------------------------------

THREAD = {"x-moa-thread": "my talk"}


async def test_an_answer_after_which_the_server_died_is_one_to_the_thread(play: Play) -> None:
    team = Team(play, "First.", "Second.")
    await team.say("One?", headers=THREAD)
    store = team.played.served.performer.store
    [thread] = await store.keys()
    record = await read_record(store, thread)
    assert record is not None
    record.turn.checkpoint, record.turn.status = None, "running"  # as it is before the answer is noted
    await record.save(store)
    talk = ["One?", {"role": "assistant", "content": "First."}, "Two?"]
    assert text_of(await team.say(*talk, headers=THREAD)) == "Second."
    assert team.conversation("a") == [("human", "One?"), ("ai", "First."), ("human", "Two?")]


async def test_a_thread_holds_the_conversation(play: Play) -> None:
    team = Team(play, "One.", "Two.", "Three.")
    await team.say({"role": "system", "content": "Be brief."}, "First?", headers=THREAD)
    await team.say({"role": "system", "content": "Be brief."}, "Second?", headers=THREAD)
    # A client that sends everything each time is understood, too.
    await team.say(
        {"role": "system", "content": "Be brief."},
        "First?",
        {"role": "assistant", "content": "One."},
        "Second?",
        {"role": "assistant", "content": "Two."},
        "Third?",
        headers=THREAD,
    )
    asked = [pair for pair in team.conversation("a") if pair[1]]
    assert asked == [
        ("system", "Be brief."),
        ("human", "First?"),
        ("ai", "One."),
        ("human", "Second?"),
        ("ai", "Two."),
        ("human", "Third?"),
    ]


async def test_a_thread_is_named_in_the_response(play: Play) -> None:
    team = Team(play)
    for stream in (False, True):
        response = await team.played.post({**HELLO, "stream": stream}, THREAD)
        assert response.headers["x-moa-thread"] == "my talk"
    assert "x-moa-thread" not in (await team.played.post(HELLO)).headers


@pytest.mark.parametrize("name", ["", " ", "a" * 101, "naïve", "two\tparts"])
async def test_an_unfit_name_of_a_thread_is_refused(play: Play, name: str) -> None:
    played = play()
    headers: Any = [(b"x-moa-thread", name.encode("latin-1"))]
    error = await played.refused(HELLO, headers)
    assert error["param"] == "x-moa-thread"


async def test_keys_have_threads_of_their_own(play: Play) -> None:
    class TwoKeys:
        def find(self, authorization: str | None) -> Key:
            return Key(str(authorization), "somebody", KeyLimits())

    team = Team(play, "One.", "Two.", "Three.")
    team.played = play(performer=team.played.served.performer, keys=TwoKeys())
    await team.say("My secret?", headers={**THREAD, "authorization": "one"})
    await team.say("What did I ask?", headers={**THREAD, "authorization": "two"})
    assert "secret" not in str(team.models["z"].calls[-1])
    await team.say("And I?", headers={**THREAD, "authorization": "one"})
    assert "secret" in str(team.models["z"].calls[-1])


async def test_what_has_no_new_message_is_refused_in_a_thread(play: Play) -> None:
    team = Team(play)
    await team.say("First?", headers=THREAD)
    body = {
        "model": "team",
        "messages": [{"role": "assistant", "content": "One."}, {"role": "system", "content": "Now."}],
    }
    assert (await team.played.refused(body, THREAD))["param"] == "messages"


async def test_a_question_that_failed_is_not_part_of_the_thread(play: Play) -> None:
    team = Team(play, RuntimeError("no"), "Two.")
    system = {"role": "system", "content": "Be brief."}
    response = await team.played.post({"model": "team", "messages": [system, *HELLO["messages"]]}, THREAD)
    assert response.status_code == 502
    await team.say(system, "Second?", headers=THREAD)
    assert team.conversation("a") == [("system", "Be brief."), ("human", "Second?")]


async def test_tools_go_on_in_a_thread(play: Play) -> None:
    team = Team(play, calling("call_1"), "A bird.")
    await team.say("What is a moa?", tools=[TOOL], headers=THREAD)
    result = {"role": "tool", "tool_call_id": "call_1", "content": "Extinct."}
    assert text_of(await team.say(result, tools=[TOOL], headers=THREAD)) == "A bird."
    assert [team.count(name) for name in "abz"] == [1, 1, 2]


# -- once and no more -----------------------------------------------------------------------------------

ONCE = {"idempotency-key": "7f3"}


async def test_a_request_that_is_repeated_has_its_answer_and_pays_nothing(play: Play) -> None:
    team = Team(play, "One.", "Two.")
    first = await team.say("Why?", headers=ONCE)
    team.restart()
    again = await team.say("Why?", headers=ONCE)
    assert text_of(again) == "One."
    assert (again["id"], again["usage"]) == (first["id"], first["usage"])
    assert [team.count(name) for name in "abz"] == [1, 1, 1]


async def test_a_repeated_request_may_be_streamed_this_time(play: Play) -> None:
    team = Team(play, "One.", "Two.")
    await team.say("Why?", headers=ONCE)
    body = {"model": "team", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
    chunks = read_stream((await team.played.post(body, ONCE)).text)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "One."
    assert team.count("z") == 1


@pytest.mark.parametrize("other", [{"temperature": 1}, {"messages": [{"role": "user", "content": "How?"}]}])
@pytest.mark.parametrize("headers", [ONCE, {**ONCE, **THREAD}])
async def test_a_key_stands_for_one_request(play: Play, headers: dict[str, str], other: Any) -> None:
    team = Team(play)
    assert (await team.played.post(HELLO, headers)).status_code == 200
    response = await team.played.post({**HELLO, **other}, headers)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "idempotency_key_reused"
    assert team.count("z") == 1


async def test_a_repeated_request_in_a_thread_is_the_same_turn(play: Play) -> None:
    team = Team(play, "One.", "Two.", "Three.")
    system = {"role": "system", "content": "Be brief."}
    await team.say(system, "First?", headers={**THREAD, **ONCE})
    assert text_of(await team.say(system, "First?", headers={**THREAD, **ONCE})) == "One."
    await team.say(system, "Second?", headers={**THREAD, "idempotency-key": "8"})
    assert text_of(await team.say(system, "Second?", headers={**THREAD, "idempotency-key": "8"})) == "Two."
    assert text_of(await team.say(system, "First?", headers={**THREAD, **ONCE})) == "One."
    assert team.count("z") == 2


async def test_a_repeated_request_waits_for_the_first(play: Play) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await go.wait()

    team = Team(play, z=Actor(script=["One.", "Two."], wait=wait))
    both = [asyncio.ensure_future(team.say("Why?", headers=ONCE)) for _ in range(2)]
    await asyncio.wait_for(asked.wait(), 20)
    go.set()
    assert [text_of(each) for each in await asyncio.gather(*both)] == ["One.", "One."]
    assert team.count("z") == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_an_unfit_key_is_refused(play: Play, key: str) -> None:
    error = await play().refused(HELLO, {"idempotency-key": key})
    assert (error["param"], error["code"]) == ("Idempotency-Key", "invalid_value")
