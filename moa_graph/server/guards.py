"""What is refused before any route sees it: foreign hosts, foreign pages, bodies too large or no JSON."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from ipaddress import IPv6Address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moa_graph.errors import MoAError
from moa_graph.server.faults import Refused, refusal

__all__ = ["Guards", "read_hosts", "read_origins"]

_HOST = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?)(?::(?P<port>[0-9]{0,5}))?",
    re.ASCII | re.IGNORECASE,
)
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]{0,30})://(.+)", re.ASCII | re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
_LONGEST_HOST = 300
"""Characters of a host with its port; a name of the DNS has at most 253."""

_METHODS = "GET, POST, DELETE"
_HEADERS = frozenset({"authorization", "content-type", "idempotency-key", "x-request-id"})
_HEADER = re.compile(r"(?:x-moa|x-stainless|openai)-[a-z0-9-]{1,60}")
"""What a page may send besides; the last two are what OpenAI's own client adds."""
_EXPOSED = "x-request-id, retry-after, x-should-retry, x-moa-thread"
_REMEMBERED = "600"
"""Seconds for which a browser need not ask again."""

_PATIENCE = 30.0
"""Seconds for which the next part of a body is waited for."""
_LINGER = 2.0
_LINGERED = 16_000_000
"""Seconds, and bytes, for which a refused body is still taken, so that its sender reads the answer."""


def read_hosts(hosts: Collection[str]) -> frozenset[str]:
    """Return the names of hosts as they are compared; raise MoAError for what is none.

    `*` stands for every host: for use behind a proxy that looks at them itself.
    """
    return frozenset(map(_read_host, hosts))


def read_origins(origins: Collection[str]) -> frozenset[str]:
    """Return origins as browsers write them (https://chat.example); raise MoAError for what is none."""
    return frozenset(map(_read_origin, origins))


class Guards:
    """Refuse what must not reach a route, and let pages of allowed origins ask (CORS).

    A request's Host must be one of `hosts` (421), its Origin, if there is one, one of `origins` (403): so no
    page in a browser asks a server on loopback behind its user's back. A body must be JSON (415) of at most
    `body_limit` bytes (413). Raises MoAError for hosts and origins that are none.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str], origins: Collection[str], body_limit: int = 1_000_000
    ) -> None:
        self._app = app
        self._hosts = read_hosts(hosts)
        self._origins = read_origins(origins)
        self._limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSocket is served here"})
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        counted = _Counted(scope, receive, send, self._limit)
        try:
            self._check_host(headers)
            origin = self._origin(headers)
            if self._origins:
                counted.send_to(_marked(send, origin))
            if origin and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await _preflight(headers)(scope, receive, counted.send)
                return
            _check_body(headers, self._limit)
        except Refused as refused:
            await counted.refuse(refused)
            return
        try:
            await self._app(scope, counted.receive, counted.send)
        except Exception:
            if not counted.refused:
                raise

    def _check_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        if len(given) != 1:
            raise Refused(400, "a request must have one header Host", code="invalid_host")
        try:
            name, _ = _split(given[0].strip(" \t"))
        except ValueError:
            raise Refused(400, "the header Host cannot be read", code="invalid_host") from None
        if name not in self._hosts and "*" not in self._hosts:
            raise Refused(
                421,
                f"{name!r} is no name of this server; whoever runs it can allow it with --allow-host",
                code="host_not_allowed",
            )

    def _origin(self, headers: Headers) -> str | None:
        """Return the origin of the page that asks; None for a program."""
        given = headers.getlist("origin")
        if not given:
            return None
        if len(given) > 1 or given[0] not in self._origins:
            raise Refused(
                403,
                "pages of this origin may not ask; whoever runs the server can allow it with --allow-origin",
                kind="permission_error",
                code="origin_not_allowed",
            )
        return given[0]


class _Counted:
    """Count a body as it is read; answer in the application's place once there is too much of it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self.refused = False
        self._scope = scope
        self._receive, self._send, self._limit = receive, send, limit
        self._read = 0
        self._more = True
        self._began = False

    def send_to(self, send: Send) -> None:
        self._send = send

    async def receive(self) -> Message:
        try:
            async with asyncio.timeout(_PATIENCE if self._more else None):
                message = await self._receive()
        except TimeoutError:
            raise await self._ended(_too_slow()) from None
        self._count(message)
        if self._read > self._limit:
            raise await self._ended(_too_large(self._limit))
        return message

    async def _ended(self, refused: Refused) -> Refused:
        if not (self._began or self.refused):
            await self.refuse(refused)
        return refused

    async def send(self, message: Message) -> None:
        if not self.refused:
            self._began = True
            await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Answer; where that closes the connection, not before the sender had time to read it."""
        self.refused = True
        response = refusal(self._scope, refused)
        closing = "connection" in response.headers
        start = {"type": "http.response.start", "status": refused.status, "headers": response.raw_headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": response.body, "more_body": closing})
        if closing:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _count(self, message: Message) -> None:
        self._read += len(message.get("body", b""))
        self._more = message.get("more_body", False)

    async def _linger(self) -> None:
        """Take what is still sent, for a while: a connection closed at once takes the answer along."""
        try:
            async with asyncio.timeout(_LINGER):
                while self._more and self._read < self._limit + _LINGERED:
                    self._count(await self._receive())
        except TimeoutError:
            return


def _split(text: str) -> tuple[str, int | None]:
    """Return a host as it is compared (IPv6 without brackets) and its port; raise ValueError for none."""
    match = _HOST.fullmatch(text) if len(text) <= _LONGEST_HOST else None
    if match is None:
        raise ValueError(text)
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > 65_535:
        raise ValueError(text)
    address = match["address"]
    return (IPv6Address(address).compressed if address else match["name"].lower()), port


def _read_host(host: str) -> str:
    if host == "*":
        return host
    try:
        name, port = _split(f"[{host}]" if host.count(":") > 1 and "[" not in host else host)
    except ValueError:
        port = -1
    if port is not None:
        raise MoAError(
            f"{host!r} is not the name of a host", hint="Give a name or an address, without a port."
        )
    return name


def _read_origin(origin: str) -> str:
    match = _ORIGIN.fullmatch(origin)
    try:
        name, port = _split(match[2] if match else "")
    except ValueError:
        match = None
    if match is None:
        raise MoAError(
            f"{origin!r} is not an origin",
            hint="Give a scheme and a host, such as https://chat.example:8443.",
        )
    scheme = match[1].lower()
    host = f"[{name}]" if ":" in name else name
    return f"{scheme}://{host}" if port in (None, _PORTS.get(scheme)) else f"{scheme}://{host}:{port}"


def _check_body(headers: Headers, limit: int) -> None:
    """Refuse a body by what its headers tell of it."""
    lengths = headers.getlist("content-length")
    if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
        raise Refused(400, "the header Content-Length cannot be read", code="invalid_content_length")
    length = lengths[0].lstrip("0") if lengths else ""
    if len(length) > 18 or int(length or 0) > limit:
        raise _too_large(limit)
    if not length and "transfer-encoding" not in headers:
        return
    if "content-encoding" in headers:
        raise Refused(415, "a body must come as it is, without Content-Encoding", code="unsupported_encoding")
    kinds = [kind.partition(";")[0].strip().lower() for kind in headers.getlist("content-type")]
    if kinds != ["application/json"]:
        raise Refused(415, "a body must have Content-Type: application/json", code="unsupported_content_type")


def _too_slow() -> Refused:
    message = f"the body did not come within {_PATIENCE:g} s"
    return Refused(408, message, code="body_too_slow", headers={"Connection": "close"})


def _too_large(limit: int) -> Refused:
    message = f"the body is larger than {limit:,} bytes"
    return Refused(413, message, code="body_too_large", headers={"Connection": "close"})


def _preflight(headers: Headers) -> Response:
    """Return what a browser asks for before it lets a page ask."""
    asked = headers.get("access-control-request-headers", "").lower().replace(" ", "").split(",")
    allowed = _HEADERS | {name for name in asked if _HEADER.fullmatch(name)}
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": ", ".join(sorted(allowed)),
            "Access-Control-Max-Age": _REMEMBERED,
        },
    )


def _marked(send: Send, origin: str | None) -> Send:
    """Return a `send` whose responses say which page may read them."""

    async def mark(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.add_vary_header("Origin")
            if origin is not None:
                headers["Access-Control-Allow-Origin"] = origin
                headers["Access-Control-Expose-Headers"] = _EXPOSED
        await send(message)

    return mark
