"""Ids of responses: each names a thread and a turn of it, of whichever key asks."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from hashlib import sha256

from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key

__all__ = ["ResponseId", "new_id", "not_found", "read_id"]

_FORM = re.compile(r"resp_([0-9a-f]{32})_([0-9a-f]{16})")


@dataclass(frozen=True)
class ResponseId:
    """Name a response: 32 hexadecimal digits for its thread, 16 for its turn."""

    thread: str
    turn: str

    def __str__(self) -> str:
        return f"resp_{self.thread}_{self.turn}"

    def of(self, kind: str, number: int) -> str:
        """Return the id of an output item: its kind (`msg`, `fc`, `rs`), and which one of these it is."""
        return f"{kind}_{self.thread}_{self.turn}_{number}"

    def thread_of(self, key: Key) -> str:
        """Return the thread in the store; another key's is another thread, and not there."""
        return f"{key.id}/resp/{self.thread}"

    def once(self, key: Key) -> str:
        """Return the thread of a response that is kept only to be given again under its Idempotency-Key."""
        return f"{key.id}/once/resp-{self.thread}"


def new_id(key: Key, repeated: str | None) -> ResponseId:
    """Return an id: the same one each time for an Idempotency-Key, `repeated`; without it, a random one."""
    if repeated is None:
        return ResponseId(secrets.token_hex(16), secrets.token_hex(8))
    digest = sha256(f"{key.id}\n{repeated}".encode("utf-8", "surrogatepass")).hexdigest()
    return ResponseId(digest[:32], digest[32:48])


def read_id(text: str, param: str | None = None) -> ResponseId:
    """Return an id that a client gives; raise Refused (404) for what cannot be one."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise not_found(text, param)
    return ResponseId(found[1], found[2])


def not_found(text: str, param: str | None = None) -> Refused:
    """Return the refusal of a response that is not there, or that is somebody else's."""
    code = "previous_response_not_found" if param else "response_not_found"
    return Refused(404, f"there is no response {text[:100]!r}", code=code, param=param)
