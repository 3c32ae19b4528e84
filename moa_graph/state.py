"""The state of a run: plain data only, so that any checkpointer can keep it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, cast
from uuid import NAMESPACE_OID, uuid5

from langchain_core.messages import AnyMessage, convert_to_messages
from langgraph.channels import DeltaChannel, UntrackedValue
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from moa_graph.passages import Passage
from moa_graph.usage import Usage

__all__ = [
    "AGREED",
    "AideRole",
    "Failure",
    "FailureKind",
    "Kept",
    "MoAInput",
    "MoAOutput",
    "MoAState",
    "Proposal",
    "Reference",
    "Status",
    "Stopped",
    "is_needless",
    "is_proposal",
    "is_shown",
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

AideRole = Literal["ranker", "judge", "summarizer", "comparer", "synthesizer"]
"""What is asked about proposals: which are best, whether they are enough, what they say in short, what they
changed; and the aggregator on its way from window to window."""

Status = Literal["running", "answered", "failed"]
"""A graph writes the first two; a run that fails raises, and a thread notes that in its record."""


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
    USD (None: unknown), `seconds` include waiting between attempts. `references` are the ids of the proposals
    that its prompt held, in order; `passages` are those that this call alone had retrieved, and `nonce` the
    mark that its prompt bore then. `role` is there where the text is no proposal but says something about
    proposals. `left_out` says why the layer's `select` shows a proposal to nobody; it is "" or missing
    for the others.
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
    references: list[str]
    passages: NotRequired[list[Passage]]
    nonce: NotRequired[str]
    role: NotRequired[AideRole]
    left_out: NotRequired[str]


class Reference(TypedDict):
    """Hold an earlier proposal as it enters a prompt; `name` is there where the prompt says who wrote it."""

    id: str
    text: str
    name: NotRequired[str]


def merge_proposals(
    old: Mapping[str, Proposal] | None, new: Mapping[str, Proposal | None] | None
) -> dict[str, Proposal]:
    """Merge new records into old ones, field by field; the place of a record stays, None takes it away.

    So a person edits a proposal by `update_state(config, {"proposals": {"draft/a": {"text": "…"}}})`.
    """
    merged = dict(old or {})
    for id_, record in (new or {}).items():
        before = merged.get(id_)
        if record is None:
            merged.pop(id_, None)
        else:
            merged[id_] = {**before, **record} if before else record
    return merged


def is_proposal(record: Proposal) -> bool:
    """Tell whether a record is that of a proposer, not of somebody who was asked about proposals."""
    return "role" not in record


AGREED = "as enough proposals agree"
"""Ends the message of whoever was cut, or not asked, because the layer's answer was clear without it."""


def is_needless(record: Proposal) -> bool:
    """Tell whether a proposer did not get to its end because enough others agreed: nothing failed."""
    failure = record["failure"]
    return record["status"] == "cut" and failure is not None and failure["message"].endswith(AGREED)


def is_shown(record: Proposal) -> bool:
    """Tell whether later prompts may show a record: a proposal that is ok and was not left out."""
    return is_proposal(record) and record["status"] == "ok" and not record.get("left_out")


def references_from(proposals: Iterable[Proposal]) -> list[Reference]:
    """Return what a later prompt may see: the texts of the proposals that are shown, in order."""
    return [{"id": record["id"], "text": record["text"]} for record in proposals if is_shown(record)]


def _add_messages(old: list[AnyMessage], writes: Sequence[Any]) -> list[AnyMessage]:
    """Add messages as `add_messages` does; a message without an id gets one that replaying gives it again."""
    old = cast("list[AnyMessage]", convert_to_messages(old))  # `langgraph dev` reads snapshots as plain JSON
    for write in writes:
        new = convert_to_messages(write if isinstance(write, list) else [write])
        previous = old[-1].id if old else ""
        for message in new:
            if not message.id:
                message.id = str(uuid5(NAMESPACE_OID, ascii((previous, message.type, message.text))))
            previous = message.id
        old = cast("list[AnyMessage]", add_messages(cast("Any", old), cast("Any", new)))
    return old


def _fold_proposals(
    old: dict[str, Proposal], writes: Sequence[dict[str, Proposal | None]]
) -> dict[str, Proposal]:
    for write in writes:
        old = merge_proposals(old, write)
    return old


# What grows is kept as LangGraph's DeltaChannel: a checkpoint holds what a step added, not all that was there
# before. Measured against keeping the last layer only: docs/decisions/0008.
Messages = Annotated[list[AnyMessage], DeltaChannel(_add_messages)]
Proposals = Annotated[dict[str, Proposal], DeltaChannel(_fold_proposals)]


class Kept(TypedDict):
    """Hold proposals of a layer that did not end, carried over by a fork; they answer `message` only."""

    message: str
    proposals: dict[str, Proposal]


class Stopped(TypedDict):
    """Say after which layer, and why, those that were left were not needed; it holds for `message` only."""

    message: str
    layer: str
    reason: str


class MoAInput(TypedDict):
    """What a run starts from: the conversation, ending with the question; a fork also brings `moa_kept`."""

    messages: Messages
    moa_kept: NotRequired[Kept | None]


class MoAOutput(TypedDict):
    """What a run gives: the conversation with the answer, every proposal, the status.

    `status` is that of the last step that ended: until the first layer of a new turn has joined, a
    thread shows the turn before, and a run that raised an error is "running" until somebody resumes it.
    """

    messages: Messages
    proposals: Proposals
    status: Status


class MoAState(MoAOutput):
    """What the nodes share.

    `nonce` is the turn's random mark for delimiters. `passages` are those that the turn retrieved for
    everybody, `moa_warnings` what went wrong with that. `moa_kept` are paid proposals that their layer need
    not ask for again. `budget` (a `moa_graph.budget.Budget`) lives in memory only: it holds this run's clock
    and spending and is never checkpointed.
    """

    nonce: NotRequired[str]
    passages: NotRequired[list[Passage]]
    moa_warnings: NotRequired[list[str]]
    moa_kept: NotRequired[Kept | None]
    moa_stopped: NotRequired[Stopped | None]
    budget: NotRequired[Annotated[Any, UntrackedValue]]
