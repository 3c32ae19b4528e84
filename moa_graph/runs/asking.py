"""A turn begins with what was asked; asking the same again is recognised by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from uuid import uuid4

from langchain_core.messages import BaseMessage, RemoveMessage, messages_from_dict, messages_to_dict

from moa_graph.runs.records import Turn, now
from moa_graph.runs.thread import Thread

__all__ = ["digest_of", "new_turn", "question_of"]

_PREVIEW = 200
"""Characters of a question that lists show."""


def new_turn(id_: str | None, messages: Sequence[BaseMessage]) -> Turn:
    """Return a turn that asks `messages`; those without an id get one, so that they are added but once."""
    unique = uuid4().hex  # not the turn's id: a fork's conversation holds turns that its record does not know
    for place, message in enumerate(messages):
        message.id = message.id or f"{unique}-{place}"
    return Turn(
        id=id_ if id_ is not None else unique,
        question=_preview(str(messages[-1].text)),
        digest=digest_of(messages),
        messages=messages_to_dict(messages),
        message_ids=[str(message.id) for message in messages],
        began=now(),
    )


def _preview(text: str) -> str:
    """Return the beginning of a question; after long documents that is the last paragraph's."""
    text = text.strip()
    if len(text) > _PREVIEW:
        text = text.rpartition("\n\n")[2]
    return text[:_PREVIEW]


def digest_of(messages: Sequence[BaseMessage]) -> str:
    """Return what tells whether two questions are the same."""
    asked = [[message.type, message.content] for message in messages]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def question_of(thread: Thread) -> list[BaseMessage]:
    """Return a turn's messages, after taking out the questions before it that were given up."""
    given_up = {
        id_ for turn in thread.record.turns[:-1] if turn.checkpoint is None for id_ in turn.message_ids
    }
    there = [str(message.id) for message in thread.values.get("messages") or []]
    removed = [RemoveMessage(id=id_) for id_ in there if id_ in given_up]
    return [*removed, *messages_from_dict(thread.turn.messages)]
