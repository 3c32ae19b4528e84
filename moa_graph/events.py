"""What happened, as a union of small records, emitted on LangGraph's custom stream.

Read them with `graph.astream(..., stream_mode="custom")`; each is a dict with a `type`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from typing_extensions import TypedDict

from moa_graph.state import Failure, Proposal
from moa_graph.usage import Usage

__all__ = [
    "CallFailed",
    "CallFinished",
    "CallRetried",
    "CallStarted",
    "CallStreamed",
    "Emit",
    "Event",
    "LayerJoined",
    "LayerSelected",
    "LayerStarted",
    "LayersStopped",
    "RetrievalFailed",
    "RetrievalFinished",
    "Role",
    "RunFinished",
    "RunStarted",
]

Role = Literal["proposer", "aggregator", "ranker", "judge", "summarizer", "comparer", "synthesizer"]


class RunStarted(TypedDict):
    """A run began, or went on after its first layer (`resumed`); `layers` maps names to proposers' ids.

    A run that goes on counts its seconds anew.
    """

    type: Literal["run.started"]
    name: str
    resumed: bool
    layers: dict[str, list[str]]
    aggregator: str


class LayerStarted(TypedDict):
    """A layer began; `references` is the number of earlier proposals it sees."""

    type: Literal["layer.started"]
    layer: str
    proposers: list[str]
    references: int


class RetrievalFinished(TypedDict):
    """A retriever gave this number of passages; `id` is the call's, or "retrieve" for those all see."""

    type: Literal["retrieval.finished"]
    id: str
    retriever: str
    passages: int
    seconds: float


class RetrievalFailed(TypedDict):
    """A retriever failed; `id` is the call's, or "retrieve" for passages that all would see."""

    type: Literal["retrieval.failed"]
    id: str
    retriever: str
    reason: str
    seconds: float


class CallStarted(TypedDict):
    """A call began; `id` is "layer/proposer", for the aggregator "aggregator/slot"."""

    type: Literal["call.started"]
    id: str
    role: Role
    model: str


class CallStreamed(TypedDict):
    """A piece of a call's text arrived; only threads emit this, and only where tokens are asked for."""

    type: Literal["call.streamed"]
    id: str
    role: Role
    text: str


class CallRetried(TypedDict):
    """An attempt failed and another follows after `wait` seconds; `attempt` is the failed one, from 1.

    What was streamed of this call so far is void.
    """

    type: Literal["call.retried"]
    id: str
    role: Role
    attempt: int
    wait: float
    failure: Failure


class CallFinished(TypedDict):
    """A call gave a proposal or the answer.

    In a thread of `moa_graph.Runs` it is committed by now; if the store failed, its warnings say so. A bare
    graph with a checkpointer reports it while LangGraph is committing it.
    A proposal restored from a checkpoint comes without a `call.started` before it.
    """

    type: Literal["call.finished"]
    id: str
    role: Role
    proposal: Proposal


class CallFailed(TypedDict):
    """A call gave nothing usable: it failed, or was cut as a straggler."""

    type: Literal["call.failed"]
    id: str
    role: Role
    proposal: Proposal


class LayerSelected(TypedDict):
    """A layer's `select` chose: the ids that go on, and those that do not with the reason for each.

    `undecided` says why nothing could be chosen, "" where something was.
    """

    type: Literal["layer.selected"]
    layer: str
    by: str
    kept: list[str]
    left_out: dict[str, str]
    undecided: str


class LayersStopped(TypedDict):
    """The layers after this one are not needed; the aggregator comes next."""

    type: Literal["layers.stopped"]
    layer: str
    reason: str


class LayerJoined(TypedDict):
    """A layer ended: how many proposals are ok, failed, cut."""

    type: Literal["layer.joined"]
    layer: str
    ok: int
    failed: int
    cut: int
    seconds: float


class RunFinished(TypedDict):
    """A run ended, answered or failed; `error` has `type`, `message`, `hint`."""

    type: Literal["run.finished"]
    status: Literal["answered", "failed"]
    answered_by: str | None
    usage: Usage
    cost: float | None
    calls: int
    seconds: float
    error: dict[str, str] | None


Event = (
    RunStarted
    | RetrievalFinished
    | RetrievalFailed
    | LayerStarted
    | CallStarted
    | CallStreamed
    | CallRetried
    | CallFinished
    | CallFailed
    | LayerJoined
    | LayerSelected
    | LayersStopped
    | RunFinished
)
Emit = Callable[[Event], None]
