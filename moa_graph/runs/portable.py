"""What an exported thread is made of: the kinds of lines; docs/export-format.md says what each means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, messages_from_dict
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
)
from typing_extensions import TypedDict

from moa_graph.errors import MoAError
from moa_graph.passages import Passage, ShownSource
from moa_graph.runs.records import PlainTerms
from moa_graph.spec.schema import LimitsSpec, MoASpec
from moa_graph.state import Proposal
from moa_graph.terms import lowered
from moa_graph.usage import Usage

__all__ = [
    "KINDS",
    "LINE",
    "Answer",
    "Asked",
    "Edit",
    "End",
    "Failed",
    "Finished",
    "Fork",
    "Header",
    "Layer",
    "Line",
    "Portable",
    "PortableTurn",
    "Question",
    "Retrieve",
    "Standing",
    "Step",
    "dump_line",
]

_UNSHOWN = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON leaves as it is, but a terminal or a reader of lines would not."""


def dump_line(line: Mapping[str, Any]) -> str:
    """Write a line as JSON, safe to be shown on a terminal; it ends with a newline."""
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def _check_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time needs its zone")
    return text


def _read_message(value: Any) -> BaseMessage:
    try:
        [message] = messages_from_dict([value])
    except Exception as error:  # LangChain's validators raise anything
        raise ValueError("this is no message") from error
    if isinstance(message, RemoveMessage):
        raise ValueError("this is no message")  # noqa: TRY004 -- pydantic reports ValueErrors
    return message


class _Summary(TypedDict):
    """The part of a run's summary that threads rely on."""

    answered_by: str
    usage: Usage
    cost: float | None
    calls: int
    warnings: list[str]
    aggregator: _Call
    failed_aggregators: list[Proposal]
    sources: NotRequired[list[ShownSource]]
    decision: NotRequired[dict[str, Any]]
    stopped: NotRequired[dict[str, str]]


class _Call(TypedDict):
    id: str
    layer: Literal["aggregator"]
    proposer: str
    attempts: int
    references: list[str]
    passages: NotRequired[list[Passage]]
    nonce: NotRequired[str]


_SUMMARY = TypeAdapter(_Summary)


def _check_answer(message: BaseMessage) -> BaseMessage:
    if not isinstance(message, AIMessage):
        raise ValueError("an answer is a message of type ai")  # noqa: TRY004 -- as above
    _SUMMARY.validate_python(message.response_metadata.get("moa"), strict=True)
    return message


def _known_terms(value: Any) -> Any:
    """Return terms without those that a later version may have added."""
    known = PlainTerms.__annotations__
    return {key: item for key, item in value.items() if key in known} if isinstance(value, dict) else value


def _check_limits(terms: PlainTerms) -> PlainTerms:
    try:
        lowered(LimitsSpec(), terms.get("limits"))
    except MoAError as error:
        raise ValueError(error.message) from error
    return terms


Time = Annotated[str, AfterValidator(_check_time)]
Message = Annotated[BaseMessage, PlainValidator(_read_message)]
AnswerMessage = Annotated[BaseMessage, PlainValidator(_read_message), AfterValidator(_check_answer)]
AskedOn = Annotated[PlainTerms, BeforeValidator(_known_terms), AfterValidator(_check_limits)]
Nonce = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _From(_Line):
    thread: str
    checkpoint: str | None


class Header(_Line):
    """Begin a file: the thread, and the spec that it is pinned to."""

    type: Literal["thread"]
    format: Literal[1]
    thread: str
    spec: str
    spec_hash: str
    origin: _From | None = None
    created: Time
    texts: bool = True


class Asked(_Line):
    """Begin a turn; `terms` are those that it was asked on."""

    type: Literal["turn"]
    turn: Annotated[str, Field(min_length=1)]
    began: Time
    messages: Annotated[list[Message], Field(min_length=1)]
    terms: AskedOn = Field(default_factory=PlainTerms)


class _Event(_Line):
    when: Time


class Question(_Event):
    """Say that the turn's messages entered the conversation."""

    type: Literal["question"]


class StoppedAfter(_Line):
    """Say after which layer, and why, the layers that were left were not needed."""

    layer: str
    reason: str


class Fork(_Event):
    """Hold what a fork took over from its origin: all that was there after the step `after`."""

    type: Literal["fork"]
    after: str | None
    conversation: list[Message]
    proposals: list[Proposal]
    answer: AnswerMessage | None = None
    passages: list[Passage] = []
    warnings: list[str] = []
    nonce: Nonce | None = None
    stopped: StoppedAfter | None = None


class Retrieve(_Event):
    """Hold the passages that were retrieved for everybody, and what went wrong with that."""

    type: Literal["retrieve"]
    passages: list[Passage]
    warnings: list[str]
    nonce: Nonce | None = None


class Layer(_Event):
    """Hold the records of a layer that ended, and why the layers after it were not needed, if so."""

    type: Literal["layer"]
    layer: str
    proposals: list[Proposal]
    nonce: Nonce | None = None
    stopped: str | None = None


class Edit(_Event):
    """Say who changed what; `proposals` are the changed records, none for an approval."""

    type: Literal["edit"]
    what: str
    by: str
    proposals: list[Proposal]


class Answer(_Event):
    """Hold the answer, and the calls about proposals that led to it."""

    type: Literal["answer"]
    message: AnswerMessage
    proposals: list[Proposal] = []
    nonce: Nonce | None = None


class Finished(_Line):
    """Hold a proposal that is kept, but whose layer had not ended."""

    type: Literal["finished"]
    proposal: Proposal


class Failed(_Line):
    """Hold the record of a call of the turn that failed."""

    type: Literal["failure"]
    proposal: Proposal


class Standing(_Line):
    """End a turn: how it stands."""

    type: Literal["status"]
    status: Literal["interrupted", "answered", "failed"]
    reason: str
    ended: Time | None
    seconds: float


class End(_Line):
    """End a file; `lines` are before this one."""

    type: Literal["end"]
    lines: int


Line = (
    Header | Asked | Question | Fork | Retrieve | Layer | Edit | Answer | Finished | Failed | Standing | End
)
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])
KINDS = frozenset(
    {
        "thread",
        "turn",
        "question",
        "fork",
        "retrieve",
        "layer",
        "edit",
        "answer",
        "finished",
        "failure",
        "status",
        "end",
    }
)


@dataclass
class Step:
    """Hold what made one checkpoint, and the proposals that were finished after it."""

    event: Question | Fork | Retrieve | Layer | Edit | Answer
    finished: list[Proposal] = field(default_factory=list)


@dataclass
class PortableTurn:
    """Hold one turn; one that never began has no steps."""

    asked: Asked
    steps: list[Step] = field(default_factory=list)
    failures: list[Proposal] = field(default_factory=list)
    standing: Standing | None = None

    @property
    def answer(self) -> BaseMessage | None:
        """Return the message that answers it."""
        last = self.steps[-1].event if self.steps else None
        if isinstance(last, Answer):
            return last.message
        return last.answer if isinstance(last, Fork) else None


@dataclass
class Portable:
    """Hold an exported thread that was found valid."""

    header: Header
    spec: MoASpec
    turns: list[PortableTurn] = field(default_factory=list)
