"""A server that really runs, the fake models behind it, and the keys of those who ask."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from openai import OpenAI

from moa_graph.server.keys import KeyLimits, add_key
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.serving import Serving, serving
from tests.fakes.specs import Layer, spec_document
from tests.server.clients import acting  # noqa: F401 - it teaches the fake server to call tools

__all__ = ["COUNT", "FUNCTION", "USAGE", "House", "open_house", "said", "until", "write_spec"]

T = TypeVar("T")

_TEAMS: dict[str, tuple[list[Layer], str]] = {
    "team": ([["usage-10-3@a", "usage-10-3@b"]], "acts-1@z"),
    "agent": ([["ok@c", "ok@d"], ["ok@e"]], "acts-10@y"),
    "slow": ([["hang@p", "ok@q"]], "ok@x"),
    "endless": ([["ok@f"]], "drip@w"),
    "broken": ([["500@g", "401@h"]], "ok@v"),
    "thinker": ([["ok@i"]], "reasoning@u"),
}
"""The models that the house serves: their layers, and who writes the answer."""

USAGE = {"prompt_tokens": 27, "completion_tokens": 11, "total_tokens": 38}
"""What one answer of `team` takes: 10 and 3 of each proposer, 7 and 5 of the aggregator."""

_PARAMETERS = {
    "type": "object",
    "properties": {"start": {"type": "integer"}},
    "required": ["start"],
    "additionalProperties": False,
}
FUNCTION: Any = {
    "type": "function",
    "name": "count",
    "description": "Count on from a number.",
    "parameters": _PARAMETERS,
    "strict": True,
}
"""A tool as /v1/responses has it."""
COUNT: Any = {
    "type": "function",
    "function": {name: value for name, value in FUNCTION.items() if name != "type"},
}
"""The same tool as /v1/chat/completions has it."""


class House:
    """Hold a running server: `secret` is the key of its owner, `upstream` has seen what models were asked."""

    def __init__(self, upstream: FakeOpenAI, server: Serving, keys: Path) -> None:
        self.upstream, self.server = upstream, server
        self._keys = keys
        self._numbers = itertools.count(1)
        self.secret = self.key()

    @property
    def url(self) -> str:
        """Return what clients call `base_url`."""
        return self.server.url

    def key(self, **limits: Any) -> str:
        """Return the secret of a new key; the server takes it at once."""
        return add_key(self._keys, f"guest-{next(self._numbers)}", KeyLimits(**limits))

    def client(self, secret: str | None = None) -> OpenAI:
        """Return OpenAI's client, which asks only once; it has to be closed."""
        return OpenAI(base_url=self.url, api_key=secret or self.secret, max_retries=0, timeout=60)

    def ask(self, path: str, body: Any, method: str = "POST", **headers: str) -> tuple[int, Any]:
        """Return the status and the body of one request; `_` in a header's name stands for a dash."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.ask(method, f"/v1{path}", body, {"authorization": f"Bearer {self.secret}"} | named)

    def count(self, *models: str) -> int:
        """Return how often models were asked since the test began; without names all of them."""
        return sum(map(self.upstream.count, models or (None,)))


def said(text: str = "Why?") -> list[Any]:
    """Return a conversation that begins."""
    return [{"role": "user", "content": text}]


def until(look: Callable[[], T | None], seconds: float = 20) -> T:
    """Return what there is to see once there is something: in another process, which tells nobody of it."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"nothing came in {seconds} s"
        time.sleep(0.02)
    return found


def write_spec(folder: Path, name: str, upstream: Any, layers: list[Layer], aggregator: str) -> Path:
    """Write a spec whose models are the fake server's; return its path."""
    document = spec_document(upstream.base_url, layers, aggregator, defaults={"attempts": 1})
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document | {"name": name}), encoding="utf-8")
    return path


@contextlib.contextmanager
def open_house(folder: Path) -> Iterator[House]:
    """Serve all teams on SQLite, with keys; at the end the server has to end in good order."""
    keys = folder / "keys.json"
    add_key(keys, "first", KeyLimits())
    with FakeOpenAI.in_thread() as upstream:
        specs = [write_spec(folder, name, upstream, *team) for name, team in _TEAMS.items()]
        options = ("--keys", str(keys), "--allow-origin", "https://chat.example")
        with serving(*specs, cwd=folder, options=options) as server:
            yield House(upstream, server, keys)
            assert server.stop() == 0
