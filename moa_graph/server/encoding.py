"""JSON that any client can read: what a model wrote may hold half a surrogate pair, which UTF-8 cannot."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse

__all__ = ["JsonReply", "encoded"]


def encoded(data: Any) -> str:
    """Return data as JSON that UTF-8 can hold: as people read it, or in ASCII where that cannot be."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text


class JsonReply(JSONResponse):
    """Send data as JSON."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return encoded(content).encode()
