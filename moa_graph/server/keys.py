"""Who may ask: keys in a file that holds their hashes alone."""

from __future__ import annotations

import hmac
import json
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from moa_graph.errors import MoAError, ThreadBusy
from moa_graph.server.faults import Refused

__all__ = ["SECRET", "Key", "KeyLimits", "KeyRing", "add_key", "list_keys", "revoke_key"]

_LOG = logging.getLogger(__name__)

SECRET = re.compile(r"moa-[A-Za-z0-9_-]{43}")
"""What a key looks like: 256 random bits, so that one fast hash keeps it safe."""

_BEARER = re.compile(rf"(?i:bearer) +({SECRET.pattern})")
_NAME = re.compile(r"(?![0-9a-f]{12}\Z)[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""A key's name; none that could be another key's id."""
_MISSING = "Name another file (--keys, MOA_KEYS), or make this one with `moa keys add NAME`."
_LIST = "`moa keys list` shows those that are there."
_PATIENCE = 10.0
"""Seconds to wait for somebody else who writes the file."""


@dataclass(frozen=True)
class KeyLimits:
    """Hold what a key may use; None: as much as the server's default says, or without a limit there.

    `cost_per_day` is in USD.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, revalidate_instances="always"
    )

    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    concurrent_runs: Annotated[int, Field(ge=1)] | None = None
    cost_per_day: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    def over(self, default: KeyLimits) -> KeyLimits:
        """Return these limits, with the default's where there is none."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return KeyLimits(
            **{name: getattr(default, name) if value is None else value for name, value in own.items()}
        )


@dataclass(frozen=True)
class Key:
    """Describe a key without its secret: `id` is public and never given twice, `created` is ISO 8601."""

    id: str
    name: str
    limits: KeyLimits
    created: str = ""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: Annotated[str, Field(pattern=r"\A[0-9a-f]{12}\z")]
    name: Annotated[str, Field(max_length=64)]
    created: AwareDatetime
    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
    limits: KeyLimits = KeyLimits()

    def key(self, default: KeyLimits) -> Key:
        return Key(self.id, self.name, self.limits.over(default), self.created.isoformat())


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1] = 1
    keys: list[_Entry] = []


class KeyRing:
    """Tell whose a request is, by the keys of a file, which is read anew whenever it changes.

    Without a file everybody is the same key, "local". Raises MoAError for a file that cannot be read.
    """

    def __init__(self, path: Path | None, default: KeyLimits) -> None:
        self._path = path
        self._default = default
        self._entries: Sequence[_Entry] | None = ()
        self._stamp: tuple[int, ...] = ()
        if path is not None:
            self._entries, self._stamp = _read(path)

    @property
    def guarded(self) -> bool:
        """Tell whether callers must show a key."""
        return self._path is not None

    def find(self, authorization: str | None) -> Key:
        """Return whose key a header `Authorization` bears.

        Raises Refused: 401 for a key that is missing or unknown, 503 while the file cannot be read.
        """
        if self._path is None:
            return self._local()
        entries = self._current(self._path)
        bearer = _BEARER.fullmatch((authorization or "").strip(" \t"))
        if bearer is None:
            raise _unknown("show a key: Authorization: Bearer moa-…")
        digest = sha256(bearer[1].encode()).hexdigest()
        # All are looked at, each for as long as the others: time tells nothing of what the file holds.
        found = [entry for entry in entries if hmac.compare_digest(entry.sha256, digest)]
        if not found:
            raise _unknown("the key is unknown, or was revoked")
        return found[0].key(self._default)

    def by_id(self, id: str) -> Key | None:  # noqa: A002 - named as the field of Key
        """Return a key that is still there, else None; raise Refused, 503, while the file cannot be read."""
        if self._path is None:
            return self._local() if id == "local" else None
        entries = self._current(self._path)
        return next((entry.key(self._default) for entry in entries if entry.id == id), None)

    def _local(self) -> Key:
        return Key("local", "local", self._default)

    def _current(self, path: Path) -> Sequence[_Entry]:
        """Return what the file holds by now; whom a damaged one would admit is unknown, so it is nobody."""
        stamp = _stamp_of(path)
        if stamp != self._stamp:
            # Noted first: a file that is damaged is read, and complained about, once.
            self._entries, self._stamp = None, stamp
            try:
                self._entries, self._stamp = _read(path)
            except MoAError as error:
                _LOG.error("nobody is admitted: %s", error.message)
        if self._entries is None:
            raise Refused(503, "keys cannot be read", kind="server_error", code="keys_unreadable")
        return self._entries


def add_key(path: Path, name: str, limits: KeyLimits) -> str:
    """Add a key to a file, which is made if it is not there; return its secret, which is kept nowhere.

    Raises MoAError for a name that is taken or is none, for limits that are none, and for a file that cannot
    be used.
    """
    if not _NAME.fullmatch(name):
        raise MoAError(
            f"{name[:80]!r} cannot be a key's name",
            hint="Use up to 64 of the signs A-Z a-z 0-9 . _ @ -, first a letter or digit; not 12 hex digits.",
        )
    secret = f"moa-{secrets.token_urlsafe(32)}"
    with _held(path) as entries:
        if any(entry.name == name for entry in entries):
            raise MoAError(f"{path}: there is a key {name!r} already", hint=_LIST)
        _write(path, [*entries, _new(name, limits, secret)])
    return secret


def list_keys(path: Path) -> list[Key]:
    """Return the keys of a file with their own limits, the oldest first; raise MoAError if it is unusable."""
    return [entry.key(KeyLimits()) for entry in _read(path)[0]]


def revoke_key(path: Path, name_or_id: str) -> Key:
    """Take a key away and return what it was; raise MoAError where there is none."""
    _read(path)  # so that nothing is made beside a file that is not there
    with _held(path) as entries:
        gone = next((entry for entry in entries if name_or_id in (entry.id, entry.name)), None)
        if gone is None:
            raise MoAError(f"{path}: there is no key {name_or_id[:80]!r}", hint=_LIST)
        _write(path, [entry for entry in entries if entry is not gone])
    return gone.key(KeyLimits())


def _new(name: str, limits: KeyLimits, secret: str) -> _Entry:
    try:
        return _Entry(
            id=secrets.token_hex(6),
            name=name,
            created=datetime.now(UTC).replace(microsecond=0),
            sha256=sha256(secret.encode()).hexdigest(),
            limits=limits,
        )
    except ValidationError as error:
        place, problem = _first(error)
        raise MoAError(f"{place}: {problem}") from None


def _unknown(message: str) -> Refused:
    return Refused(
        401,
        message,
        kind="authentication_error",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _stamp_of(path: Path) -> tuple[int, ...]:
    """Return what changes with a file; nothing for one that cannot be looked at."""
    try:
        return _stamp(path.stat())
    except OSError:
        return ()


def _read(path: Path) -> tuple[list[_Entry], tuple[int, ...]]:
    """Return a file's keys and the stamp of what was read; raise MoAError, which never quotes the file."""
    try:
        with path.open("rb") as stream:
            stamp = _stamp(os.fstat(stream.fileno()))
            content = stream.read()
    except OSError as error:
        hint = _MISSING if isinstance(error, FileNotFoundError) else ""
        raise MoAError(f"cannot read {path}: {error.strerror or error}", hint=hint) from error
    try:
        entries = _File.model_validate_json(content).keys
    except ValidationError as error:
        raise _damaged(path, *_first(error)) from None
    for kind in ("id", "name", "sha256"):
        values = [getattr(entry, kind) for entry in entries]
        if len(set(values)) < len(values):
            raise _damaged(path, kind, "two keys have the same")
    return entries, stamp


def _first(error: ValidationError) -> tuple[str, str]:
    """Return where the first fault is and what it is; nothing of what was read."""
    fault = error.errors(include_input=False)[0]
    return ".".join(map(str, fault["loc"])), fault["msg"]


def _damaged(path: Path, place: str, problem: str) -> MoAError:
    return MoAError(
        f"{path}: not a file of keys: {f'{place}: ' if place else ''}{problem}",
        hint="Put a copy back, or move the file away and make new keys with `moa keys add NAME`.",
    )


@contextmanager
def _held(path: Path) -> Iterator[list[_Entry]]:
    """Keep everybody else from writing the file, and give what it holds."""
    whole = path.resolve()
    try:
        whole.parent.stat()  # the lock would make it
        with FileLock(whole.parent / f".{whole.name}.lock", mode=0o600, timeout=_PATIENCE):
            yield _read(path)[0] if path.exists() else []
    except Timeout as error:
        raise ThreadBusy(f"{path}: somebody else is writing it") from error
    except OSError as error:
        raise MoAError(f"cannot write {path}: {error.strerror or error}") from error


def _write(path: Path, entries: Sequence[_Entry]) -> None:
    """Write the file whole or not at all, for its owner alone to read."""
    path = path.resolve()
    content = _File(keys=list(entries)).model_dump(mode="json")
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(content, indent=2) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
            with suppress(FileNotFoundError):
                # Root may add keys to a file of the server's own user, who has to read it afterwards.
                before = path.stat()
                os.fchown(stream.fileno(), before.st_uid, before.st_gid)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
