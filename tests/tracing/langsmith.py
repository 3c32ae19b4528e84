"""A fake LangSmith on loopback: it takes in what LangSmith's own client sends, and shows the run trees."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["FakeLangSmith", "Run", "fake_langsmith"]

_INFO = {
    "version": "0.15",
    "instance_flags": {"zstd_compression_enabled": False},
    "batch_ingest_config": {
        "use_multipart_endpoint": False,
        "size_limit": 100,
        "size_limit_bytes": 20_000_000,
        "scale_up_nthreads_limit": 1,
        "scale_up_qsize_trigger": 1000,
    },
}


@dataclass
class Run:
    """Hold one run as LangSmith would show it, with the runs below it in the order of their start."""

    data: dict[str, Any]
    children: list[Run] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def kind(self) -> str:
        return str(self.data["run_type"])

    @property
    def error(self) -> str:
        return str(self.data.get("error") or "")

    @property
    def ended(self) -> bool:
        return bool(self.data.get("end_time"))

    @property
    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = self.data["extra"]["metadata"]
        return metadata

    @property
    def marks(self) -> dict[str, Any]:
        """Return the metadata that the package itself adds."""
        return {key: value for key, value in self.metadata.items() if key.startswith("moa_")}

    def everything(self) -> Iterator[Run]:
        """Yield this run and all below it."""
        yield self
        for child in self.children:
            yield from child.everything()

    def tree(self) -> Any:
        """Return the names: a text for a leaf, {name: [below, sorted by name]} for the others."""
        below = sorted((child.tree() for child in self.children), key=str)
        return {self.name: below} if below else self.name

    def named(self, name: str, kind: str = "chain") -> Run:
        """Return the only run of a name and kind in this tree."""
        [run] = [run for run in self.everything() if (run.name, run.kind) == (name, kind)]
        return run


class FakeLangSmith:
    """Record every request; `trees()` puts the runs together."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.bodies: list[bytes] = []

    @property
    def payload(self) -> str:
        """Return every byte that was sent, as text."""
        return b"\n".join(self.bodies).decode()

    def trees(self) -> list[Run]:
        """Return the roots; each run was posted once and updated once at most, and has its parent here."""
        runs: dict[str, Run] = {}
        updated: set[str] = set()
        batches = [json.loads(body) for body in self.bodies]
        for post in (post for batch in batches for post in batch.get("post", [])):
            assert post["id"] not in runs
            runs[post["id"]] = Run(dict(post))
        for patch in (patch for batch in batches for patch in batch.get("patch", [])):
            assert patch["id"] not in updated
            updated.add(patch["id"])
            runs[patch["id"]].data.update({k: value for k, value in patch.items() if value is not None})
        roots = []
        for run in sorted(runs.values(), key=lambda run: str(run.data["dotted_order"])):
            parent = run.data.get("parent_run_id")
            if "langsmith:hidden" not in (run.data.get("tags") or []):  # LangGraph's own steps
                (runs[parent].children if parent else roots).append(run)
            assert run.data["trace_id"] == (runs[parent].data["trace_id"] if parent else run.data["id"])
        return roots


@contextlib.contextmanager
def fake_langsmith() -> Iterator[FakeLangSmith]:
    """Serve in a thread until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(_INFO)

        def do_POST(self) -> None:
            langsmith.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer({})

        def _answer(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        langsmith = FakeLangSmith(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield langsmith
        finally:
            server.shutdown()
            thread.join(10)
