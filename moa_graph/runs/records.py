"""What is known of a thread beside its checkpoints: its spec, its turns, and how each of them stands."""

from __future__ import annotations

import getpass
import operator
import os
import re
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from moa_graph.errors import MoAError, StoreError, ThreadError
from moa_graph.runs.serializer import untrusted
from moa_graph.runs.stores import Store
from moa_graph.spec.loading import dump_spec, is_hash_of, parse_spec, spec_hash
from moa_graph.spec.schema import MoASpec
from moa_graph.state import Proposal
from moa_graph.terms import Cadence

__all__ = [
    "FORMAT",
    "LONGEST_THREAD",
    "QUEUED",
    "SILENT_END",
    "Origin",
    "PlainTerms",
    "RunStatus",
    "ThreadRecord",
    "Turn",
    "key_of",
    "now",
    "read_record",
    "require_record",
    "thread_of",
    "whoami",
]

FORMAT = 1
"""The version of these records, and of what an export holds."""
LONGEST_THREAD = 255
"""Characters; a database's index bounds the length of a key."""

SILENT_END = "its process ended without a word"
"""Why a turn stands as it does whose process was killed."""

QUEUED = "queued"
"""Why a turn stands as it does that was noted down to be run later."""

RunStatus = Literal["running", "interrupted", "answered", "failed"]

_UNSAFE = re.compile(r"[%\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


class _Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class PlainTerms(TypedDict, total=False):
    """Hold those of a run's terms that are plain data; the others live only as long as a process."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]

    acting: dict[str, Any]
    fan_out: Cadence
    limits: dict[str, float]


class Turn(_Plain):
    """Hold one question and how its answer stands.

    `messages` are what was asked, as LangChain writes messages to JSON; they are given up once the turn is
    answered, for the checkpoints have them. `failures` are records of the calls that failed: they gave
    nothing but were paid for. `seconds` add up over all processes that worked on the turn. `checkpoint` is
    the one with the answer. `terms` are those of `moa_graph.terms.Terms` that are plain data: whoever goes on
    with the turn asks on the same terms. `notes` are the host's, and mean nothing here.
    """

    id: str
    question: str
    digest: str
    messages: list[dict[str, Any]]
    message_ids: list[str]
    status: RunStatus = "running"
    reason: str = ""
    began: str
    ended: str | None = None
    seconds: float = 0.0
    failures: list[Proposal] = Field(default_factory=list)
    checkpoint: str | None = None
    # Not written where they are empty: earlier versions refuse what they do not know.
    terms: PlainTerms = Field(default_factory=PlainTerms, exclude_if=operator.not_)
    notes: dict[str, Any] = Field(default_factory=dict, exclude_if=operator.not_)


class Origin(_Plain):
    """Say where a fork was taken from."""

    thread: str
    checkpoint: str | None


class ThreadRecord(_Plain):
    """Hold a thread: the canonical spec that it is pinned to, its turns, and where it was forked from."""

    format: Literal[1] = 1
    thread: str
    spec: str
    spec_hash: str
    turns: list[Turn]
    origin: Origin | None = None
    created: str
    updated: str

    @property
    def turn(self) -> Turn:
        """Return the last turn."""
        return self.turns[-1]

    @property
    def answered(self) -> str | None:
        """Return the id of the last turn that has an answer."""
        return next((turn.id for turn in reversed(self.turns) if turn.checkpoint is not None), None)

    @classmethod
    def new(cls, thread: str, spec: MoASpec, origin: Origin | None = None) -> ThreadRecord:
        """Return the record of a thread without turns."""
        time = now()
        return cls(
            thread=thread,
            spec=_text(spec.model_dump_json(by_alias=True)),
            spec_hash=spec_hash(spec),
            turns=[],
            origin=origin,
            created=time,
            updated=time,
        )

    def load_spec(self) -> MoASpec:
        """Return the spec; raise StoreError if it is not the one whose hash was saved."""
        try:
            spec = parse_spec(self.spec, file=f"thread {self.thread}", files=False)
        except MoAError as error:
            raise self._untrusted(f"its spec cannot be read: {error.message}") from error
        if not is_hash_of(self.spec_hash, spec):
            raise self._untrusted("its spec does not have the hash that was saved with it")
        return spec

    async def save(self, store: Store) -> None:
        """Write the record."""
        self.updated = now()
        # Its key names it here, too: a lone surrogate in an id would not come back from a store.
        key = key_of(self.thread)
        await store.write(key, self.model_dump(mode="json") | {"thread": key})

    def _untrusted(self, reason: str) -> StoreError:
        return untrusted(reason, f"thread {self.thread!r}")


@lru_cache(maxsize=64)
def _text(canonical: str) -> str:
    return dump_spec(MoASpec.model_validate_json(canonical))  # as YAML, for people; slow for every new thread


async def read_record(store: Store, thread: str) -> ThreadRecord | None:
    """Return a thread's record, or None; raise StoreError when it is not what was written."""
    data = await store.read(key_of(thread))
    if data is None:
        return None
    place = f"{store.url}: the record of thread {thread!r}"
    try:
        record = ThreadRecord.model_validate(data)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise untrusted(f"{where} is not what was written" if where else "it is no record", place) from error
    if record.thread != key_of(thread) or not record.turns:
        raise untrusted("it is another thread's, or empty", place)
    record.thread = thread
    return record


async def require_record(store: Store, thread: str) -> ThreadRecord:
    """Return a thread's record; raise ThreadError if there is none."""
    record = await read_record(store, thread)
    if record is None:
        ids = [thread_of(key) for key in await store.keys()]
        close = " or ".join(repr(id_) for id_ in get_close_matches(thread, ids, 3, 0.5))
        raise ThreadError(
            f"there is no thread {thread!r} in {store.url}",
            hint=f"Did you mean {close}?" if close else "See which there are with `moa threads`.",
        )
    return record


def key_of(thread: str) -> str:
    """Return the key that a store knows a thread by: the id itself, with what stores do not bear escaped.

    Raises ThreadError for an empty id and for one that is longer than LONGEST_THREAD.
    """
    if not thread.strip() or len(thread) > LONGEST_THREAD:
        raise ThreadError(
            f"{thread[:40]!r} cannot be a thread's id",
            hint=f"Use any text of 1 to {LONGEST_THREAD} characters.",
        )
    return _UNSAFE.sub(_escaped, thread)


def thread_of(key: str) -> str:
    """Return the id that a key was made from."""
    return unquote(key, errors="surrogatepass")


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def now() -> str:
    """Return the time, in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def whoami() -> str:
    """Return the name to sign edits with where nobody gives one."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in the system, as in some containers
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"
