"""Requests that are sent again: an Idempotency-Key stands for one request, whatever comes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from moa_graph.server.faults import Refused

__all__ = ["check_same", "digest_of", "repeated_by"]

_KEY = "Idempotency-Key"
_LONGEST = 255
"""Characters of an Idempotency-Key."""
_UNTOLD = ("stream", "stream_options", "background")
"""How an answer comes says nothing about which: who comes back for it may take it another way."""


def repeated_by(headers: Mapping[str, str]) -> str | None:
    """Return a request's Idempotency-Key, None where it has none; raise Refused for one that is unfit."""
    given = headers.get(_KEY.lower())
    if given is not None and (not given.strip() or len(given) > _LONGEST):
        raise Refused(400, f"{_KEY}: give 1 to {_LONGEST} characters", param=_KEY, code="invalid_value")
    return given


def digest_of(body: Mapping[str, Any]) -> str:
    """Return what tells a body from another one that asks something else."""
    told = {name: value for name, value in body.items() if name not in _UNTOLD and value is not None}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def check_same(notes: Mapping[str, Any], digest: str) -> None:
    """Raise Refused where a turn, by its notes, is of another request than the one with this digest."""
    if notes.get("body") != digest:
        raise Refused(
            422,
            f"this {_KEY} was used for another request: take a new one",
            param=_KEY,
            code="idempotency_key_reused",
        )
