"""A fake OpenAI-compatible server: real HTTP on loopback, its behaviour chosen by the model's name.

In a process of its own (see `tests.fakes.process`): `python -m tests.fakes.openai_server --port 0` prints its
port and serves until it is killed or its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from tests.fakes.behaviours import BEHAVIOURS, Call, Reply, behave, dump, error
from tests.fakes.validation import fault_of

__all__ = ["FakeOpenAI", "Request"]

_REASONS = {
    200: "OK",
    307: "Temporary Redirect",
    400: "Bad Request",
    404: "Not Found",
    429: "Too Many Requests",
}
_COMPLETIONS = "/v1/chat/completions"


@dataclass(slots=True)
class Request:
    """Record one request for a completion; times are `time.monotonic()`, the same in all processes."""

    model: str
    stream: bool
    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    started: float
    finished: float | None = None
    outcome: Literal["running", "finished", "disconnected", "refused"] = "running"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return the messages of the request as they came."""
        messages: list[dict[str, Any]] = self.body.get("messages", [])
        return messages


@dataclass
class _Tally:
    """Count the requests of one model by how they ended."""

    started: int = 0
    finished: int = 0
    disconnected: int = 0
    refused: int = 0


@dataclass
class _Book:
    """Keep what the server saw; only its own thread writes."""

    requests: list[Request] = field(default_factory=list)
    tallies: dict[str, _Tally] = field(default_factory=lambda: defaultdict(_Tally))
    running: int = 0
    peak: int = 0
    connections: int = 0
    strays: int = 0


class FakeOpenAI:
    """Serve completions on loopback and record every request.

    `async with FakeOpenAI() as server:` runs in the current event loop, `with FakeOpenAI.in_thread() as
    server:` in a thread of its own; everything public may be used from any thread. `keep=False` counts
    requests without keeping them.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self._book = _Book()
        self._changed = threading.Condition()
        self._gates: dict[str, asyncio.Event] = {}
        self._released: set[str] = set()
        self._meetings: Counter[str] = Counter()
        self._meeting_gates: dict[str, asyncio.Event] = {}
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port = 0

    # --- what a test sees ---

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """Return what a spec says as `base_url`."""
        return f"{self.origin}/v1"

    @property
    def requests(self) -> list[Request]:
        """Return every request for a completion so far, in the order of arrival."""
        return list(self._book.requests)

    @property
    def peak(self) -> int:
        """Return the largest number of requests that were running at once."""
        return self._book.peak

    @property
    def strays(self) -> int:
        """Return how many requests went to paths that are not offered, such as a redirect's target."""
        return self._book.strays

    def count(self, model: str | None = None) -> int:
        """Return the number of requests for a model, or for all."""
        tallies = [self._book.tallies[model]] if model in self._book.tallies else []
        return sum(tally.started for tally in (tallies if model else list(self._book.tallies.values())))

    def of(self, model: str) -> list[Request]:
        """Return the requests for a model in the order of arrival."""
        return [request for request in self.requests if request.model == model]

    def release(self, model: str) -> None:
        """Let all requests for a model that begins with `gate` be answered, now and later."""
        self._call(self._release, model)

    def reset(self) -> None:
        """Forget every request, counter and gate."""
        self._call(self._forget)

    def wait_for(self, holds: Callable[[], bool], timeout: float = 5.0) -> bool:
        """Wait until something holds, checked whenever a request starts or ends; return whether it does."""
        with self._changed:
            return self._changed.wait_for(holds, timeout)

    async def started(self, model: str, times: int = 1, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 - waits in a thread
        """Wait until a model was asked so many times; return False when the time is up."""
        return await asyncio.to_thread(self.wait_for, lambda: self.count(model) >= times, timeout)

    async def disconnected(self, model: str, times: int = 1, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 - waits in a thread
        """Wait until so many clients hung up on a model before its answer; False when the time is up."""
        return await asyncio.to_thread(
            self.wait_for, lambda: self._book.tallies[model].disconnected >= times, timeout
        )

    # --- life ---

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; port 0 takes any free one."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(
            lambda: _Connection(self), "127.0.0.1", port, backlog=4096, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        while self._connections:  # noqa: ASYNC110 - a tick or two, at the end of a test
            await asyncio.sleep(0)
        await self._server.wait_closed()
        self._loop = None

    @classmethod
    @contextlib.contextmanager
    def in_thread(cls, *, keep: bool = True) -> Iterator[Self]:
        """Run a server in a thread with its own event loop."""
        server = cls(keep=keep)
        listening = threading.Event()
        stopping: list[Callable[[], object]] = []

        async def serve() -> None:
            async with server:
                stop, loop = asyncio.Event(), asyncio.get_running_loop()
                stopping.append(lambda: loop.call_soon_threadsafe(stop.set))
                listening.set()
                await stop.wait()

        thread = threading.Thread(target=asyncio.run, args=(serve(),), name="fake-openai", daemon=True)
        thread.start()
        if not listening.wait(10):
            raise RuntimeError("the fake server did not start")
        try:
            yield server
        finally:
            stopping[0]()
            thread.join(10)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """Run a function in the server's loop and wait for it; in that very loop run it at once."""
        if self._loop is None:
            raise RuntimeError("the fake server is not running")
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            function(*args)
            return
        done = threading.Event()

        def run() -> None:
            function(*args)
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(10)

    # --- Rendezvous ---

    async def gate(self, model: str) -> None:
        """Wait until the test releases a model."""
        if model not in self._released:
            await self._gates.setdefault(model, asyncio.Event()).wait()

    async def meeting(self, name: str, size: int) -> None:
        """Wait until so many requests are here at once."""
        self._meetings[name] += 1
        everybody = self._meeting_gates.setdefault(name, asyncio.Event())
        if self._meetings[name] >= size:
            everybody.set()
        await everybody.wait()

    async def never(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    def _release(self, model: str) -> None:
        self._released.add(model)
        self._gates.setdefault(model, asyncio.Event()).set()

    def _forget(self) -> None:
        with self._changed:
            self._book = _Book()
        for connection in self._connections:
            connection.forget()
        self._released.clear()
        self._gates.clear()
        self._meetings.clear()
        self._meeting_gates.clear()

    # --- requests ---

    def route(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[Reply, Request | None]:
        """Return the reply to a request, and its record if it asked for a completion."""
        target, _, query = path.partition("?")
        if target == _COMPLETIONS and method == "POST":
            return self._complete(path, headers, body)
        if target == "/v1/models":
            return Reply(
                dump({"object": "list", "data": [{"id": name, "object": "model"} for name in BEHAVIOURS]})
            ), None
        if target == "/stats":
            return Reply(dump(self.stats(with_requests="requests" in query))), None
        if target == "/reset" and method == "POST":
            self._forget()
            return Reply(b"{}"), None
        if target == "/release" and method == "POST":
            self._release(json.loads(body)["model"])
            return Reply(b"{}"), None
        self._book.strays += 1
        return error(404, f"There is no {method} {target}."), None

    def stats(self, *, with_requests: bool = False) -> dict[str, Any]:
        """Return the counters as JSON, on demand with every request."""
        book = self._book
        models = {model: asdict(tally) for model, tally in book.tallies.items()}
        counters = {"total": self.count(), "running": book.running, "peak": book.peak, "strays": book.strays}
        requests = {"requests": [asdict(request) for request in book.requests]} if with_requests else {}
        return {
            **counters,
            "connections": book.connections,
            "cpu": time.process_time(),
            "models": models,
            **requests,
        }

    def _complete(self, path: str, headers: dict[str, str], raw: bytes) -> tuple[Reply, Request]:
        try:
            body = json.loads(raw)
            json.dumps(body, ensure_ascii=False).encode()
            fault = fault_of(body)
        except (ValueError, RecursionError) as problem:
            body, fault = {}, f"We could not parse the JSON body of your request: {problem}"
        model = str(body.get("model")) if isinstance(body, dict) else ""
        body = body if isinstance(body, dict) else {}
        request = Request(model, bool(body.get("stream")), body, headers, path, time.monotonic())
        with self._changed:
            tally = self._book.tallies[model]
            tally.started += 1
            if self._keep:
                self._book.requests.append(request)
            if fault:
                tally.refused += 1
                request.outcome = "refused"
            else:
                self._book.running += 1
                self._book.peak = max(self._book.peak, self._book.running)
            self._changed.notify_all()
        if fault:
            return error(400, fault, "malformed_request"), request
        return behave(Call(model, body, tally.started, self, self.origin)), request

    def close_record(self, request: Request, outcome: Literal["finished", "disconnected"]) -> None:
        """Note how a request ended."""
        if request.outcome != "running":
            return
        with self._changed:
            request.outcome, request.finished = outcome, time.monotonic()
            tally = self._book.tallies[request.model]
            setattr(tally, outcome, getattr(tally, outcome) + 1)
            self._book.running = max(0, self._book.running - 1)
            self._changed.notify_all()

    def opened(self, connection: _Connection) -> None:
        """Note a new connection."""
        self._connections.add(connection)
        self._book.connections += 1

    def closed(self, connection: _Connection) -> None:
        """Note the end of a connection."""
        self._connections.discard(connection)


class _Connection(asyncio.Protocol):
    """Speak HTTP/1.1 with keep-alive: one request at a time, bodies with a Content-Length."""

    def __init__(self, server: FakeOpenAI) -> None:
        self._server = server
        self._received = bytearray()
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.opened(self)

    def connection_lost(self, problem: Exception | None) -> None:
        self._server.closed(self)
        if self._task is not None:
            self._task.cancel()
        if self._request is not None:
            self._server.close_record(self._request, "disconnected")
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._busy:
            self._next()

    def abort(self) -> None:
        """Drop the connection without a goodbye."""
        self._transport.abort()

    def forget(self) -> None:
        """Leave the request that is running out of the book, whenever it ends."""
        self._request = None

    def _next(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        total = end + 4 + int(headers.get("content-length", 0))
        if len(self._received) < total:
            return
        body = bytes(self._received[end + 4 : total])
        del self._received[:total]
        method, path, *_ = first.split(" ")
        reply, self._request = self._server.route(method, path, headers, body)
        self._busy = True
        if reply.before is None and not reply.pace and isinstance(reply.body, bytes | list):
            self._write_whole(reply)
            self._end(reply)
        else:
            self._task = asyncio.get_running_loop().create_task(self._send(reply))

    async def _send(self, reply: Reply) -> None:
        if isinstance(reply.before, float):
            await asyncio.sleep(reply.before)
        elif reply.before is not None:
            await reply.before()
        if isinstance(reply.body, bytes) or (isinstance(reply.body, list) and not reply.pace):
            self._write_whole(reply)
        else:
            self._transport.write(_head(reply))
            for chunk in reply.body:
                await asyncio.sleep(reply.pace)
                await self._writable.wait()
                self._transport.write(_chunk(chunk))
            self._close_record(reply)
            self._transport.write(b"" if reply.ending != "keep" else b"0\r\n\r\n")
        self._end(reply)

    def _write_whole(self, reply: Reply) -> None:
        # The book is closed first: whoever has read the answer finds it finished there.
        self._close_record(reply)
        self._transport.write(_head(reply) + _whole(reply))

    def _close_record(self, reply: Reply) -> None:
        if self._request is not None and reply.ending != "stall":
            self._server.close_record(self._request, "finished")

    def _end(self, reply: Reply) -> None:
        if reply.ending == "stall":
            return
        self._request = self._task = None
        self._busy = False
        if reply.ending == "cut":
            self._transport.close()
        elif reply.ending == "reset":
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        elif self._received:
            self._next()


def _head(reply: Reply) -> bytes:
    if reply.ending == "reset":
        return b""
    lines = [
        f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Status')}",
        f"Content-Type: {reply.content_type}",
    ]
    if isinstance(reply.body, bytes):
        lines.append(f"Content-Length: {len(reply.body) if reply.declared is None else reply.declared}")
    else:
        lines.append("Transfer-Encoding: chunked")
    lines.extend(f"{name}: {value}" for name, value in reply.headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _whole(reply: Reply) -> bytes:
    if isinstance(reply.body, bytes):
        return reply.body
    assert isinstance(reply.body, list)
    return b"".join(map(_chunk, reply.body)) + (b"0\r\n\r\n" if reply.ending == "keep" else b"")


async def _serve(port: int, *, keep: bool) -> None:
    server = FakeOpenAI(keep=keep)
    await server.start(port)
    print(server.port, flush=True)  # noqa: T201 - the process that started this one reads it
    # When whoever started this process dies, its end of the pipe closes: no server is left behind.
    await asyncio.to_thread(sys.stdin.buffer.read)
    await server.stop()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--no-keep", action="store_true", help="count requests without keeping them")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.port, keep=not arguments.no_keep))


if __name__ == "__main__":
    main()
