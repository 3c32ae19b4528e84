"""Ask an ASGI application directly, message by message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Reply", "ask"]

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass
class Reply:
    """Hold what an application sent, and how many messages of the request's body it took."""

    messages: list[Any] = field(default_factory=list)
    taken: int = 0

    @property
    def starts(self) -> list[Any]:
        return [message for message in self.messages if message["type"] == "http.response.start"]

    @property
    def status(self) -> int:
        (start,) = self.starts
        return int(start["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def ended(self) -> bool:
        return self.messages[-1]["type"] == "http.response.body" and not self.messages[-1].get("more_body")

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.body)["error"])

    def header(self, name: str) -> str | None:
        (start,) = self.starts
        found = [value.decode() for key, value in start["headers"] if key.decode().lower() == name]
        assert len(found) <= 1
        return found[0] if found else None


async def ask(
    app: Any,
    method: str = "GET",
    path: str = "/v1/models",
    *,
    headers: Headers = (),
    body: Iterable[bytes] = (),
    gone: bool = False,
    reply: Reply | None = None,
    **scope: Any,
) -> Reply:
    """Send a request whose body comes in pieces; with `gone` its client goes after the last of them."""
    reply = Reply() if reply is None else reply
    pieces = list(body)
    over = asyncio.Event()
    pairs = headers.items() if isinstance(headers, Mapping) else headers

    async def receive() -> dict[str, Any]:
        reply.taken += 1
        if pieces:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces) or gone}
        if not gone and reply.taken == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        if not gone:
            await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        reply.messages.append(message)
        if reply.ended:
            over.set()

    whole = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
    }
    await app(whole | scope, receive, send)
    return reply
