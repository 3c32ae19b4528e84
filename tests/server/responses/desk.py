"""The whole application over a store in memory, with in-process models, asked by OpenAI's own client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from langchain_core.language_models import BaseChatModel
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from moa_graph.server.app import make_app
from moa_graph.server.asking import Served
from moa_graph.server.opening import open_served
from moa_graph.server.settings import Settings
from moa_graph.spec.schema import MoASpec
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel

__all__ = ["ADD", "Desk", "check_event", "checked", "desk", "events_of", "team"]

ADD: Any = {
    "type": "function",
    "name": "add",
    "description": "Add two numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
}
_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def team(name: str = "team", **parts: Any) -> MoASpec:
    """Return a spec of a proposer `p` and the aggregator `z`."""
    return MoASpec.model_validate(
        {
            "moa": 1,
            "name": name,
            "models": {slot: {"model": f"host:{slot}"} for slot in "pz"},
            "defaults": {"attempts": 1},
            "layers": [{"name": "draft", "proposers": [{"model": "p"}]}],
            "aggregator": {"model": "z"},
            **parts,
        }
    )


class Desk:
    """Hold what a server shares, its application, and the models that answer."""

    def __init__(self, served: Served, models: Mapping[str, Any]) -> None:
        self.served = served
        self.models = models
        self.log: list[dict[str, Any]] = []
        self.app = make_app(served, lambda line: self.log.append(json.loads(line)))

    @property
    def http(self) -> httpx2.AsyncClient:
        """Return a plain client of the application."""
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    def client(self, secret: str = "none") -> AsyncOpenAI:
        """Return OpenAI's client of the application, which asks only once."""
        return AsyncOpenAI(
            api_key=secret, base_url="http://127.0.0.1/v1", http_client=self.http, max_retries=0
        )

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return the status and the JSON of one request; `_` in a header's name stands for a dash."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http as http:
            response = await http.request(method, f"/v1/responses{path}", json=body, headers=named)
        return response.status_code, response.json()

    async def post(self, body: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        """Return the response to a request that has to succeed, checked against OpenAI's own models."""
        status, data = await self.ask("POST", "", {"model": "team", **body}, **headers)
        assert status == 200, data
        return checked(data)

    async def get(self, id_: str, **headers: str) -> dict[str, Any]:
        """Return a response that is kept."""
        status, data = await self.ask("GET", f"/{id_}", **headers)
        assert status == 200, data
        return checked(data)

    async def refused(self, body: Mapping[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the error of a request that has to be refused."""
        status, data = await self.ask("POST", "", {"model": "team", "input": "Why?", **body}, **headers)
        assert status >= 400, data
        assert data["error"].keys() == {"message", "type", "param", "code"}
        return status, data["error"]

    async def streamed(self, body: Mapping[str, Any], **headers: str) -> list[dict[str, Any]]:
        """Return the events of a stream, checked against OpenAI's own models."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http as http:
            sent = {"model": "team", "stream": True, **body}
            response = await http.post("/v1/responses", json=sent, headers=named)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        return events_of(response.text)

    def calls(self, name: str) -> int:
        """Return how often a model was asked."""
        model = self.models[name]
        return len(model.seen if isinstance(model, ActingChatModel) else model.calls)


@asynccontextmanager
async def desk(
    specs: Sequence[MoASpec] | None = None,
    *,
    keys: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **models: BaseChatModel,
) -> AsyncIterator[Desk]:
    """Open the application; `p` proposes and `z` aggregates, calling a tool once where there is one."""
    cast = {"p": ScriptedChatModel("A proposal."), "z": ActingChatModel(), **models}
    chosen = Settings(**{"db": "memory:", "keys": keys, "drain": 0.0, **(settings or {})})
    async with open_served(chosen, specs or [team()], models=cast) as served:
        yield Desk(served, cast)


def checked(data: dict[str, Any]) -> dict[str, Any]:
    """Return a Response after checking it strictly against OpenAI's own model, items included."""
    response = Response.model_validate(data, strict=True)
    kinds = [type(item).__name__ for item in response.output]
    known = {
        "message": "ResponseOutputMessage",
        "function_call": "ResponseFunctionToolCall",
        "reasoning": "ResponseReasoningItem",
    }
    assert kinds == [known[item["type"]] for item in data["output"]]
    return data


def events_of(text: str) -> list[dict[str, Any]]:
    """Return the events of a stream; each is checked, and their numbers count from 0."""
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            continue
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        check_event(event)
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def check_event(event: dict[str, Any]) -> None:
    """Check an event strictly against OpenAI's own model of it."""
    model = _EVENTS.validate_python(event, strict=True)
    assert model.type == event["type"]
    assert not model.model_extra
    if "response" in event:
        checked(event["response"])
