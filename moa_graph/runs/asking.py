"""A turn begins with what was asked; asking the same again is recognised by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    MessageLikeRepresentation,
    RemoveMessage,
    ToolMessage,
    convert_to_messages,
    messages_from_dict,
    messages_to_dict,
)
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from moa_graph.errors import MoAError, ThreadError
from moa_graph.proposers.outcomes import clean
from moa_graph.runs.records import QUEUED, PlainTerms, ThreadRecord, Turn, now
from moa_graph.runs.thread import Thread
from moa_graph.spec.schema import LimitsSpec
from moa_graph.terms import Terms, lowered

__all__ = [
    "Asked",
    "Conditions",
    "cleaned",
    "cleaned_messages",
    "digest_of",
    "find_turn",
    "new_turn",
    "plain_terms",
    "question_of",
]

_PREVIEW = 200
"""Characters of a question that lists show."""
_LIVE = ("relay", "listen")
"""Terms that hold only while a process listens."""
_TERMS: TypeAdapter[PlainTerms] = TypeAdapter(PlainTerms)


class Conditions(TypedDict, total=False):
    """Say on what terms a turn is asked, and what the host notes with it.

    Of `terms` a thread keeps `acting`, `fan_out` (by default "every_call") and `limits`, as plain JSON:
    whoever goes on with the turn asks on them. `relay` gets the pieces of an answer that is written now,
    `listen` the events. `notes` are plain JSON, too, and come back with the Run. `after` is the id of the
    turn that a new one goes on from: where that is not the last answered one any more, or the thread is gone,
    nothing is asked.
    """

    terms: Terms | None
    notes: Mapping[str, Any] | None
    after: str | None


@dataclass(frozen=True)
class Asked:
    """Hold what a turn asks: its messages, on which terms, what the host notes, and after which turn."""

    messages: list[BaseMessage]
    terms: PlainTerms = field(default_factory=PlainTerms)
    notes: dict[str, Any] = field(default_factory=dict)
    after: str | None = None

    @classmethod
    def of(
        cls,
        question: str | Sequence[MessageLikeRepresentation],
        terms: Terms | None = None,
        notes: Mapping[str, Any] | None = None,
        after: str | None = None,
    ) -> Asked:
        """Return what is asked as a store bears it; raise MoAError for what is no question."""
        messages = convert_to_messages([("user", question)] if isinstance(question, str) else question)
        if not messages:
            raise MoAError(
                "there is nothing to answer", hint="Give a question, or messages that end with one."
            )
        kept, noted = plain_terms(terms or Terms()), _plain(dict(notes or {}), "notes")
        return cls(cleaned_messages(messages), kept, noted, cleaned(after))

    @property
    def digest(self) -> str:
        """Return what tells whether two questions are the same."""
        return digest_of(self.messages, self.terms)


def plain_terms(terms: Terms) -> PlainTerms:
    """Return what a thread keeps of a run's terms; raise MoAError for what no turn can be asked on."""
    given = {name: value for name, value in terms.items() if name not in _LIVE}
    try:
        kept = _TERMS.validate_python(_plain(given, "terms"))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise MoAError(
            f"terms: {where}: {fault['msg']}", hint="A turn has acting, fan_out and limits."
        ) from None
    lowered(LimitsSpec(), kept.get("limits"))
    return kept


def _plain(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a copy that a store bears, as JSON would give it back."""
    try:
        return cast("dict[str, Any]", cleaned(json.loads(json.dumps(value, allow_nan=False))))
    except (TypeError, ValueError, RecursionError) as error:
        raise MoAError(
            f"{name} cannot be kept in a thread: {error}", hint="Give plain JSON: texts, numbers, lists."
        ) from None


def cleaned(value: Any) -> Any:
    """Return plain data without what a store does not bear, as deep as it goes."""
    match value:
        case str():
            return clean(value)[0]
        case list():
            return [cleaned(part) for part in value]
        case dict():
            return {cleaned(name): cleaned(part) for name, part in value.items()}
    return value


def cleaned_messages(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return copies of messages without what a store does not bear, also in their names and calls."""
    return messages_from_dict(cleaned(messages_to_dict(messages)))


def new_turn(id_: str | None, asked: Asked) -> Turn:
    """Return a turn that asks; messages without an id get one, so that they are added but once."""
    unique = uuid4().hex  # not the turn's id: a fork's conversation holds turns that its record does not know
    messages = asked.messages
    for place, message in enumerate(messages):
        message.id = message.id or f"{unique}-{place}"
    return Turn(
        id=id_ if id_ is not None else unique,
        question=_preview(str(messages[-1].text)),
        digest=asked.digest,
        messages=messages_to_dict(messages),
        message_ids=[str(message.id) for message in messages],
        status="interrupted",
        reason=QUEUED,
        began=now(),
        terms=asked.terms,
        notes=asked.notes,
    )


def _preview(text: str) -> str:
    """Return the beginning of a question; after long documents that is the last paragraph's."""
    text = text.strip()
    if len(text) > _PREVIEW:
        text = text.rpartition("\n\n")[2]
    return text[:_PREVIEW]


def digest_of(messages: Sequence[BaseMessage], terms: PlainTerms | None = None) -> str:
    """Return what tells whether two questions are the same; what the aggregator may do is part of them."""
    asked: list[Any] = [[message.type, message.content, *_beside(message)] for message in messages]
    if acting := (terms or {}).get("acting"):
        asked.append(acting)
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def _beside(message: BaseMessage) -> list[Any]:
    """Return what tells a message apart from others of its content; nothing where no tools are used."""
    match message:
        case ToolMessage():
            return [message.tool_call_id, message.status]
        case AIMessage() if message.tool_calls or message.invalid_tool_calls:
            return [message.tool_calls, message.invalid_tool_calls]
    return []


def question_of(thread: Thread) -> list[BaseMessage]:
    """Return a turn's messages, after taking out the questions before it that were given up."""
    there = [str(message.id) for message in thread.values.get("messages") or []]
    removed = [RemoveMessage(id=id_) for id_ in there if id_ in thread.given_up]
    return [*removed, *messages_from_dict(thread.turn.messages)]


def find_turn(record: ThreadRecord, id_: str | None, asked: Asked) -> Turn | None:
    """Return the turn of an id; raise ThreadError if it asked something else."""
    found = next((turn for turn in record.turns if turn.id == id_), None)
    if found is not None and found.digest != asked.digest:
        raise ThreadError(
            f"turn {id_!r} of thread {record.thread!r} asked something else: {found.question!r}",
            hint="Give another turn id for another question.",
        )
    return found
