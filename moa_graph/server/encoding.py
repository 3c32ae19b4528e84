"""JSON that any client can read: what a model wrote may hold half a surrogate pair, which UTF-8 cannot."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse

__all__ = ["JsonReply", "encoded"]


def encoded(data: Any) -> str:
    """Return data as JSON in ASCII."""
    return json.dumps(data, allow_nan=False, separators=(",", ":"))


class JsonReply(JSONResponse):
    """Send data as JSON in ASCII."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return encoded(content).encode("ascii")
