"""The access log: a line of JSON for each request, whatever became of it."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moa_graph.server.faults import closing, fault_of, refusal
from moa_graph.server.keys import SECRET

__all__ = ["GONE", "REQUEST_ID", "AccessLog"]

_LOG = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
_KEPT = "what was paid for is kept where the request said so"
_CLEAN = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LONGEST = 500
"""Characters of a text in the log."""
GONE = 499
"""What stands for a client that went before its answer ended, as in nginx's log."""


class AccessLog:
    """Write a line for each request with what routes note in `scope["state"]["moa"]`; name each by an id.

    The line holds no query, header, body or key. Every response bears `x-request-id`: the client's, where
    that is clean, or ours. An error that nobody expected becomes a 500 with it.
    """

    def __init__(
        self,
        app: ASGIApp,
        write: Callable[[str], None],
        count: Callable[[str | None, int], None] = lambda _path, _status: None,
    ) -> None:
        """Take what writes a line, and what counts a request by its route's template and its status."""
        self._app = app
        self._write = write
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            exchange.error = type(error).__name__
            if exchange.status is not None:
                raise  # too late for words: the server closes the connection
            _LOG.exception("%s failed", exchange.id)
            fault = fault_of(error)
            await refusal(scope, fault)(scope, receive, exchange.send)
        except asyncio.CancelledError as error:  # at the end of the server
            exchange.error = type(error).__name__
            if exchange.status is not None:
                raise
            await refusal(scope, closing(_KEPT))(scope, receive, exchange.send)
        finally:
            self._note(exchange)

    def _note(self, exchange: _Exchange) -> None:
        self._count(exchange.template, exchange.noted_status)
        try:
            self._write(exchange.line())
        except OSError as error:  # a full disk or a closed pipe takes the line, not the answer
            _LOG.warning("the access log cannot be written: %s", error.strerror or error)


class _Exchange:
    """Watch one request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = _id_of(Headers(scope=scope))
        self.status: int | None = None
        self.error: str | None = None
        self._scope, self._receive, self._send = scope, receive, send
        self._notes: dict[str, Any] = {}
        self._began = time.monotonic()
        self._bytes = 0
        self._length: str | None = None
        self._ended = self._gone = False
        scope.setdefault("state", {})["moa"] = self._notes

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._ended:
            self._gone = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self.id
            self._length = headers.get("content-length")
        else:
            self._bytes += len(message.get("body", b""))
        try:
            await self._send(message)
        except OSError:  # what a server says of a connection that is closed
            self._gone = True
            raise
        if message["type"] == "http.response.body":
            # A refused body is taken for a while after the whole answer went out: who goes then has it.
            self._ended = not message.get("more_body", False) or self._length == str(self._bytes)

    @property
    def noted_status(self) -> int:
        return GONE if self._gone else self.status or 500

    @property
    def template(self) -> str | None:
        """Return the path of the route that served the request, with the names of its parameters."""
        return getattr(self._scope.get("route"), "path", None)

    def line(self) -> str:
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request": self.id,
            "method": self._scope["method"],
            "path": _plain(self._scope["path"]),
            "status": self.noted_status,
            "seconds": round(time.monotonic() - self._began, 4),
            "bytes": self._bytes,
            "client_gone": self._gone,
        }
        if self.error is not None:
            record["error"] = self.error
        notes = {name: _plain(value) for name, value in self._notes.items() if name not in record}
        return json.dumps(record | notes, separators=(",", ":"))


def _id_of(headers: Headers) -> str:
    given = headers.getlist(REQUEST_ID)
    if len(given) == 1 and _CLEAN.fullmatch(given[0]) and not SECRET.search(given[0]):
        return given[0]
    return f"req_{uuid4().hex}"


def _plain(value: object) -> object:
    """Return what may stand in the log: short texts, numbers, None; of anything else its type."""
    if isinstance(value, str):
        return SECRET.sub("moa-…", value)[:_LONGEST]
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return type(value).__name__
