"""What a client is told of an error: its status and kind, and nothing of the server's own matters."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.errors import (
    AggregatorFailed,
    BudgetExceeded,
    DeadlineExceeded,
    MoAError,
    ModelNotReady,
    QuorumNotMet,
    SpecMismatch,
    StoreError,
    ThreadBusy,
    ThreadError,
)
from moa_graph.server.faults import Refused, fault_of


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ThreadBusy("busy"), 409, "thread_busy"),
        (SpecMismatch("another"), 409, "spec_changed"),
        (ThreadError("no"), 409, "thread_error"),
        (ModelNotReady("no key"), 503, "model_not_ready"),
        (DeadlineExceeded("late"), 504, "deadline_exceeded"),
        (BudgetExceeded("dear"), 402, "budget_exceeded"),
        (StoreError("disk"), 503, "store_failed"),
        (QuorumNotMet("few"), 502, "run_failed"),
        (AggregatorFailed("none"), 502, "run_failed"),
        (MoAError("odd"), 400, "invalid_request"),
        (ValueError("a bug"), 500, "internal"),
    ],
)
def test_every_error_has_a_status_and_a_code(error: Exception, status: int, code: str) -> None:
    fault = fault_of(error)
    assert (fault.status, fault.code) == (status, code)
    assert fault.body["error"]["code"] == code


def test_who_is_busy_is_asked_again_soon() -> None:
    assert fault_of(ThreadBusy("busy")).headers == {"Retry-After": "1"}


def test_who_has_paid_is_not_asked_again_by_a_client_of_its_own_accord() -> None:
    assert fault_of(QuorumNotMet("few", calls=3)).headers == {"x-should-retry": "false"}
    assert fault_of(QuorumNotMet("few")).headers == {}


def test_a_refusal_stays_what_it_is() -> None:
    refused = Refused(418, "no", param="x")
    assert fault_of(refused) is refused
    assert refused.body == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "x", "code": None}
    }


@pytest.mark.parametrize(
    "error",
    [
        ModelNotReady("models.a lacks SECRET_NAME"),
        StoreError("/var/lib/moa.db: SECRET_NAME"),
        ThreadError("'SECRET_NAME/chat/x' is unknown"),
        ValueError("SECRET_NAME"),
    ],
)
def test_what_is_the_servers_own_matter_is_not_told(error: Exception) -> None:
    assert "SECRET" not in fault_of(error).message


def test_of_failed_calls_a_client_learns_who_and_of_which_kind_and_not_what_the_provider_said() -> None:
    failed: Any = {"id": "draft/a", "failure": {"kind": "auth", "message": "key sk-SECRET is wrong"}}
    error = QuorumNotMet("layer draft: 0 of 1\n  draft/a: auth: key sk-SECRET is wrong", proposals=[failed])
    assert fault_of(error).message == "layer draft: 0 of 1; draft/a: auth"
