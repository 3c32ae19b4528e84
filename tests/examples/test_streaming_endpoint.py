"""examples/streaming_endpoint.py over real HTTP: what a client reads, and what ends when it goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.examples.running import run_without, running
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.specs import spec_document

EXAMPLE = "streaming_endpoint"
QUESTION = {"question": "MoA waits for its slowest model. What does MoA wait for?"}


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Give the address of the endpoint, served on a free port."""
    pytest.importorskip("fastapi", reason="the example needs fastapi and uvicorn")
    with running(EXAMPLE, *arguments, "--port=0", until=r"running on (http://127\.0\.0\.1:\d+)") as found:
        yield f"{found[1]}/ask"


@contextmanager
def asking(url: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """Ask, and give the events as they come: (name, data)."""
    with httpx2.stream("POST", url, json=QUESTION, timeout=30) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    for line in lines:
        if line.startswith("event: "):
            name, data = line.removeprefix("event: "), next(lines)
            yield name, json.loads(data.removeprefix("data: "))


def spec_file(folder: Path, server: FakeOpenAI, proposer: str, aggregator: str) -> str:
    spec = spec_document(server.base_url, [[proposer]], aggregator, defaults={"attempts": 1})
    file = folder / "spec.yaml"
    file.write_text(json.dumps(spec), encoding="utf-8")  # JSON is YAML, too
    return str(file)


def test_as_it_is_it_streams_an_answer_in_pieces() -> None:
    with serving() as url, asking(url) as events:
        *tokens, last = events
    assert {name for name, _ in tokens} == {"token"}
    assert len(tokens) > 1
    assert "".join(text for _, text in tokens) == "MoA waits for its slowest model."
    assert last == ("done", {"calls": 7, "by": "editor"})


def test_a_token_is_there_before_the_answer_is_whole(server: FakeOpenAI, tmp_path: Path) -> None:
    file = spec_file(tmp_path, server, "ok@a", "drip")
    with serving(file) as url, asking(url) as events:
        assert next(events) == ("token", "drip ")
        assert [request.outcome for request in server.of("drip")] == ["running"]


async def test_who_leaves_in_the_middle_of_the_answer_ends_the_aggregator(
    server: FakeOpenAI, tmp_path: Path
) -> None:
    with serving(spec_file(tmp_path, server, "ok@a", "drip")) as url:
        with asking(url) as events:
            next(events)
        assert await server.disconnected("drip")


async def test_who_leaves_before_the_first_token_ends_the_proposers(
    server: FakeOpenAI, tmp_path: Path
) -> None:
    with serving(spec_file(tmp_path, server, "hang", "ok@z")) as url:
        with asking(url):
            assert await server.started("hang")
        assert await server.disconnected("hang")
    assert server.count("ok@z") == 0


def test_a_failed_run_is_told_without_the_words_of_a_provider(server: FakeOpenAI, tmp_path: Path) -> None:
    with serving(spec_file(tmp_path, server, "ok@a", "500")) as url, asking(url) as events:
        assert list(events) == [("error", "AggregatorFailed")]


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_it_says_what_to_install(package: str) -> None:
    said = run_without(package, EXAMPLE)
    assert said.count("\n") == 1
    assert package in said
    assert said.endswith("Install what this example needs: pip install fastapi uvicorn\n")
