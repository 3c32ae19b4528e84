"""Datasets: from rows to items with an id, what is asked, and the gold answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moa_graph.evaluation.rows import Found, Row, read_rows, refuse

__all__ = ["Dataset", "Fields", "Item", "Message", "choose", "question_digest", "read_dataset"]

Message = Mapping[str, Any]
"""A chat message: `role` and `content`."""

_QUESTIONS = ("question", "instruction", "prompt", "problem", "messages", "turns", "text")
_GOLD = ("gold", "answer", "target")
_IDS = ("id", "question_id")
_CONTEXT = "context"
_ROLES = frozenset({"system", "user", "assistant"})


@dataclass(frozen=True)
class Fields:
    """Name the fields of a row; None stands for the first usual name that the first row has, or any row."""

    question: str | None = None
    gold: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class Item:
    """Hold one question of a dataset.

    `turns` are the messages that each turn of the conversation asks, `gold` the answers of which one is to be
    given (none where it is unknown), `row` the fields as the file has them; `asked` is the field that the
    question stands in, `place` where the row stands, such as `questions.jsonl:7`.
    """

    id: str | int
    turns: tuple[tuple[Message, ...], ...]
    gold: tuple[str, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)
    asked: str = "question"
    place: str = ""


@dataclass(frozen=True)
class Dataset:
    """Hold the items of a file; `digest` is the SHA-256 of their ids and of what they ask, in any order.

    `fields` are those that were named.
    """

    file: str
    items: tuple[Item, ...]
    digest: str
    fields: Fields = field(default_factory=Fields)

    @property
    def name(self) -> str:
        """Return the file's name without folder and suffix."""
        return Path(self.file).stem


def read_dataset(path: Path, fields: Fields | None = None) -> Dataset:
    """Read a dataset; raise MoAError with the place of every fault.

    A question is a text, a list of chat messages that ends with the user's, or a list of texts: the turns of
    one conversation. A field `context` (a text, or a list of texts) goes before the first turn's question.
    """
    found = read_rows(path)
    given = fields or Fields()
    items = _items(found, _resolve(given, found))
    asked = [[item.id, item.turns] for item in sorted(items, key=lambda item: str(item.id))]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return Dataset(str(path), tuple(items), digest, given)


def question_digest(item: Item) -> str:
    """Return the SHA-256 of what an item asks."""
    return hashlib.sha256(json.dumps(item.turns, sort_keys=True).encode()).hexdigest()


def choose(
    items: Sequence[Item], *, limit: int | None = None, sample: int | None = None, seed: int = 0
) -> list[Item]:
    """Return the first `limit` items, or a random `sample` in the dataset's order.

    A sample depends on the items' ids and the seed alone, and is a part of every greater one.
    """
    if sample is None:
        return list(items[:limit])

    def place(item: Item) -> str:
        return hashlib.sha256(f"{seed}/{item.id}".encode("utf-8", "surrogatepass")).hexdigest()

    drawn = {item.id for item in sorted(items, key=place)[:sample]}
    return [item for item in items if item.id in drawn][:limit]


def _resolve(fields: Fields, found: Sequence[Found]) -> Fields:
    """Return the names of all fields; raise MoAError, with all faults, where no row has a usual question."""
    rows = [row for row in found if not isinstance(row, str)]
    faults = [fault for fault in found if isinstance(fault, str)]
    if not rows:
        refuse(faults)
    place, first = rows[0]
    # A field that the first row lacks and another one has is not passed over: its absence is a fault then.
    names = [*first, *{name: None for _, row in rows for name in row}]

    def known(given: str | None, usual: Sequence[str]) -> str | None:
        return given or next((name for fields in (first, names) for name in usual if name in fields), None)

    question = known(fields.question, _QUESTIONS)
    if question is None:
        refuse(
            [*faults, f"{place}: none of its fields is known to be the question"],
            hint=f"Say which one is: --question FIELD. It has: {', '.join(map(str, first))}.",
        )
    return Fields(question, known(fields.gold, _GOLD), known(fields.id, _IDS))


def _items(found: Sequence[Found], fields: Fields) -> list[Item]:
    """Return the items of rows; raise MoAError with every fault, also those that were found in reading."""
    items, faults = [], []
    places: dict[str, str] = {}
    for number, row in enumerate(found, 1):
        if isinstance(row, str):
            faults.append(row)
            continue
        try:
            item = _item(row, fields, number)
        except ValueError as error:
            faults.append(f"{row[0]}: {error}")
            continue
        earlier = places.setdefault(str(item.id), row[0])
        if earlier != row[0]:
            faults.append(f"{row[0]}: the id {item.id!r} is that of {earlier}, too")
        items.append(item)
    refuse(faults)
    return items


def _item(row: Row, fields: Fields, number: int) -> Item:
    values = row[1]
    turns = _turns(_value(values, fields.question or ""))
    if (context := _context(values.get(_CONTEXT))) is not None:
        turns = [_with_context(turns[0], context), *turns[1:]]
    gold = _gold(_value(values, fields.gold)) if fields.gold else ()
    id_ = _id(_value(values, fields.id)) if fields.id else number
    return Item(id_, tuple(map(tuple, turns)), gold, values, fields.question or "", row[0])


def _value(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise ValueError(f"it has no field {name!r}, but {', '.join(map(repr, values)) or 'none at all'}")
    return values[name]


def _turns(question: Any) -> list[list[Message]]:
    if isinstance(question, str):
        question = [question]
    if not isinstance(question, list) or not question:
        raise ValueError("the question is neither a text nor a list of messages or of texts")
    if all(isinstance(part, str) for part in question):
        if not all(part.strip() for part in question):
            raise ValueError("the question is blank")
        return [[{"role": "user", "content": part}] for part in question]
    return [_conversation(question)]


def _conversation(messages: list[Any]) -> list[Message]:
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise ValueError(f"message {number} has no role of {', '.join(sorted(_ROLES))}")
        content = message.get("content")
        if not isinstance(content, str | list) or not (
            content.strip() if isinstance(content, str) else content
        ):
            raise ValueError(f"message {number} has no content")
        if not _is_plain(content):
            raise ValueError(f"message {number} has content that is not JSON")
    if messages[-1]["role"] != "user":
        raise ValueError("the last message is not the user's")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:  # Parquet has dates, bytes and more
        return False
    return True


def _context(value: Any) -> str | None:
    texts = value if isinstance(value, list) else [value]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise ValueError("the context is neither a text nor a list of texts")
    return "\n\n".join(text.strip() for text in texts if text and text.strip()) or None


def _with_context(messages: Sequence[Message], context: str) -> list[Message]:
    *before, last = messages
    if not isinstance(last["content"], str):
        raise ValueError("a context goes before a question that is a text, and this one has parts")  # noqa: TRY004 -- a fault of the file
    return [*before, {**last, "content": f"{context}\n\n{last['content']}"}]


def _gold(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(each is None or isinstance(each, str | int | float) for each in values):
        raise ValueError("the gold answer is neither a text, a number, nor a list of them")
    texts = [each if isinstance(each, str) else json.dumps(each) for each in values if each is not None]
    return tuple(text for text in texts if text.strip())


def _id(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ValueError("its id is neither a text nor a whole number")
    return value
