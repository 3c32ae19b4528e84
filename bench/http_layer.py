"""CPU of the server's HTTP layer alone: the application without a socket and without a mixture."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from starlette.responses import StreamingResponse

from bench.figures import Figure, plain
from bench.setting import QUESTION, CheckedError
from moa_graph.runs.stores import Store
from moa_graph.server.app import make_app
from moa_graph.server.opening import open_served
from moa_graph.server.performing import Answer, Part, Piece
from moa_graph.server.settings import Settings
from moa_graph.spec.schema import MoASpec
from tests.fakes.process import ServerProcess
from tests.fakes.specs import moa_spec

STREAMS, CHUNKS = 300, 150
PATH = "/v1/chat/completions"
BODY = {"model": "test", "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
ENDING = b"data: [DONE]\n\n"


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure streams of the application, and Starlette's response with the same bytes, in turn."""
    spec = moa_spec(server.base_url, [["ok@1"]], "ok@2")
    async with open_served(Settings(db="memory:"), [spec]) as served:
        ready: Any = _Ready(spec, served.performer.store)
        app = make_app(replace(served, performer=ready), write=lambda _: None)
        least = _Least(await _exchange(app))
        layer_seconds = least_seconds = 0.0
        for _ in range(STREAMS):
            layer_seconds += await _cpu(app)
            least_seconds += await _cpu(least)
    layer, bare = layer_seconds / STREAMS * 1000, least_seconds / STREAMS * 1000
    return [
        plain(
            f"`moa serve`: CPU of a stream of {CHUNKS} chunks in the HTTP layer, without socket and mixture",
            f"{layer:.2f} ms; {bare:.2f} ms in Starlette's `StreamingResponse` of the same bytes alone",
        )
    ]


class _Ready:
    """Stand in for a Performer whose answers are there."""

    def __init__(self, spec: MoASpec, store: Store) -> None:
        self.models = {spec.name: spec}
        self.store = store

    async def most(self, _: object) -> None:
        """Name no bound of the cost."""

    async def parts(self, _: object, **__: object) -> AsyncGenerator[Part]:
        """Yield an answer in pieces, each in a turn of the loop of its own."""
        piece = Piece(AIMessageChunk(content="word "))
        for _number in range(CHUNKS):
            await asyncio.sleep(0)
            yield piece
        metadata = {"moa": {"calls": 2, "cost": 0.0}}
        yield Answer(AIMessage(content="word " * CHUNKS, response_metadata=metadata), streamed=True)


class _Least:
    """Send chunks that are written already."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(self._each(), media_type="text/event-stream")(scope, receive, send)

    async def _each(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            await asyncio.sleep(0)
            yield chunk


async def _cpu(app: Any) -> float:
    began = time.process_time()
    await _exchange(app)
    return time.process_time() - began


async def _exchange(app: Any) -> list[bytes]:
    """Ask an application for a stream; return its chunks."""
    sent: list[bytes] = []
    bodies = [{"type": "http.request", "body": json.dumps(BODY).encode()}]

    async def receive() -> Any:
        if bodies:
            return bodies.pop()
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            sent.append(message["body"])

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"9")]
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": PATH, "query_string": b""}
    spoken = {"asgi": {"version": "3.0", "spec_version": "2.3"}, "scheme": "http", "root_path": ""}
    await app({**scope, **spoken, "headers": headers}, receive, send)
    if len(sent) < CHUNKS or sent[-1] != ENDING:
        raise CheckedError(f"{len(sent)} chunks, the last: {sent[-1:]}")
    return sent
