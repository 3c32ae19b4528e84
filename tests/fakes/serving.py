"""`moa serve` in a process of its own: for clients that talk to a really running server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Serving", "serving"]

_STARTED = re.compile(r"http://127\.0\.0\.1:(\d+)/v1 serves")


class Serving:
    """Hold a running server: its `port`, its process, and what it has written to stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._port: int | None = None
        self._told = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def port(self) -> int:
        """Return the port, once the server listens."""
        assert self._told.wait(60), "the server does not start"
        assert self._port is not None, "".join(self.lines)
        return self._port

    @property
    def url(self) -> str:
        """Return what clients call `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the access log so far."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return the status and the body of one request, read as JSON where it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            sent = (
                {"content-type": "application/json", **(headers or {})} if body is not None else headers or {}
            )
            connection.request(method, path, json.dumps(body) if body is not None else None, sent)
            response = connection.getresponse()
            content = response.read().decode()
            is_json = (response.getheader("content-type") or "").startswith("application/json")
            return response.status, json.loads(content) if is_json else content

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(5)
        return code

    def finish(self) -> None:
        """Wait until the process has ended and all that it wrote is read."""
        self.process.wait(20)
        self._reader.join(5)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := _STARTED.search(line):
                self._port = int(found[1])
                self._told.set()
        self._told.set()


@contextlib.contextmanager
def serving(
    *specs: str | Path,
    cwd: Path,
    options: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Serving]:
    """Start `moa serve` on a free port of loopback, and kill it at the end if it still runs."""
    command = [sys.executable, "-m", "moa_graph", "serve", *map(str, specs), "--port", "0", *options]
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        server = Serving(process)
        try:
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            server.finish()
