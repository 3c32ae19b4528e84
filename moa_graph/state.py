"""The state of a run: plain data only, so that any checkpointer can keep it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NotRequired

from langchain_core.messages import AnyMessage
from langgraph.channels import UntrackedValue
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from moa_graph.usage import Usage

__all__ = [
    "Failure",
    "FailureKind",
    "MoAInput",
    "MoAOutput",
    "MoAState",
    "Proposal",
    "Reference",
    "Status",
    "merge_proposals",
    "references_from",
]

FailureKind = Literal[
    "timeout",
    "connection",
    "rate_limited",
    "server_error",
    "quota_exhausted",
    "auth",
    "bad_request",
    "not_found",
    "context_overflow",
    "malformed",
    "empty",
    "refused",
    "filtered",
    "truncated",
    "tool_call",
    "too_long",
    "budget",
    "deadline",
    "error",
]

Status = Literal["running", "answered", "failed"]
"""A graph writes the first two; a run that fails raises. Who keeps threads notes "failed" there."""


class Failure(TypedDict):
    """Say why a call gave no proposal; `status_code` is the HTTP status where there was one."""

    kind: FailureKind
    message: str
    retryable: bool
    status_code: int | None


class Proposal(TypedDict):
    """Record one call: what it wrote or why it failed, and what it took.

    `id` is "layer/proposer". `status`: "ok"; "failed"; "cut" (a straggler that was cancelled);
    "dropped" (taken out by hand). `text` of a failed call is what arrived before it failed: kept
    because it was paid for, never shown to another model. `attempts` counts requests sent, `cost` is
    USD (None: unknown), `seconds` include waiting between attempts.
    """

    id: str
    layer: str
    proposer: str
    status: Literal["ok", "failed", "cut", "dropped"]
    text: str
    reasoning: str
    failure: Failure | None
    requested_model: str
    actual_model: str | None
    attempts: int
    usage: Usage | None
    cost: float | None
    seconds: float
    first_token_seconds: float | None
    edited: bool
    warnings: list[str]


class Reference(TypedDict):
    """Hold an earlier proposal as it enters a prompt."""

    id: str
    text: str


def merge_proposals(
    old: Mapping[str, Proposal] | None, new: Mapping[str, Proposal] | None
) -> dict[str, Proposal]:
    """Merge new records into old ones, field by field; the place of a record stays.

    So a person edits a proposal by `update_state(config, {"proposals": {"draft/a": {"text": "…"}}})`.
    """
    merged = dict(old or {})
    for id_, record in (new or {}).items():
        before = merged.get(id_)
        merged[id_] = {**before, **record} if before else record
    return merged


def references_from(proposals: Iterable[Proposal]) -> list[Reference]:
    """Return what a later prompt may see: the texts of the proposals that are ok, in order."""
    return [
        {"id": proposal["id"], "text": proposal["text"]}
        for proposal in proposals
        if proposal["status"] == "ok"
    ]


class MoAInput(TypedDict):
    """What a run starts from: the conversation, ending with the question."""

    messages: Annotated[list[AnyMessage], add_messages]


class MoAOutput(TypedDict):
    """What a run gives: the conversation with the answer, every proposal, the status.

    `status` is that of the last step that ended: until the first layer of a new turn has joined, a
    thread shows the turn before, and a run that raised an error is "running" until somebody resumes it.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    proposals: Annotated[dict[str, Proposal], merge_proposals]
    status: Status


class MoAState(MoAOutput):
    """What the nodes share.

    `nonce` is the turn's random mark for delimiters. `budget` (a `moa_graph.budget.Budget`) lives in
    memory only: it holds this run's clock and spending and is never checkpointed.
    """

    nonce: NotRequired[str]
    budget: NotRequired[Annotated[Any, UntrackedValue]]
