"""A real `langgraph dev`, offline, over a copy of what the repository offers it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from langgraph_sdk import get_client

from tests.fakes.openai_server import FakeOpenAI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langgraph_sdk.client import LangGraphClient

ROOT = Path(__file__).parents[2]
OFFLINE = Path(__file__).parent / "offline"

SERVED = """
moa: 1
name: served
models:
  a: {{model: "openai:ok@a", base_url: "{url}", api_key_env: none}}
  b: {{model: "openai:ok@b", base_url: "{url}", api_key_env: none}}
  z: {{model: "openai:ok@z", base_url: "{url}", api_key_env: none}}
layers:
  - {{name: draft, proposers: [a, b]}}
  - {{name: refine, proposers: [a, b]}}
aggregator: {{model: z}}
"""
"""A spec of the tests' own: its models answer over HTTP, and tell what they were asked."""

BLOCKING = """
import time

from langgraph.graph import START, MessagesState, StateGraph


async def wait(state):
    time.sleep(0.001)


graph = StateGraph(MessagesState).add_node(wait).add_edge(START, "wait").compile()
"""
"""A graph that blocks the server's loop, to see that the server would not let ours."""

ADDED = {"served": "./graphs/studio.py:served", "blocking": "./blocking.py:graph"}


@dataclass(frozen=True)
class Studio:
    """Hold a running server, and the one that stands in for the providers."""

    url: str
    models: FakeOpenAI


def _folder(place: Path, models: FakeOpenAI) -> None:
    shutil.copytree(ROOT / "graphs", place / "graphs", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "graphs" / "served.yaml").write_text(SERVED.format(url=models.base_url), encoding="utf-8")
    config = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))
    (place / "blocking.py").write_text(BLOCKING, encoding="utf-8")
    config["graphs"] |= ADDED
    (place / "langgraph.json").write_text(json.dumps(config), encoding="utf-8")


def environment(home: Path) -> dict[str, str]:
    """Return what the server may know: no key, no proxy, nothing that reports home."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(OFFLINE), str(ROOT)]),
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGGRAPH_NO_VERSION_CHECK": "true",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(place: Path) -> Iterator[str]:
    """Run `langgraph dev` in a folder; yield its URL once it answers."""
    log = place / "server.log"
    command = [str(Path(sys.executable).parent / "langgraph"), "dev", "--no-browser", "--no-reload"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(_free_port())],
            cwd=place,
            env=environment(place),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _answering(process, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answering(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the server; it takes another port than it was given when that is taken meanwhile."""
    give_up = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < give_up:
        said = re.search(r"API: \S*?(http://127\.0\.0\.1:(\d+))", log.read_text(encoding="utf-8"))
        if said and _is_up(int(said[2])):
            return said[1]
        time.sleep(0.1)
    pytest.fail(f"langgraph dev does not answer:\n{log.read_text(encoding='utf-8')}")


def _is_up(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/ok")
        return connection.getresponse().status == 200
    return False


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """Give the one server of this worker."""
    place = tmp_path_factory.mktemp("studio")
    with FakeOpenAI.in_thread() as models:
        _folder(place, models)
        with _running(place) as url:
            yield Studio(url, models)


@pytest.fixture
def studio(running: Studio) -> Studio:
    """Give the server with its models' memory wiped."""
    running.models.reset()
    return running


@pytest.fixture
async def client(studio: Studio) -> AsyncIterator[LangGraphClient]:
    """Give the SDK's client, as any front end uses it."""
    async with get_client(url=studio.url, api_key=None) as client:
        yield client
