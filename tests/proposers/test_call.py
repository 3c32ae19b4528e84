"""One call over real HTTP: every fault becomes the right record, and costs no more requests than it may."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from moa_graph.errors import AggregatorFailed, DeadlineExceeded, QuorumNotMet
from moa_graph.graph import build_graph
from moa_graph.state import Proposal
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.specs import moa_spec

QUESTION: Any = {"messages": [("user", "Why is the sky blue?")]}

# behaviour → kind of failure, requests with attempts = 3, HTTP status
FAULTS: dict[str, tuple[str, int, int | None]] = {
    "500": ("server_error", 3, 500),
    "502-html": ("server_error", 3, 502),
    "408": ("timeout", 3, 408),
    "409": ("server_error", 3, 409),
    "429": ("rate_limited", 3, 429),
    "429-retry-after-0": ("rate_limited", 3, 429),
    "429-retry-after-3600": ("rate_limited", 1, 429),
    "quota": ("quota_exhausted", 1, 429),
    "400": ("bad_request", 1, 400),
    "401": ("auth", 1, 401),
    "403": ("auth", 1, 403),
    "404": ("not_found", 1, 404),
    "422": ("bad_request", 1, 422),
    "context-openai": ("context_overflow", 1, 400),
    "context-vllm": ("context_overflow", 1, 400),
    "redirect": ("bad_request", 1, 307),
    "html-200": ("malformed", 3, None),
    "bad-json": ("malformed", 3, None),
    "error-200": ("server_error", 3, None),
    "error-200-429": ("rate_limited", 3, 429),
    "no-choices": ("malformed", 3, None),
    "empty-choices": ("malformed", 3, None),
    "null-choices": ("malformed", 3, None),
    "null-message": ("malformed", 3, None),
    "empty": ("empty", 3, None),
    "blank": ("empty", 3, None),
    "null-content": ("empty", 3, None),
    "reasoning-only": ("empty", 3, None),
    "think-unclosed": ("empty", 3, None),
    "refusal": ("refused", 1, None),
    "filter": ("filtered", 1, None),
    "length": ("truncated", 1, None),
    "tool-call": ("tool_call", 1, None),
    "tool-call-with-text": ("tool_call", 1, None),
    "cut-dirty": ("connection", 3, None),
    "reset": ("connection", 3, None),
    "gzip-bomb": ("too_long", 1, None),
}

# In a stream some faults look different.
STREAMED: dict[str, tuple[str, int, int | None]] = {
    "null-message": ("empty", 3, None),
    "stream-error": ("server_error", 3, None),
    "bad-chunk": ("malformed", 3, None),
    "cut-clean": ("truncated", 3, None),
}


async def ask(
    server: FakeOpenAI, members: list[Any], final: Any = "ok@z", *, stream: bool = False, **parts: Any
) -> Any:
    """Run one layer of `members` and an aggregator; with `stream`, as a caller who listens to tokens."""
    graph = build_graph(
        moa_spec(server.base_url, [{"name": "draft", "proposers": members}], final, **parts)
    ).compile()
    if not stream:
        return await graph.ainvoke(QUESTION)
    state = None
    async for mode, value in graph.astream(QUESTION, stream_mode=["messages", "values"]):
        state = value if mode == "values" else state
    return state


async def fault(server: FakeOpenAI, behaviour: Any, *, stream: bool = False, **parts: Any) -> Proposal:
    """Return the record of a faulty proposer beside a sound one; the answer must not know of it."""
    state = await ask(server, [behaviour, "ok@sound"], stream=stream, **parts)
    assert state["status"] == "answered"
    faulty, sound = state["proposals"].values()
    assert sound["status"] == "ok"
    [final] = server.of("ok@z")
    system = final.messages[0]["content"]
    assert system.endswith(f"Responses from models:\n1. {sound['text']}")
    return faulty


def check(
    record: Proposal, server: FakeOpenAI, behaviour: str, expected: tuple[str, int, int | None]
) -> None:
    kind, requests, status = expected
    failure = record["failure"]
    assert failure is not None
    assert (record["status"], failure["kind"], failure["status_code"]) == ("failed", kind, status)
    assert server.count(behaviour) == requests == record["attempts"]
    assert failure["message"]


@pytest.mark.parametrize("behaviour", FAULTS)
async def test_every_fault_is_classified_and_reaches_no_prompt(server: FakeOpenAI, behaviour: str) -> None:
    check(await fault(server, behaviour), server, behaviour, FAULTS[behaviour])


@pytest.mark.parametrize("behaviour", FAULTS | STREAMED)
async def test_every_fault_is_classified_in_a_stream_too(server: FakeOpenAI, behaviour: str) -> None:
    record = await fault(server, behaviour, stream=True)
    check(record, server, behaviour, (FAULTS | STREAMED)[behaviour])


async def test_refused_connection_is_a_connection_failure() -> None:
    gone = "http://127.0.0.1:9/v1"
    graph = build_graph(moa_spec(gone, [["ok"]], "ok")).compile()
    with pytest.raises(QuorumNotMet) as raised:
        await graph.ainvoke(QUESTION)
    [record] = raised.value.proposals
    assert (record["failure"]["kind"], record["attempts"], record["usage"]) == ("connection", 3, None)
    assert f"{gone}/chat/completions: check base_url" in record["failure"]["message"]
    assert "[Errno " in record["failure"]["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("behaviour", ["hang", "drip"])
async def test_a_hang_or_a_drip_ends_with_the_attempts_timeout(
    server: FakeOpenAI, behaviour: str, stream: bool
) -> None:
    record = await fault(server, {"model": behaviour, "timeout": 0.7, "attempts": 2}, stream=stream)
    check(record, server, behaviour, ("timeout", 2, None))
    assert await server.disconnected(behaviour, 2)


async def test_an_endless_stream_is_cut_off_at_the_output_limit(server: FakeOpenAI) -> None:
    record = await fault(server, "endless", stream=True, limits={"max_output_chars": 300})
    check(record, server, "endless", ("too_long", 1, None))
    assert len(record["text"]) == 300
    assert await server.disconnected("endless")


async def test_a_whole_answer_beyond_the_output_limit_is_cut_off_with_a_failure(server: FakeOpenAI) -> None:
    record = await fault(server, "long-500", limits={"max_output_chars": 300})
    check(record, server, "long-500", ("too_long", 1, None))
    assert len(record["text"]) == 300


async def test_a_cut_straggler_is_disconnected_at_the_server(server: FakeOpenAI) -> None:
    layer = {"name": "draft", "proposers": ["ok@a", "hang"], "quorum": 1, "grace": 0.01}
    graph = build_graph(moa_spec(server.base_url, [layer], "ok@z")).compile()
    state = await graph.ainvoke(QUESTION)
    assert state["proposals"]["draft/hang"]["status"] == "cut"
    assert await server.disconnected("hang")


async def test_cancelling_the_run_disconnects_its_calls(server: FakeOpenAI) -> None:
    running = asyncio.create_task(ask(server, ["hang@a", "hang@b"]))
    assert await server.started("hang@a")
    assert await server.started("hang@b")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await server.disconnected("hang@a")
    assert await server.disconnected("hang@b")


async def test_the_runs_deadline_ends_a_hanging_aggregator_and_keeps_the_proposals(
    server: FakeOpenAI,
) -> None:
    with pytest.raises(DeadlineExceeded) as raised:
        await ask(server, ["ok@a"], "hang", limits={"deadline": 1})
    assert [record["status"] for record in raised.value.proposals] == ["ok", "failed"]


async def test_a_wrong_address_is_said(server: FakeOpenAI) -> None:
    graph = build_graph(moa_spec(server.origin, [["ok"]], "ok")).compile()
    with pytest.raises(
        QuorumNotMet, match=r"not_found: .*sent to http://127\.0\.0\.1:\d+/chat/completions: check"
    ):
        await graph.ainvoke(QUESTION)


async def test_a_failing_attempt_is_followed_by_another(server: FakeOpenAI) -> None:
    state = await ask(server, ["fail-2-then-ok"])
    record = state["proposals"]["draft/fail-2-then-ok"]
    assert (record["status"], record["attempts"]) == ("ok", 3)
    assert state["messages"][-1].response_metadata["moa"]["calls"] == 4


async def test_an_empty_attempt_was_paid_for_and_counts(server: FakeOpenAI) -> None:
    state = await ask(server, ["empty-then-usage-10-5"])
    record = state["proposals"]["draft/empty-then-usage-10-5"]
    assert (record["status"], record["attempts"]) == ("ok", 2)
    assert record["usage"]["input_tokens"] > 10


async def test_retries_are_reported_with_the_failure_and_the_wait(server: FakeOpenAI) -> None:
    graph = build_graph(moa_spec(server.base_url, [["503-retry-after-0-then-ok"]], "ok@z")).compile()
    events = [event async for event in graph.astream(QUESTION, stream_mode="custom")]
    [retried] = [event for event in events if event["type"] == "call.retried"]
    assert (retried["attempt"], retried["wait"], retried["failure"]["kind"]) == (1, 0.0, "server_error")


async def test_reasoning_is_kept_beside_the_proposal_and_out_of_the_next_prompt(server: FakeOpenAI) -> None:
    state = await ask(server, ["reasoning", "think", "think-unopened"])
    for record in list(state["proposals"].values())[:2]:
        assert record["reasoning"] == "Private reasoning."
        assert "Private" not in record["text"]
    assert "Private" not in server.of("ok@z")[0].messages[0]["content"].replace(
        state["proposals"]["draft/think-unopened"]["text"], ""
    )


@pytest.mark.parametrize("behaviour", ["no-usage", "bad-usage"])
@pytest.mark.parametrize("stream", [False, True])
async def test_wrong_usage_costs_no_answer_and_is_estimated(
    server: FakeOpenAI, behaviour: str, stream: bool
) -> None:
    state = await ask(server, [behaviour], stream=stream)
    [record] = state["proposals"].values()
    assert record["status"] == "ok"
    assert record["usage"]["source"] == "estimated"
    assert record["usage"]["output_tokens"] == -(-len(record["text"]) // 4)


async def test_what_a_broken_stream_had_written_is_counted_by_estimate(server: FakeOpenAI) -> None:
    record = await fault(server, "cut-dirty", stream=True, slot={"price": {"input": 1, "output": 1}})
    assert record["text"]
    assert record["usage"]["source"] == "estimated"
    assert record["usage"]["output_tokens"] > 0
    assert record["cost"] > 0
    assert "estimated" in record["warnings"][0]


async def test_a_timed_out_request_counts_by_estimate_and_a_refused_one_not_at_all(
    server: FakeOpenAI,
) -> None:
    record = await fault(server, {"model": "hang", "timeout": 0.1, "attempts": 1})
    assert record["usage"]["source"] == "estimated"
    server.reset()
    assert (await fault(server, "500"))["usage"] is None


async def test_a_badly_answered_request_may_be_billed_and_counts_by_estimate(server: FakeOpenAI) -> None:
    record = await fault(server, "bad-json")
    assert (record["attempts"], record["usage"]["source"]) == (3, "estimated")


async def test_a_prompt_of_several_megabytes_is_sent(server: FakeOpenAI) -> None:
    graph = build_graph(moa_spec(server.base_url, [], "ok@z")).compile()
    state = await graph.ainvoke({"messages": [("user", "word " * 500_000)]})
    assert state["status"] == "answered"


async def test_nul_and_lone_surrogates_are_replaced_and_said(server: FakeOpenAI) -> None:
    state = await ask(server, ["nul"])
    [record] = state["proposals"].values()
    assert record["text"] == "before\ufffdbetween\ufffdafter"
    assert "U+FFFD" in record["warnings"][0]


@pytest.mark.parametrize("behaviour", ["no-done", "gzip"])
@pytest.mark.parametrize("stream", [False, True])
async def test_harmless_oddities_are_no_failures(server: FakeOpenAI, behaviour: str, stream: bool) -> None:
    state = await ask(server, [behaviour], stream=stream)
    assert [record["status"] for record in state["proposals"].values()] == ["ok"]


async def test_requested_and_actual_model_tokens_and_times_are_recorded(server: FakeOpenAI) -> None:
    price = {"input": 1.0, "output": 2.0}
    state = await ask(server, ["usage-1000-500"], stream=True, slot={"price": price})
    [record] = state["proposals"].values()
    assert record["requested_model"] == "openai:usage-1000-500"
    assert record["actual_model"]
    assert record["usage"] == {"input_tokens": 1000, "output_tokens": 500, "source": "provider"}
    assert record["cost"] == pytest.approx(0.002)
    assert 0 < record["first_token_seconds"] <= record["seconds"]


async def test_on_context_overflow_the_longest_references_are_left_out_one_by_one(server: FakeOpenAI) -> None:
    state = await ask(server, ["long-2000@a", "long-100@b", "long-3000@c"], "overflow-above-1500")
    aggregator = state["messages"][-1].response_metadata["moa"]["aggregator"]
    assert aggregator["attempts"] == 3
    assert aggregator["warnings"] == [
        "context overflow: reference draft/long-3000-c was left out",
        "context overflow: reference draft/long-2000-a was left out",
    ]
    final = server.of("overflow-above-1500")[-1].messages[0]["content"]
    assert final.count("A long answer.") < 10
    assert "\n1. A long answer." in final


async def test_references_are_left_out_down_to_the_quorum_and_no_further(server: FakeOpenAI) -> None:
    layer = {"name": "draft", "proposers": ["long-2000@a", "long-2000@b", "long-2000@c"], "quorum": 2}
    graph = build_graph(moa_spec(server.base_url, [layer], "overflow-above-1500")).compile()
    with pytest.raises(AggregatorFailed, match="context_overflow") as raised:
        await graph.ainvoke(QUESTION)
    assert raised.value.proposals[-1]["attempts"] == 2


async def test_a_key_that_a_provider_repeats_never_shows_in_a_failure(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_KEY", "canary-4711-secret")
    spec = moa_spec(
        server.base_url,
        [{"name": "draft", "proposers": ["400-with-question", "ok@a"]}],
        "ok@z",
        slot={"api_key_env": "CANARY_KEY"},
    )
    state = (
        await build_graph(spec).compile().ainvoke({"messages": [("user", "My key is canary-4711-secret")]})
    )
    failure = state["proposals"]["draft/400-with-question"]["failure"]
    assert failure["message"].endswith("My key is [redacted]")
    assert server.requests[0].headers["authorization"] == "Bearer canary-4711-secret"
