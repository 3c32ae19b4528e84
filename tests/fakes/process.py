"""The fake server in a process of its own: for tests that kill processes, and for measurements."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ServerProcess", "server_process"]

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ServerProcess:
    """Talk to a fake server in another process."""

    port: int
    pid: int

    @property
    def base_url(self) -> str:
        """Return what a spec says as `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self, *, with_requests: bool = False) -> dict[str, Any]:
        """Return the counters, on demand with every request in `requests`."""
        return self._ask("GET", "/stats?requests" if with_requests else "/stats")

    def count(self, model: str | None = None) -> int:
        """Return the number of requests for a model, or for all."""
        stats = self.stats()
        return int(stats["total"] if model is None else stats["models"].get(model, {"started": 0})["started"])

    def reset(self) -> None:
        """Forget every request, counter and gate."""
        self._ask("POST", "/reset")

    def release(self, model: str) -> None:
        """Let all requests for a model that begins with `gate` be answered, now and later."""
        self._ask("POST", "/release", {"model": model})

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer


@contextlib.contextmanager
def server_process(*, keep: bool = True) -> Iterator[ServerProcess]:
    """Start a fake server in its own process and stop it at the end; `keep=False` counts requests only."""
    command = [sys.executable, "-m", "tests.fakes.openai_server", *([] if keep else ["--no-keep"])]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        try:
            assert process.stdout is not None
            yield ServerProcess(int(process.stdout.readline()), process.pid)
        finally:
            process.kill()
