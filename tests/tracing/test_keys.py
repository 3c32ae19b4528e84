"""A key that a server says back in an error does not get into traces."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.tracers import LangChainTracer

from moa_graph.graph import build_graph
from moa_graph.models.failures import redact
from tests.fakes.behaviours import BEHAVIOURS, Call, Reply, dump, error, error_body
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.specs import moa_spec
from tests.tracing.langsmith import FakeLangSmith, Run

KEY = "zq7canary9Zq7Canary8x"

ECHOES: dict[str, Callable[[Call], Reply]] = {
    "401": lambda _: error(401, f"Incorrect API key provided: {KEY}.", code=KEY),
    "500": lambda _: replace(error(500, KEY), headers=(("x-request-id", KEY), ("retry-after", "1"))),
    "html": lambda _: Reply(f"<html>{KEY}</html>".encode(), 502, "text/html"),
    "200": lambda _: Reply(dump(error_body(f"upstream said {KEY}", code=KEY))),
    "no-json": lambda _: Reply(f"Hello, {KEY}.".encode()),
}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_that_names_the_key_is_traced_without_it(
    stream: bool,
    server: FakeOpenAI,
    tracer: LangChainTracer,
    traces: Callable[[], list[Run]],
    langsmith: FakeLangSmith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, behaviour in ECHOES.items():
        monkeypatch.setitem(BEHAVIOURS, f"echo-{name}", (re.compile(f"echo-{name}"), behaviour))
    monkeypatch.setenv("CANARY_API_KEY", KEY)
    options: Any = {"slot": {"api_key_env": "CANARY_API_KEY"}, "defaults": {"attempts": 1}}
    members = ["ok@a", *(f"echo-{name}" for name in ECHOES)]
    compiled = build_graph(moa_spec(server.base_url, [members], "ok@z", **options)).compile()
    mode = "messages" if stream else "values"
    question: Any = {"messages": [("user", "Why?")]}
    async for _ in compiled.astream(question, {"callbacks": [tracer]}, stream_mode=mode):
        pass
    [root] = traces()
    failed = [part for part in root.everything() if part.kind == "llm" and part.error]
    assert len(failed) == len(ECHOES)
    assert "Incorrect API key provided: [redacted]." in root.named("layer-1/echo-401", "llm").error
    assert KEY not in langsmith.payload


def test_the_errors_behind_an_error_are_redacted_too() -> None:
    behind, above = ValueError(f"the key {KEY}", 7), RuntimeError(KEY)
    above.__cause__, behind.__context__ = behind, above  # a circle must not hold it up
    redact(above, KEY)
    assert (above.args, behind.args) == (("[redacted]",), ("the key [redacted]", 7))


def test_a_secret_too_short_to_be_one_stays() -> None:
    problem = ValueError("an xylophone")
    redact(problem, "x")
    assert problem.args == ("an xylophone",)
