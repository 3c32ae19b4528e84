"""Errors as OpenAI's clients expect them: a status, and a body that says what to mend."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.types import Scope

from moa_graph.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    MoAError,
    ModelNotReady,
    RunError,
    SpecMismatch,
    StoreError,
    ThreadBusy,
    ThreadError,
)
from moa_graph.server.encoding import JsonReply

__all__ = ["Refused", "closing", "error_body", "fault_of", "log_failure", "refusal"]

_LOG = logging.getLogger(__name__)


class Refused(Exception):
    """Refuse a request with an HTTP status and an error in OpenAI's schema."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        return error_body(self.message, self.kind, self.code, self.param)


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return an error as OpenAI's API has it (https://platform.openai.com/docs/guides/error-codes)."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(scope: Scope, refused: Refused) -> JsonReply:
    """Return the response that says so; the access log of the request notes the code."""
    notes: dict[str, Any] = scope.setdefault("state", {}).setdefault("moa", {})
    notes["error"] = refused.code or refused.kind
    return JsonReply(refused.body, refused.status, refused.headers)


def closing(kept: str = "") -> Refused:
    """Return the refusal of a server that ends; `kept` says what becomes of what was under way."""
    message = "; ".join(filter(None, ["the server is shutting down", kept]))
    return Refused(503, message, kind="server_error", code="shutting_down", headers={"Retry-After": "1"})


_STATUSES: tuple[tuple[type[MoAError], int, str, str], ...] = (
    (ThreadBusy, 409, "conflict_error", "thread_busy"),
    (SpecMismatch, 409, "conflict_error", "spec_changed"),
    (ThreadError, 409, "conflict_error", "thread_error"),
    (ModelNotReady, 503, "server_error", "model_not_ready"),
    (DeadlineExceeded, 504, "server_error", "deadline_exceeded"),
    (BudgetExceeded, 402, "insufficient_quota", "budget_exceeded"),
    (StoreError, 503, "server_error", "store_failed"),
    (RunError, 502, "server_error", "run_failed"),
    (MoAError, 400, "invalid_request_error", "invalid_request"),
)
"""What each error is to a client; the first that fits."""

_PLAIN = {
    "thread_busy": "the conversation is at work on another request; wait for it, or cancel it",
    "thread_error": "the thread cannot do what was asked",
    "spec_changed": "the thread was made by another version of this model",
    "model_not_ready": "the model cannot run: something that it needs is missing on the server",
    "store_failed": "the place where threads are kept failed; what was paid for is kept where it could be",
}
"""Words for errors whose own may tell of the server's files, hosts or other people's threads."""


def fault_of(error: Exception) -> Refused:
    """Return what a client is told of an error.

    What providers said stays in the server's log: of failed calls a client learns who failed and of which
    kind.
    """
    if isinstance(error, Refused):
        return error
    for known, status, kind, code in _STATUSES:
        if isinstance(error, known):
            headers = {"Retry-After": "1"} if isinstance(error, ThreadBusy) else {}
            if isinstance(error, RunError) and error.calls:
                # OpenAI's clients would ask twice more by themselves, and pay for all of it again.
                headers["x-should-retry"] = "false"
            return Refused(status, _told(error, code), kind=kind, code=code, headers=headers)
    return Refused(500, "the server failed; the error is in its log", kind="server_error", code="internal")


def log_failure(what: str, error: Exception) -> None:
    """Log an error that is the server's or a provider's; of one that nobody expected, where it came from."""
    if fault_of(error).status >= 500:
        known = isinstance(error, Refused | MoAError)
        _LOG.error("%s: %s: %s", what, type(error).__name__, error, exc_info=None if known else error)


def _told(error: MoAError, code: str) -> str:
    if code in _PLAIN:
        return _PLAIN[code]
    if not isinstance(error, RunError):
        return error.message
    failures = [
        f"{record['id']}: {record['failure']['kind']}" for record in error.proposals if record["failure"]
    ]
    message = error.message.partition("\n")[0]  # what follows are the providers' words
    return "; ".join([message, *failures])
