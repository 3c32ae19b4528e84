"""The route on an application of its own, and what it answers with played by a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

from moa_graph.errors import MoAError
from moa_graph.runs.stores import Store
from moa_graph.server import chat
from moa_graph.server.asking import Served
from moa_graph.server.faults import Refused, fault_of
from moa_graph.server.keys import KeyLimits, KeyRing
from moa_graph.server.limiting import Limiter
from moa_graph.server.metrics import Metrics
from moa_graph.server.performing import Answer, Ask, Part, Piece, Silence
from moa_graph.server.remembering import Turns
from moa_graph.server.settings import Settings
from moa_graph.server.shelf import Shelf
from moa_graph.spec.schema import MoASpec

__all__ = ["HELLO", "Played", "Script", "answered", "events_of", "read_stream"]

SPEC = MoASpec.model_validate(
    {"moa": 1, "name": "team", "models": {"z": {"model": "host:z"}}, "aggregator": {"model": "z"}}
)
HELLO = {"model": "team", "messages": [{"role": "user", "content": "Hello?"}]}
SUMMARY = {
    "name": "team",
    "answered_by": "z",
    "cost": 0.25,
    "calls": 3,
    "seconds": 1.5,
    "proposals": {"ok": 2},
    "warnings": [],
    "failed_aggregators": [],
}


def answered(text: str = "Hello.", **parts: Any) -> AIMessage:
    """Return an answer as a run gives it; `moa` adds to its summary, `finish` says how it ended."""
    metadata = {"moa": {**SUMMARY, **parts.pop("moa", {})}, "finish_reason": parts.pop("finish", "stop")}
    usage = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    return AIMessage(text, response_metadata=metadata, usage_metadata=usage, **parts)


def word(text: Any = "", **parts: Any) -> Piece:
    """Return a piece of an answer."""
    return Piece(AIMessageChunk(content=text, **parts))


def call(args: str, name: str | None = None, id_: str | None = None, index: int | None = 0) -> Piece:
    """Return a piece of a tool's call."""
    return word(tool_call_chunks=[tool_call_chunk(name=name, args=args, id=id_, index=index)])


Step = Part | Exception | asyncio.Event


class Script:
    """Stand in for a Performer: give the parts of a script; an event in it is waited for.

    `asks` are what it was asked, `closed` tells how many runs ended, `begun` is set as soon as one runs.
    """

    def __init__(self, store: Store, *steps: Step) -> None:
        self.models = {"team": SPEC}
        self.store = store
        self.steps = steps or (Answer(answered(), streamed=False),)
        self.asks: list[Ask] = []
        self.closed = 0
        self.begun = asyncio.Event()

    def acts(self, model: str) -> bool:
        return True

    async def most(self, ask: Ask) -> float | None:
        return None

    async def parts(self, ask: Ask, **options: Any) -> AsyncGenerator[Part]:
        self.asks.append(ask)
        self.begun.set()
        try:
            for step in self.steps:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.closed += 1


class Played:
    """Hold an application whose answers come from a script, and ask it."""

    def __init__(
        self,
        store: Store,
        shelf: Shelf,
        *steps: Step,
        limits: KeyLimits | None = None,
        keys: Any = None,
        performer: Any = None,
    ) -> None:
        self.script = Script(store, *steps)
        self.served = Served(
            performer=performer or self.script,  # type: ignore[arg-type] # it stands in for one
            keys=keys or KeyRing(None, limits or KeyLimits()),
            limiter=Limiter(shelf, at_once=8, queue=8, patience=5),
            metrics=Metrics(["team"]),
            turns=Turns(shelf),
            background=None,  # type: ignore[arg-type] # a chat needs none
            settings=Settings(),
            shelf=shelf,
        )
        self.app = FastAPI()
        self.app.state.served = self.served
        self.app.include_router(chat.router)
        for kind in (Refused, MoAError):
            self.app.add_exception_handler(kind, _refuse)

    @property
    def ask(self) -> Ask:
        """Return what the only run was asked."""
        assert len(self.script.asks) == 1
        return self.script.asks[0]

    async def post(self, body: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
        """Return the response to a body: JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        transport = httpx2.ASGITransport(app=self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/v1/chat/completions", content=content, headers=headers)

    async def refused(self, body: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Return the error of a request that is refused with 400."""
        response = await self.post(body, headers)
        assert response.status_code == 400, response.text
        error: dict[str, Any] = response.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    fault = fault_of(error)
    return JSONResponse(fault.body, fault.status, fault.headers)


def events_of(text: str) -> list[str]:
    """Return the events of a stream as they were sent; each has to be one line of data, or a comment."""
    assert text.endswith("\n\n")
    events = text.removesuffix("\n\n").split("\n\n")
    assert all(event.startswith(("data: ", ": ")) and "\n" not in event for event in events)
    return events


def read_stream(text: str) -> list[dict[str, Any]]:
    """Return the chunks of a stream that ends as it should."""
    events = [event for event in events_of(text) if not event.startswith(":")]
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


SILENCE = Silence()
