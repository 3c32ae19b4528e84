"""While nothing comes from the models, a stream says now and then that somebody still works."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from moa_graph.server.app import make_app
from moa_graph.server.opening import open_served
from moa_graph.server.settings import Settings
from moa_graph.spec.loading import load_spec
from tests.fakes.openai_server import FakeOpenAI
from tests.server.asgi import Reply, ask
from tests.server.clients.house import said, write_spec
from tests.server.clients.payloads import check_chunk, check_event, events_of

HEADERS = {"host": "127.0.0.1", "content-type": "application/json"}
COMMENT = b": still working\n\n"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": said()}),
        ("/v1/responses", {"input": "Why?", "store": False}),
    ],
)
async def test_a_stream_is_kept_alive_while_proposers_work(
    tmp_path: Path, server: FakeOpenAI, path: str, body: Any
) -> None:
    spec = load_spec(str(write_spec(tmp_path, "team", server, [["gate@a"]], "ok@z")))
    reply, quiet = Reply(), asyncio.Event()
    async with open_served(Settings(db="memory:", silence=0.02, drain=0.0), [spec]) as served:
        sent = json.dumps({"model": "team", "stream": True, **body}).encode()
        app = make_app(served, lambda _: None)

        async def heard(scope: Any, receive: Any, send: Any) -> None:
            async def sending(message: Any) -> None:
                await send(message)
                if reply.body.count(COMMENT) == 3:
                    quiet.set()

            await app(scope, receive, sending)

        asked = asyncio.create_task(ask(heard, "POST", path, headers=HEADERS, body=[sent], reply=reply))
        await asyncio.wait_for(quiet.wait(), 30)
        assert server.count("ok@z") == 0
        server.release("gate@a")
        await asked
    assert reply.status == 200
    events = events_of(reply.body.decode())
    check = check_event if path == "/v1/responses" else check_chunk
    for _, data in events:
        if data != "[DONE]":
            check(data)
    assert "Answer" in reply.body.decode()
