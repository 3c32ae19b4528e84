"""What the rows of a thread may say: no run writes a state of another shape, and none is believed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NotRequired

from langchain_core.messages import BaseMessage
from langgraph.errors import InvalidUpdateError
from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from moa_graph.passages import Passage, ShownSource
from moa_graph.runs.serializer import untrusted
from moa_graph.state import Kept, Proposal, Stopped
from moa_graph.usage import Usage

__all__ = [
    "check_marks",
    "check_names",
    "check_state",
    "check_writes",
    "is_answer",
    "is_proposal",
    "trusting",
]


class _State(TypedDict):
    __pydantic_config__ = ConfigDict(strict=True, extra="ignore")  # type: ignore[misc]

    messages: NotRequired[list[InstanceOf[BaseMessage]]]
    proposals: NotRequired[dict[str, Proposal]]
    status: NotRequired[Literal["running", "answered"]]
    nonce: NotRequired[str]
    passages: NotRequired[list[Passage]]
    moa_warnings: NotRequired[list[str]]
    moa_kept: NotRequired[Kept | None]
    moa_stopped: NotRequired[Stopped | None]


class _Caller(TypedDict):
    id: str
    layer: str
    proposer: str
    attempts: int
    references: list[str]
    passages: NotRequired[list[Passage]]
    nonce: NotRequired[str]


class _Summary(TypedDict):
    __pydantic_config__ = ConfigDict(strict=True, extra="ignore")  # type: ignore[misc]

    answered_by: str
    usage: Usage
    cost: float | None
    calls: int
    warnings: list[str]
    aggregator: _Caller
    failed_aggregators: list[Proposal]
    sources: NotRequired[list[ShownSource]]
    decision: NotRequired[dict[str, Any]]
    stopped: NotRequired[dict[str, str]]


_STATE = TypeAdapter(_State)
_SUMMARY = TypeAdapter(_Summary)
_MADE = TypeAdapter(Proposal)


@contextmanager
def trusting(place: str) -> Iterator[None]:
    """Raise StoreError for whatever reading the rows of `place` trips over: they were changed by somebody."""
    try:
        yield
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise untrusted(f"{where.removeprefix('proposals.')} is not what a run writes", place) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise untrusted(f"its state cannot be read ({type(error).__name__})", place) from error
    except (InvalidUpdateError, NotImplementedError, RecursionError) as error:
        raise untrusted(f"its state cannot be read ({type(error).__name__})", place) from error


def check_state(values: Mapping[str, Any], ended: Iterable[str], *, answered: bool) -> None:
    """Raise ValidationError or LookupError for a state that no run wrote.

    `ended` are the ids of the proposals that belong to layers which have ended: each has left a record. An
    answer has the run's summary.
    """
    _STATE.validate_python(dict(values))
    missing = set(ended) - (values.get("proposals") or {}).keys()
    if missing:
        raise LookupError(f"{missing} are missing")
    if answered:
        _SUMMARY.validate_python(values["messages"][-1].response_metadata["moa"])


def check_marks(metadata: Mapping[str, Any], turns: Collection[str]) -> None:
    """Raise LookupError or TypeError for a checkpoint that belongs to none of these turns."""
    if metadata["moa_turn"] not in turns or not isinstance(metadata["step"], int):
        raise LookupError("no turn of this thread")


def check_names(proposals: Mapping[str, Proposal], layers: Collection[str]) -> None:
    """Raise LookupError for a proposal that bears another one's name, or that of no layer."""
    for id_, record in proposals.items():
        if (
            not id_ == record["id"] == f"{record['layer']}/{record['proposer']}"
            or record["layer"] not in layers
        ):
            raise LookupError(id_)


def check_writes(
    writes: Iterable[tuple[str, str, Any]], layers: Collection[str], *, retrieving: bool = False
) -> None:
    """Raise ValidationError, TypeError or LookupError for results of tasks that no run wrote.

    They are (task, channel, value); LangGraph takes them for the state as they are. With `retrieving` they
    belong to the step that retrieves for everybody.
    """
    for _, channel, value in writes:
        match channel:
            case "__return__" if retrieving:
                _STATE.validate_python({"passages": value})
            case "__return__":
                made = value if is_proposal(value) else value["proposal"]
                _MADE.validate_python(made, strict=True)
                check_names({made["id"]: made}, layers)
            case "proposals":
                kept = {id_: record for id_, record in value.items() if record is not None}
                _STATE.validate_python({channel: kept})
            case "messages":
                _STATE.validate_python({channel: value if isinstance(value, list) else [value]})
            case "status" | "nonce" | "passages" | "moa_warnings" | "moa_kept" | "moa_stopped":
                _STATE.validate_python({channel: value})


def is_answer(value: Any) -> bool:
    """Tell whether a task's result is the aggregator's."""
    return isinstance(value, dict) and value.keys() >= {"proposal", "message_id"}


def is_proposal(value: Any) -> bool:
    """Tell whether a task's result is a proposal; there are answers, too."""
    return isinstance(value, dict) and value.keys() >= {"id", "layer", "proposer", "status", "text"}
