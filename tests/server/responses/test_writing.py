"""Response objects as OpenAI's models have them, of answers, of errors and of turns that are kept."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage

from moa_graph.runs.run import Run
from moa_graph.server.responses.ids import ResponseId
from moa_graph.server.responses.requests import ResponsesRequest
from moa_graph.server.responses.writing import Frame, calls_of, echo_of, output_of
from tests.server.responses.desk import checked

ID = ResponseId("a" * 32, "b" * 16)


def frame(**parts: Any) -> Frame:
    echo = echo_of(ResponsesRequest.model_validate({"model": "team", "input": "Why?", **parts}))
    return Frame.of(ID, {"created": 1_700_000_000, "request": echo})


def run(status: Any, reason: str = "", **parts: Any) -> Run:
    return Run("local/resp/a", "b", status, reason=reason, **parts)


def failing(kind: str, layer: str = "aggregator") -> dict[str, Any]:
    failure = {"kind": kind, "message": "secret words of a provider", "retryable": False, "status_code": 400}
    return {"id": f"{layer}/z", "layer": layer, "text": "Hel", "failure": failure}


def test_an_answer_is_completed_with_the_usage_of_the_whole_run() -> None:
    usage = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    response = checked(frame().completed(AIMessage("Hello.", usage_metadata=usage), {"cost": 1}))
    assert response["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 9,
    }
    assert (response["status"], response["created_at"], response["moa"]) == (
        "completed",
        1_700_000_000,
        {"cost": 1},
    )


def test_calls_whose_arguments_are_no_json_are_told_as_the_model_wrote_them() -> None:
    invalid: Any = {"name": None, "args": "{", "id": None, "error": "", "type": "invalid_tool_call"}
    message = AIMessage(
        "", tool_calls=[{"name": "add", "args": {"ü": 1}, "id": "c1"}], invalid_tool_calls=[invalid]
    )
    calls = calls_of(ID, message)
    assert [call["arguments"] for call in calls] == [r'{"\u00fc": 1}', "{"]
    assert calls[1]["call_id"] == ID.of("call", 1)
    assert [item["type"] for item in output_of(ID, message)] == ["function_call"] * 2


@pytest.mark.parametrize(
    ("asked", "kept", "status"),
    [
        ({}, run("running"), "in_progress"),
        ({}, run("interrupted", "cancelled"), "failed"),
        ({"background": True}, run("interrupted", "queued"), "queued"),
        ({"background": True}, run("interrupted", "its process ended without a word"), "in_progress"),
        ({"background": True}, run("interrupted", "cancelled", notes={"cancelled": True}), "cancelled"),
        ({}, run("failed", "QuorumNotMet: too few"), "failed"),
        ({}, run("answered", message=AIMessage("Hello.")), "completed"),
        ({}, run("failed", "AggregatorFailed: no", aggregators=[failing("truncated")]), "incomplete"),
    ],
)
def test_a_turn_that_is_kept_is_told_as_it_stands(asked: dict[str, Any], kept: Run, status: str) -> None:
    response = checked(frame(**asked).standing(kept))
    assert response["status"] == status
    assert (response["error"] is not None) is (status == "failed")


def test_an_interrupted_response_says_how_to_go_on() -> None:
    error = frame().standing(run("interrupted", "cancelled"))["error"]
    assert "Idempotency-Key" in error["message"]


@pytest.mark.parametrize(
    "reason",
    [
        "AggregatorFailed: all failed\n  aggregator/z: auth: secret words of a provider",
        "ValueError: secret words",
        "ModelNotReady: models.z needs secret words",
        "StoreError: /secret words",
        "Fault: secret words",
        "SpecError: secret words",
        "secret words",
    ],
)
def test_why_a_run_failed_is_told_without_what_providers_said(reason: str) -> None:
    message = frame().standing(run("failed", reason, aggregators=[failing("auth")]))["error"]["message"]
    assert message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("SpecMismatch: secret words", "the thread was made by another version of this model"),
        ("ThreadError: secret words", "the thread cannot do what was asked"),
        ("ModelNotReady: secret words", "the model cannot run"),
        ("StoreError: secret words", "the place where threads are kept failed"),
        ("SpecError: secret words", "the server failed"),
        ("ValueError: secret words", "the server failed"),
    ],
)
def test_a_background_turn_that_could_not_run_says_of_which_kind(reason: str, told: str) -> None:
    error = frame(background=True).standing(run("failed", reason))["error"]
    assert error["message"].startswith(told)


def test_who_failed_is_told_with_the_kind() -> None:
    error = frame().standing(run("failed", "QuorumNotMet: too few", proposals=[failing("auth", "draft")]))
    assert error["error"]["message"] == "too few; draft/z: auth"


def test_what_a_filter_ended_is_incomplete_and_nothing_of_it_is_told() -> None:
    kept = run("failed", "AggregatorFailed: no", aggregators=[failing("filtered")])
    response = checked(frame().standing(kept))
    assert response["incomplete_details"] == {"reason": "content_filter"}
    assert response["output"] == []


def test_a_stream_that_broke_off_is_a_failure() -> None:
    broken = failing("truncated")
    broken["failure"]["retryable"] = True
    kept = run("failed", "AggregatorFailed: no", aggregators=[broken])
    assert checked(frame().standing(kept))["status"] == "failed"


def test_a_turn_that_nobody_may_run_says_why() -> None:
    error = frame().standing(run("failed", "Refused: the key that asked for it was revoked"))["error"]
    assert error == {"code": "server_error", "message": "the key that asked for it was revoked"}
