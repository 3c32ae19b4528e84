"""HTTP for model calls: aiohttp under httpx2, one pool of connections per endpoint and event loop."""

from __future__ import annotations

import asyncio
import atexit
import functools
import io
import os
import ssl
import threading
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

from moa_graph.models.failures import ModelOutputError

__all__ = ["MAX_RESPONSE_BYTES", "AiohttpTransport", "client_for"]

MAX_RESPONSE_BYTES = 32 * 2**20
"""The most that one response may have after decompression."""
_MAX_CONNECTIONS = 4096
_LONG_BODY = 2**20
_KEEPALIVE_SECONDS = 4.0
"""Less than the 5 s after which common model servers close an idle connection."""
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)
"""The caller has a wall clock; a second one here would only disagree with it."""
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


@functools.cache
def client_for(origin: str) -> httpx2.AsyncClient:
    """Return the one client of an endpoint, such as `https://api.openai.com`; any event loop may use it.

    Redirects are not followed. Proxies come from the environment (HTTPS_PROXY, NO_PROXY), as they are
    when the endpoint is first used.
    """
    parts = urlsplit(origin)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    transport = AiohttpTransport(proxy=proxy)
    return httpx2.AsyncClient(transport=transport, follow_redirects=False, timeout=None, trust_env=False)


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Send requests through the aiohttp session of the event loop that runs.

    Measured at 200 concurrent calls, aiohttp takes about half the CPU of httpx2's own transport. A
    session dies with its event loop: it is closed when the loop shuts down.
    """

    def __init__(self, *, proxy: str | None = None, max_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self._proxy = proxy
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; raise httpx2's exceptions, and ModelOutputError for a body that is too long."""
        body = await request.aread()
        session = await _sessions.get(self)
        with _httpx2_errors(request):
            response = await session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=_headers(request),
                # aiohttp warns of long bodies that are not streams: it would send them in one piece.
                data=io.BytesIO(body) if len(body) > _LONG_BODY else body or None,
                allow_redirects=False,
                proxy=self._proxy,
                ssl=_tls() if request.url.scheme == "https" else True,
            )
        # Decoded here, within bounds: httpx2 must not see the encoding, or it would decode again.
        received = [
            (name, value)
            for name, value in response.raw_headers
            if name.lower() not in {b"content-encoding", b"set-cookie"}
        ]
        return httpx2.Response(
            response.status,
            headers=received,
            stream=_Body(request, response, self._max_bytes),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": (response.reason or "").encode()},
        )

    async def aclose(self) -> None:
        """Close this loop's connections; the transport can be used again."""
        await _sessions.close(self)


def _headers(request: httpx2.Request) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in request.headers.multi_items() if name != "accept-encoding"]
    return [*kept, ("accept-encoding", "identity")]


class _Body(httpx2.AsyncByteStream):
    """Yield the decoded bytes of a response, up to a bound."""

    def __init__(self, request: httpx2.Request, response: aiohttp.ClientResponse, max_bytes: int) -> None:
        self._request = request
        self._response = response
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        encoding = self._response.headers.get("Content-Encoding", "identity").strip().lower() or "identity"
        if encoding != "identity" and encoding not in _WINDOW_BITS:
            raise ModelOutputError(f"the server compressed its response with {encoding!r}, unasked")
        inflater = zlib.decompressobj(_WINDOW_BITS[encoding]) if encoding != "identity" else None
        left = self._max_bytes
        with _httpx2_errors(self._request):
            async for received in self._response.content.iter_any():
                decoded = _inflate(inflater, received, left + 1) if inflater else received
                left -= len(decoded)
                if left < 0:
                    raise ModelOutputError(
                        f"the response is longer than {self._max_bytes / 2**20:g} MiB", kind="too_long"
                    )
                yield decoded

    async def aclose(self) -> None:
        """Give the connection back if the response was read to its end; otherwise close it."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _inflate(inflater: zlib._Decompress, data: bytes, limit: int) -> bytes:
    try:
        return inflater.decompress(data, limit)
    except zlib.error as error:
        raise ModelOutputError(f"the response is not validly compressed: {error}") from error


_ERRORS: tuple[tuple[type[Exception], type[httpx2.TransportError]], ...] = (
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.ClientProxyConnectionError, httpx2.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx2.ProxyError),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.ServerTimeoutError, httpx2.ReadTimeout),
    (aiohttp.ClientOSError, httpx2.ReadError),
    (aiohttp.ClientError, httpx2.RemoteProtocolError),
    (OSError, httpx2.ReadError),
)


@contextmanager
def _httpx2_errors(request: httpx2.Request) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        kind = next(to for source, to in _ERRORS if isinstance(error, source))
        raise kind(str(error) or type(error).__name__, request=request) from error


class _Sessions:
    """Keep the aiohttp sessions of all transports, one per event loop.

    Each is closed by an asynchronous generator that its loop closes while shutting down
    (`loop.shutdown_asyncgens`, which `asyncio.run` calls): no loop leaves an open session behind.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._open: dict[
            tuple[AiohttpTransport, asyncio.AbstractEventLoop],
            tuple[aiohttp.ClientSession, AsyncGenerator[None, None]],
        ] = {}

    async def get(self, transport: AiohttpTransport) -> aiohttp.ClientSession:
        key = (transport, asyncio.get_running_loop())
        found = self._open.get(key)
        if found is not None:
            return found[0]
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            auto_decompress=False,
            skip_auto_headers=_AUTOMATIC,
        )
        keeper = self._keep(key, session)
        # The loops of other threads use this dictionary, too; none of them waits for another's await.
        with self._lock:
            self._open[key] = (session, keeper)
            dead = [other for other in self._open if other[1].is_closed()]
            leftovers = [self._open.pop(other)[0] for other in dead]
        await anext(keeper)
        for leftover in leftovers:  # of loops that ended without shutting down
            await leftover.close()
        return session

    async def _keep(
        self, key: tuple[AiohttpTransport, asyncio.AbstractEventLoop], session: aiohttp.ClientSession
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._open.pop(key, None)
            await session.close()

    async def close(self, transport: AiohttpTransport) -> None:
        found = self._open.get((transport, asyncio.get_running_loop()))
        if found is not None:
            await found[1].aclose()

    def close_all(self) -> None:
        """Close what is open on loops that still run in other threads when the process ends."""
        if os.getpid() != self._pid:
            return  # a forked child: loops and connections are its parent's
        for (_, loop), (_, keeper) in list(self._open.items()):
            if loop.is_running():
                future = asyncio.run_coroutine_threadsafe(keeper.aclose(), loop)
                with suppress(Exception):
                    future.result(timeout=1)


_sessions = _Sessions()
atexit.register(_sessions.close_all)
