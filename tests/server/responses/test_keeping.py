"""Responses that are kept: gone on from, given again, taken away, and run in the background."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.messages import BaseMessage

from moa_graph.errors import SpecMismatch, StoreError
from moa_graph.models.failures import ProviderError
from moa_graph.runs.records import ThreadRecord, read_record
from moa_graph.runs.stores import Store
from moa_graph.server.keys import KeyLimits, add_key
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel
from tests.server.responses.desk import ADD, Desk, desk, team

WHY: Any = {"model": "team", "input": "Why?"}


def refusal() -> ProviderError:
    return ProviderError("no", status_code=400)


def echoing() -> ScriptedChatModel:
    """Return a model that repeats the questions of its conversation."""

    def reply(messages: Any) -> str:
        return " ".join(str(message.text) for message in messages if message.type == "human")

    return ScriptedChatModel(reply)


def text(response: dict[str, Any]) -> str:
    return str(response["output"][-1]["content"][0]["text"])


def seen(one: Desk, call: int = -1) -> list[tuple[str, str]]:
    """Return what the proposer saw of the conversation."""
    messages: list[BaseMessage] = one.models["p"].calls[call]
    return [(message.type, str(message.text)) for message in messages]


async def after(one: Desk, response: dict[str, Any], question: str, **more: Any) -> dict[str, Any]:
    body = {"input": question, "previous_response_id": response["id"], **more}
    return await one.post(body)


async def test_a_response_is_kept_as_it_was_told() -> None:
    async with desk() as one:
        told = await one.post(
            {"input": "What is 2 + 3?", "tools": [ADD], "metadata": {"a": "b"}, "user": "me"}
        )
        assert await one.get(told["id"]) == told
        retrieved = await one.client().responses.retrieve(told["id"])
        assert retrieved.output[0].type == "function_call"


async def test_what_is_not_to_be_kept_is_not_found() -> None:
    async with desk() as one:
        told = await one.post({"input": "Why?", "store": False})
        assert (await one.ask("GET", f"/{told['id']}"))[0] == 404
        assert await one.served.performer.store.keys() == []


async def test_a_foreign_response_is_not_found(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    anne, ben = add_key(file, "anne", KeyLimits()), add_key(file, "ben", KeyLimits())
    async with desk(keys=file) as one:
        told = await one.client(anne).responses.create(**WHY)
        assert (await one.client(anne).responses.retrieve(told.id)).id == told.id
        foreign = one.client(ben).responses
        for attempt in (
            foreign.retrieve(told.id),
            foreign.delete(told.id),
            foreign.cancel(told.id),
            foreign.create(**WHY, previous_response_id=told.id),
        ):
            with pytest.raises(openai.NotFoundError) as error:
                await attempt
            assert "anne" not in error.value.message
        assert one.calls("z") == 1


@pytest.mark.parametrize("id_", ["resp_1", f"resp_{'0' * 32}_{'0' * 16}"])
async def test_an_unknown_response_is_not_found(id_: str) -> None:
    async with desk() as one:
        for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel")]:
            status, data = await one.ask(method, f"/{id_}{path}", {} if method == "POST" else None)
            assert (status, data["error"]["code"]) == (404, "response_not_found")
        status, error = await one.refused({"previous_response_id": id_})
        assert (status, error["code"], error["param"]) == (
            404,
            "previous_response_not_found",
            "previous_response_id",
        )


async def test_another_turn_of_a_known_thread_is_not_found() -> None:
    async with desk() as one:
        told = await one.post(WHY)
        other = told["id"][:-16] + "0" * 16
        assert (await one.ask("GET", f"/{other}"))[0] == 404
        assert (await one.ask("DELETE", f"/{other}"))[0] == 404


async def test_a_thread_that_holds_no_response_is_none() -> None:
    async with desk() as one:
        runs = one.served.performer.runs("team")
        await runs.start("Why?", thread=f"local/resp/{'a' * 32}", turn="b" * 16)
        assert (await one.ask("GET", f"/resp_{'a' * 32}_{'b' * 16}"))[0] == 404


async def test_a_stream_of_what_is_kept_is_refused() -> None:
    async with desk() as one:
        told = await one.post(WHY)
        status, data = await one.ask("GET", f"/{told['id']}?stream=true")
        assert (status, data["error"]["param"]) == (400, "stream")


async def test_responses_go_on_from_each_other_in_one_thread() -> None:
    async with desk(z=echoing()) as one:
        first = await one.post({"input": "One."})
        second = await after(one, first, "Two.")
        third = await after(one, second, "Three.")
        assert text(third) == "One. Two. Three."
        assert third["previous_response_id"] == second["id"]
        assert len(await one.served.performer.store.keys()) == 1
        assert [await one.get(each["id"]) for each in (first, second, third)] == [first, second, third]


async def test_two_responses_may_go_on_from_one_and_neither_sees_the_other() -> None:
    async with desk(z=echoing()) as one:
        first = await one.post({"input": "One."})
        left = await after(one, first, "Left.")
        right = await after(one, first, "Right.")
        assert (text(left), text(right)) == ("One. Left.", "One. Right.")
        assert text(await after(one, left, "On.")) == "One. Left. On."
        assert text(await after(one, right, "On.")) == "One. Right. On."
        assert await one.get(right["id"]) == right
        assert len(await one.served.performer.store.keys()) == 2


async def test_many_responses_that_go_on_from_one_at_once_do_not_see_each_other() -> None:
    async with desk(z=echoing()) as one:
        first = await one.post({"input": "One."})
        questions = [f"Branch {number}." for number in range(6)]
        found = await asyncio.gather(*(after(one, first, question) for question in questions))
        assert [text(each) for each in found] == [f"One. {question}" for question in questions]


async def test_a_response_goes_on_from_one_before_the_last() -> None:
    async with desk(z=echoing()) as one:
        first = await one.post({"input": "One."})
        second = await after(one, first, "Two.")
        await after(one, second, "Three.")
        assert text(await after(one, second, "Else.")) == "One. Two. Else."


async def test_a_fork_calls_nobody_again() -> None:
    async with desk() as one:
        first = await one.post({"input": "One."})
        await after(one, first, "Left.")
        await after(one, first, "Right.")
        assert one.calls("p") == 3


async def test_outputs_of_functions_go_on_in_a_fork_with_the_references_of_their_turn() -> None:
    async with desk() as one:
        first = await one.post({"input": "What is 2 + 3?", "tools": [ADD]})
        item = {"type": "function_call_output", "call_id": first["output"][0]["call_id"]}
        for value in ("5", "6"):
            told = await one.post(
                {"input": [{**item, "output": value}], "previous_response_id": first["id"], "tools": [ADD]}
            )
            assert text(told) == f"Done: {value}"
        assert one.calls("p") == 1


async def test_a_call_that_waits_for_its_output_gets_it_or_the_request_is_refused() -> None:
    async with desk() as one:
        first = await one.post({"input": "What is 2 + 3?", "tools": [ADD]})
        status, error = await one.refused({"input": "Well?", "previous_response_id": first["id"]})
        assert (status, error["param"]) == (400, "input")
        assert one.calls("p") == 1


async def test_instructions_are_said_once() -> None:
    async with desk() as one:
        first = await one.post({"input": "One.", "instructions": "Be brief."})
        second = await after(one, first, "Two.", instructions="Be brief.")
        assert [kind for kind, _ in seen(one)] == ["system", "human", "ai", "human"]
        third = await after(one, second, "Three.")
        assert [kind for kind, _ in seen(one)] == ["system", "human", "ai", "human", "ai", "human"]
        assert third["instructions"] is None


async def test_other_instructions_come_before_what_is_asked_next() -> None:
    async with desk() as one:
        first = await one.post({"input": "One.", "instructions": "Be brief."})
        await after(one, first, "Two.", instructions="Be kind.")
        assert seen(one)[-2:] == [("system", "Be kind."), ("human", "Two.")]


async def test_other_instructions_in_a_tool_loop_ask_no_proposer_again() -> None:
    async with desk() as one:
        asked = await one.post({"input": "What is 2 + 3?", "tools": [ADD], "instructions": "It is ten."})
        output = {"type": "function_call_output", "call_id": asked["output"][0]["call_id"], "output": "5"}
        answer = await one.post(
            {
                "input": [output],
                "tools": [ADD],
                "instructions": "It is eleven.",
                "previous_response_id": asked["id"],
            }
        )
        assert answer["output"][-1]["type"] == "message"
        assert (one.calls("p"), one.calls("z")) == (1, 2)


async def test_a_response_of_another_model_is_no_beginning() -> None:
    async with desk([team(), team("other")]) as one:
        first = await one.post(WHY)
        status, error = await one.refused({"model": "other", "previous_response_id": first["id"]})
        assert (status, error["param"]) == (400, "previous_response_id")


async def test_what_goes_on_from_a_response_is_kept_with_it() -> None:
    async with desk() as one:
        first = await one.post(WHY)
        status, error = await one.refused({"store": False, "previous_response_id": first["id"]})
        assert (status, error["param"]) == (400, "store")


async def test_a_response_without_an_answer_is_no_beginning() -> None:
    async with desk(p=ScriptedChatModel(refusal())) as one:
        failed = (await one.streamed({"input": "Why?"}))[-1]["response"]
        status, error = await one.refused({"previous_response_id": failed["id"]})
        assert (status, error["code"]) == (409, "previous_response_not_answered")
        assert "failed" in error["message"]


async def test_a_changed_spec_does_not_go_on_with_a_thread(tmp_path: Path) -> None:
    settings = {"db": f"sqlite:///{tmp_path / 'moa.db'}"}
    async with desk(settings=settings) as one:
        first = await one.post(WHY)
        branch = await after(one, first, "Left.")
    async with desk([team(limits={"max_calls": 9})], settings=settings) as one:
        assert await one.get(branch["id"]) == branch
        for response in (first, branch):
            status, error = await one.refused({"previous_response_id": response["id"]})
            assert (status, error["code"]) == (409, "spec_changed")
        assert one.calls("p") == 0


# -- the same request twice -------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
async def test_a_request_that_is_repeated_has_the_same_response_and_pays_nothing(kept: bool) -> None:
    async with desk() as one:
        body = {"input": "Why?", "store": kept}
        first = await one.post(body, Idempotency_Key="once")
        again = await one.post(body, Idempotency_Key="once")
        streamed = await one.streamed(body, Idempotency_Key="once")
        assert again == first
        assert {**streamed[-1]["response"]} == first
        assert (one.calls("p"), one.calls("z")) == (1, 1)
        assert (await one.ask("GET", f"/{first['id']}"))[0] == (200 if kept else 404)


async def test_an_idempotency_key_is_for_one_request() -> None:
    async with desk() as one:
        await one.post(WHY, Idempotency_Key="once")
        status, error = await one.refused({"input": "What else?"}, Idempotency_Key="once")
        assert (status, error["code"]) == (422, "idempotency_key_reused")


async def test_an_idempotency_key_is_for_one_request_wherever_that_would_go() -> None:
    async with desk() as one:
        first, other = await one.post({"input": "One."}), await one.post({"input": "Other."})
        body = {"input": "Two.", "previous_response_id": first["id"]}
        told = await one.post(body, Idempotency_Key="two")
        calls = one.calls("p")
        others = ({"previous_response_id": other["id"]}, {"previous_response_id": None}, {"store": True})
        for change in others:
            status, error = await one.refused({**body, **change}, Idempotency_Key="two")
            assert (status, error["code"]) == (422, "idempotency_key_reused")
        assert one.calls("p") == calls
        assert await one.post(body, Idempotency_Key="two") == told


async def test_a_repeated_request_that_goes_on_from_another_stays_where_it_was() -> None:
    async with desk(z=echoing()) as one:
        first = await one.post({"input": "One."})
        body = {"input": "Two.", "previous_response_id": first["id"]}
        second = await one.post(body, Idempotency_Key="two")
        assert await one.post(body, Idempotency_Key="two") == second
        branch = await one.post(body, Idempotency_Key="branch")
        assert await one.post(body, Idempotency_Key="branch") == branch
        assert branch["id"] != second["id"]
        assert one.calls("z") == 3


async def test_after_a_failure_a_repeated_request_pays_only_for_the_rest() -> None:
    async with desk(z=ScriptedChatModel(refusal(), "At last.")) as one:
        status, _ = await one.refused({}, Idempotency_Key="once")
        assert status == 502
        assert text(await one.post(WHY, Idempotency_Key="once")) == "At last."
        assert one.calls("p") == 1


async def test_a_claim_of_a_request_that_never_began_is_taken_up_by_its_repetition() -> None:
    limits = {"limits": KeyLimits(requests_per_minute=2)}
    async with desk(z=echoing(), settings=limits) as one:
        first = await one.post({"input": "One."})
        await one.post({"input": "Other."})
        body = {"input": "Two.", "previous_response_id": first["id"]}
        assert (await one.refused(body, Idempotency_Key="two"))[0] == 429
        # The same request would go on in the thread, and another one in a fork.
        one.served.keys._default = KeyLimits()
        assert text(await one.post(body, Idempotency_Key="two")) == "One. Two."
        assert len(await one.served.performer.store.keys()) == 2


async def test_a_fork_that_was_made_before_a_crash_is_used() -> None:
    limits = {"limits": KeyLimits(requests_per_minute=2)}
    async with desk(z=echoing(), settings=limits) as one:
        first = await one.post({"input": "One."})
        await after(one, first, "Left.")
        body = {"input": "Right.", "previous_response_id": first["id"]}
        assert (await one.refused(body, Idempotency_Key="right"))[0] == 429
        assert len(await one.served.performer.store.keys()) == 2
        one.served.keys._default = KeyLimits()
        assert text(await one.post(body, Idempotency_Key="right")) == "One. Right."
        assert len(await one.served.performer.store.keys()) == 2


async def test_a_fork_that_was_begun_before_a_crash_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    save = ThreadRecord.save

    async def dies(self: ThreadRecord, store: Store) -> None:
        await save(self, store)
        if self.origin:
            raise StoreError("away")

    async with desk(z=echoing()) as one:
        first = await one.post({"input": "One."})
        await after(one, first, "Left.")
        body = {"input": "Right.", "previous_response_id": first["id"]}
        with monkeypatch.context() as patched:
            patched.setattr(ThreadRecord, "save", dies)
            assert (await one.refused(body, Idempotency_Key="right"))[0] == 503
        assert len(await one.served.performer.store.keys()) == 2
        assert text(await one.post(body, Idempotency_Key="right")) == "One. Right."
        assert len(await one.served.performer.store.keys()) == 2


@pytest.mark.parametrize("background", [False, True])
async def test_nothing_goes_on_from_a_response_that_was_taken_away_meanwhile(background: bool) -> None:
    held, begun = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await held.wait()

    async with desk(settings={"at_once": 1}) as one:
        first = await one.post({"input": "One."})
        one.models["p"].wait = wait
        async with asyncio.TaskGroup() as group, asyncio.timeout(10):
            busy = group.create_task(one.post({"input": "Busy."}))
            await begun.wait()
            body = {"input": "Two.", "previous_response_id": first["id"], "background": background}
            waiting = group.create_task(one.refused(body))
            while not one.served.limiter.waiting:  # noqa: ASYNC110 -- some turns of the loop
                await asyncio.sleep(0)
            assert (await one.ask("DELETE", f"/{first['id']}"))[0] == 200
            held.set()
            await busy
            status, error = await waiting
        assert (status, error["code"]) == (409, "thread_error")
        assert one.calls("p") == 2


async def test_a_models_fork_does_not_let_it_run_another_models_threads() -> None:
    async with desk([team("cheap"), team("dear")]) as one:
        first = await one.post({"model": "dear", "input": "One."}, X_MoA_Thread="t")
        for question in ("Left.", "Right."):
            await after(one, first, question, model="dear")
        status, error = await one.refused({"model": "cheap", "previous_response_id": first["id"]})
        assert (status, error["param"]) == (400, "previous_response_id")
        record = await read_record(one.served.performer.store, f"local/resp/{first['id'].split('_')[1]}")
        assert record is not None
        with pytest.raises(SpecMismatch):
            await one.served.performer.runs("cheap").start("Mine?", thread=record.thread)


async def test_a_request_that_is_sent_several_times_at_once_is_one_fork(tmp_path: Path) -> None:
    async with desk(z=echoing(), settings={"db": f"sqlite:///{tmp_path}/moa.db"}) as one:
        first = await one.post({"input": "One."})
        await after(one, first, "Left.")
        body = {"input": "Right.", "previous_response_id": first["id"]}
        told = await asyncio.gather(*(one.post(body, Idempotency_Key="right") for _ in range(4)))
        assert len({response["id"] for response in told}) == 1
        assert {text(response) for response in told} == {"One. Right."}
        assert len(await one.served.performer.store.keys()) == 2


# -- taking away ------------------------------------------------------------------------------------------


async def test_a_response_is_taken_away_with_its_thread() -> None:
    async with desk() as one:
        told = await one.post(WHY)
        assert await one.ask("DELETE", f"/{told['id']}") == (
            200,
            {"id": told["id"], "object": "response", "deleted": True},
        )
        assert await one.served.performer.store.keys() == []
        assert (await one.ask("GET", f"/{told['id']}"))[0] == 404


async def test_openais_client_takes_a_response_away() -> None:
    async with desk() as one:
        told = await one.post(WHY)
        await one.client().responses.delete(told["id"])
        assert (await one.ask("DELETE", f"/{told['id']}"))[0] == 404


async def test_responses_that_share_a_thread_are_taken_away_together_or_not_at_all() -> None:
    async with desk() as one:
        first = await one.post(WHY)
        second = await after(one, first, "And?")
        for response in (first, second):
            status, data = await one.ask("DELETE", f"/{response['id']}")
            assert (status, data["error"]["code"]) == (409, "response_in_use")
        assert (await one.ask("DELETE", f"/{first['id']}?thread=true"))[0] == 200
        assert (await one.ask("GET", f"/{second['id']}"))[0] == 404


async def test_a_branch_is_taken_away_alone() -> None:
    async with desk() as one:
        first = await one.post(WHY)
        left, right = await after(one, first, "Left."), await after(one, first, "Right.")
        assert (await one.ask("DELETE", f"/{right['id']}"))[0] == 200
        assert await one.get(left["id"]) == left


# -- in the background ------------------------------------------------------------------------------------


async def ended(one: Desk, id_: str) -> dict[str, Any]:
    """Return a background response once it is at its end."""
    response = await one.get(id_)
    async with asyncio.timeout(10):
        while response["status"] in ("queued", "in_progress"):
            await asyncio.sleep(0.01)
            response = await one.get(id_)
    return response


async def test_a_background_response_is_answered_later() -> None:
    held = asyncio.Event()
    async with desk(p=ScriptedChatModel("A proposal.", wait=held.wait)) as one:
        told = await one.post({"input": "Why?", "background": True})
        assert (told["status"], told["background"], told["output"]) == ("queued", True, [])
        assert (await one.get(told["id"]))["status"] in ("queued", "in_progress")
        held.set()
        response = await ended(one, told["id"])
        assert (response["status"], text(response)) == ("completed", "An answer to: Why?")
        assert response["created_at"] == told["created_at"]


async def test_a_background_response_keeps_its_terms() -> None:
    async with desk() as one:
        told = await one.post({"input": "What is 2 + 3?", "tools": [ADD], "background": True})
        response = await ended(one, told["id"])
        assert response["output"][0]["name"] == "add"
        item = {"type": "function_call_output", "call_id": response["output"][0]["call_id"], "output": "5"}
        next_ = await one.post(
            {"input": [item], "previous_response_id": told["id"], "tools": [ADD], "background": True}
        )
        assert text(await ended(one, next_["id"])) == "Done: 5"
        assert one.calls("p") == 1


async def test_an_answer_in_the_background_is_no_longer_than_the_spec_allows() -> None:
    capped = team(aggregator={"model": "z", "max_tokens": 100})
    async with desk([capped]) as one:
        for background in (False, True):
            told = await one.post({"input": "Why?", "max_output_tokens": 99_999, "background": background})
            await ended(one, told["id"])
        assert [seen.options["max_tokens"] for seen in one.models["z"].seen] == [100, 100]


@pytest.mark.parametrize("background", [False, True])
async def test_what_a_vote_cannot_do_is_refused_before_it_is_kept(background: bool) -> None:
    voting = team(aggregator={"reduce": "vote", "extract": {"by": "number"}})
    async with desk([voting]) as one:
        status, error = await one.refused({"tools": [ADD], "background": background})
        assert (status, error["param"], error["code"]) == (400, "tools", "unsupported_parameter")
        assert await one.served.performer.store.keys() == []


async def test_a_background_request_that_is_repeated_runs_once() -> None:
    async with desk() as one:
        body = {"input": "Why?", "background": True}
        first = await one.post(body, Idempotency_Key="once")
        assert (await one.post(body, Idempotency_Key="once"))["id"] == first["id"]
        response = await ended(one, first["id"])
        assert await one.post(body, Idempotency_Key="once") == response
        assert one.calls("p") == 1


async def test_whoever_comes_back_may_wait_for_a_background_response() -> None:
    async with desk() as one:
        first = await one.post({"input": "Why?", "background": True}, Idempotency_Key="once")
        told = await one.post({"input": "Why?"}, Idempotency_Key="once")
        assert (told["id"], told["status"]) == (first["id"], "completed")
        assert one.calls("p") == 1


async def test_a_background_response_that_fails_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with desk(p=ScriptedChatModel(refusal())) as one:
        told = await one.post({"input": "Why?", "background": True})
        response = await ended(one, told["id"])
        assert response["status"] == "failed"
        assert "draft/p" in response["error"]["message"]
    assert "QuorumNotMet" in caplog.text


async def test_a_background_response_is_cancelled_for_good() -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await never.wait()

    async with desk(p=ScriptedChatModel("A proposal.", wait=wait)) as one:
        body = {"input": "Why?", "background": True}
        told = await one.post(body, Idempotency_Key="once")
        async with asyncio.timeout(5):
            await begun.wait()
        client = one.client().responses
        assert (await client.cancel(told["id"])).status == "cancelled"
        assert (await client.cancel(told["id"])).status == "cancelled"
        assert (await one.get(told["id"]))["status"] == "cancelled"
        assert (await one.post(body, Idempotency_Key="once"))["status"] == "cancelled"
        assert one.models["p"].cancelled == 1


async def test_a_stream_of_a_cancelled_response_is_refused() -> None:
    async with desk(p=ScriptedChatModel("A proposal.", wait=asyncio.Event().wait)) as one:
        body = {"input": "Why?", "background": True}
        told = await one.post(body, Idempotency_Key="once")
        assert (await one.ask("POST", f"/{told['id']}/cancel", {}))[0] == 200
        status, error = await one.refused({"input": "Why?", "stream": True}, Idempotency_Key="once")
        assert (status, error["code"]) == (409, "response_cancelled")


async def test_a_background_response_that_somebody_took_over_and_left_is_gone_on_with() -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        if one.models["z"].cancelled == 0:
            await never.wait()

    async with desk(z=ScriptedChatModel(refusal(), "At last.")) as one:
        told = await one.post({"input": "Why?", "background": True}, Idempotency_Key="once")
        assert (await ended(one, told["id"]))["status"] == "failed"
        one.models["z"].wait = wait
        waiting = asyncio.create_task(one.post({"input": "Why?"}, Idempotency_Key="once"))
        async with asyncio.timeout(5):
            await begun.wait()
        waiting.cancel()
        await asyncio.wait({waiting})
        assert (await ended(one, told["id"]))["status"] == "completed"


async def test_a_response_that_has_ended_is_cancelled_no_more() -> None:
    async with desk() as one:
        told = await one.post({"input": "Why?", "background": True})
        response = await ended(one, told["id"])
        assert (await one.ask("POST", f"/{told['id']}/cancel", {})) == (200, response)


async def test_only_a_background_response_can_be_cancelled() -> None:
    async with desk() as one:
        told = await one.post(WHY)
        status, data = await one.ask("POST", f"/{told['id']}/cancel", {})
        assert (status, data["error"]["type"]) == (400, "invalid_request_error")


async def test_a_run_that_was_interrupted_is_told_as_failed_and_goes_on_when_asked_again() -> None:
    async with desk(z=ActingChatModel()) as one:
        begun, never = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            begun.set()
            if one.models["p"].cancelled == 0:
                await never.wait()

        one.models["p"].wait = wait
        asking = asyncio.create_task(one.post(WHY, Idempotency_Key="once"))
        async with asyncio.timeout(5):
            await begun.wait()
        [thread] = await one.served.performer.store.keys()
        record = await read_record(one.served.performer.store, thread)
        assert record is not None
        id_ = f"resp_{thread.rpartition('/')[2]}_{record.turn.id}"
        assert (await one.get(id_))["status"] == "in_progress"
        asking.cancel()
        await asyncio.wait({asking})
        assert (await one.get(id_))["status"] == "failed"
        assert text(await one.post(WHY, Idempotency_Key="once")) == "An answer to: Why?"


@pytest.mark.postgres
async def test_on_postgres_responses_are_kept_branched_run_in_the_background_and_taken_away(
    database: str,
) -> None:
    async with desk(settings={"db": database}, z=echoing()) as one:
        first = await ended(one, (await one.post({"input": "One.", "background": True}))["id"])
        branches = await asyncio.gather(*(after(one, first, f"Branch {number}.") for number in range(3)))
        assert [text(each) for each in branches] == [f"One. Branch {number}." for number in range(3)]
        for branch in branches:
            assert await one.get(branch["id"]) == branch
            assert (await one.ask("DELETE", f"/{branch['id']}?thread=true"))[0] == 200
        assert await one.served.performer.store.keys() == []
