"""What a model's server can answer instead of an answer, as typed exceptions without heavy imports."""

from __future__ import annotations

from typing import Literal

__all__ = ["REDACTED", "ModelOutputError", "ProviderError", "redact"]

REDACTED = "[redacted]"

_SHORTEST_SECRET = 6
"""Shorter values would turn up in ordinary words."""


class ModelOutputError(Exception):
    """Refuse a response that the protocol does not allow.

    `kind` is the failure kind: "malformed" (not a chat completion) or "too_long" (more bytes than
    we are ready to read).
    """

    def __init__(self, message: str, *, kind: Literal["malformed", "too_long"] = "malformed") -> None:
        super().__init__(message)
        self.message = message
        self.kind: Literal["malformed", "too_long"] = kind


class ProviderError(Exception):
    """Report an error that a provider put into the body of a response whose status said 200.

    `status_code` is the HTTP status that the body names, if it names one; `code` is the provider's
    own word for the error, such as "context_length_exceeded".
    """

    def __init__(self, message: str, *, code: str | None = None, status_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status_code = status_code


def redact(error: BaseException, secret: str) -> None:
    """Replace a secret in what an exception says, and in what the exceptions behind it say."""
    if len(secret) < _SHORTEST_SECRET:
        return
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        behind.args = tuple(
            part.replace(secret, REDACTED) if isinstance(part, str) else part for part in behind.args
        )
        behind = behind.__cause__ or behind.__context__
