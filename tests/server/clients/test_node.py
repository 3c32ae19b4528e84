"""OpenAI's client for Node against a server that really runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.server.clients.house import House

HERE = Path(__file__).parent
SCRIPTS = ("chat.mjs", "responses.mjs")
NODE, NPM = shutil.which("node"), shutil.which("npm")

pytestmark = pytest.mark.skipif(NODE is None or NPM is None, reason="there is no Node here")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Give a folder with the scripts and the package `openai`, installed once for all workers.

    npm takes it from its own cache where it is there: without a network, the second time.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "node"
    with FileLock(f"{folder}.lock", timeout=150):
        if not (folder / "installed").exists():
            folder.mkdir(exist_ok=True)
            for name in ("package.json", *SCRIPTS):
                shutil.copy(HERE / name, folder)
            plain = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
            command = [str(NPM), "install", "--prefix", str(folder), *plain]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            (folder / "installed").touch()
    return folder


def run(script: str, workshop: Path, house: House) -> Any:
    """Return what a script tells."""
    done = subprocess.run(
        [str(NODE), script],
        cwd=workshop,
        env={**os.environ, "MOA_URL": house.url, "MOA_KEY": house.secret},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_chat_is_streamed_with_its_tools(workshop: Path, house: House) -> None:
    told = run("chat.mjs", workshop, house)
    assert told["models"][:2] == ["team", "agent"]
    assert told["calls"] == [{"name": "count", "start": 3}]
    assert told["answer"] == "Done: After 3 comes 4."
    assert told["pieces"] > 1
    assert told["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    error = told["error"]
    assert (error["name"], error["status"], error["code"]) == ("NotFoundError", 404, "model_not_found")
    assert error["id"].startswith("req_")
    assert house.count("usage-10-3@a", "usage-10-3@b") == 2


def test_responses_are_streamed_with_their_tools_and_kept(workshop: Path, house: House) -> None:
    told = run("responses.mjs", workshop, house)
    assert (told["kinds"][0], told["kinds"][-1]) == ("response.created", "response.completed")
    assert "response.function_call_arguments.delta" in told["kinds"]
    assert told["calls"] == [{"name": "count", "start": 3}]
    assert told["answer"] == told["kept"] == "Done: After 3 comes 4."
    assert told["aborted"] is True
    assert house.count("usage-10-3@a", "usage-10-3@b") == 2
    assert house.upstream.wait_for(lambda: house.upstream.of("drip@w")[0].outcome == "disconnected", 5)
