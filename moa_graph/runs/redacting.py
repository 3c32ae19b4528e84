"""Take out of an export what must not leave this machine: keys, its name, and where its threads are."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

from moa_graph.models.providers import key_variable
from moa_graph.runs.portable import KINDS
from moa_graph.runs.records import RunStatus
from moa_graph.spec.schema import MoASpec
from moa_graph.spec.secrets import is_secret_name, is_secret_value
from moa_graph.state import FailureKind

__all__ = ["Redactor"]

_REDACTED = "[redacted]"
_SHORTEST_SECRET = 6
"""Shorter values (a server that wants just "x" as its key) would turn up in ordinary words."""
_FIXED = frozenset(
    {*KINDS, *get_args(FailureKind), *get_args(RunStatus), "ok", "cut", "dropped", "provider", "estimated"}
    | {"human", "ai", "system", "tool", "function", "chat", "aggregator"}
)
"""Words of the format: a host or a key of that name must not spoil it."""
_PIECE = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY.*?(?:-----END [A-Z ]{0,40}KEY-----|\Z)"
    r"|(?:[Bb][Ee][Aa][Rr][Ee][Rr]\s{1,8})?[^\s\"'`,;<>(){}\[\]]+",
    re.DOTALL,
)


class Redactor:
    """Replace, in every text of a value, keys by "[redacted]", and names of hosts and stores by plain words.

    Keys are the values of the variables that the spec names, of every variable of the environment that
    looks like a key, and whatever has the form of a key.
    """

    def __init__(self, spec: MoASpec, url: str) -> None:
        self._secrets = sorted(_secrets(spec), key=len, reverse=True)  # none may hide in another
        self._places = sorted(_places(url), key=len, reverse=True)
        self._hosts = [(_host_pattern(name), "this-host") for name in _own_names()]
        self._hosts += [(_host_pattern(name), "store-host") for name in _store_hosts(url)]

    def __call__(self, value: Any) -> Any:
        """Return a value of plain data, redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self(item) for item in value]
        if isinstance(value, dict):
            return {
                key: _REDACTED if isinstance(item, str) and item and is_secret_name(key) else self(item)
                for key, item in value.items()
            }
        return value

    def text(self, text: str) -> str:
        """Return a text, redacted."""
        if text in _FIXED:
            return text
        for secret in self._secrets:
            text = text.replace(secret, _REDACTED)
        for place in self._places:
            text = text.replace(place, "[store]")
        for pattern, name in self._hosts:
            text = pattern.sub(name, text)
        if is_secret_value(text):
            text = _PIECE.sub(lambda piece: _REDACTED if is_secret_value(piece[0]) else piece[0], text)
        return text


def _secrets(spec: MoASpec) -> set[str]:
    named = {key_variable(model) for model in spec.models.values()}
    values = {
        value.strip()
        for name, value in os.environ.items()
        if name in named or is_secret_name(name) or is_secret_value(value)
    }
    return {value for value in values if len(value) >= _SHORTEST_SECRET}


def _own_names() -> Iterator[str]:
    """Yield what this machine is called, the longest first; no name server is asked."""
    name = platform.node()
    for known in dict.fromkeys([name, name.partition(".")[0]]):
        if len(known) > 1 and known.lower() != "localhost":
            yield known


def _places(url: str) -> Iterator[str]:
    """Yield the texts that say where a store is."""
    scheme, _, path = url.partition("://")
    if not path:  # memory: is no place
        return
    yield url
    if scheme == "sqlite":
        yield str(Path(unquote(path.removeprefix("/"))).absolute())


def _store_hosts(url: str) -> Iterator[str]:
    host = urlsplit(url).hostname if "://" in url else None
    if not host or host == "localhost":
        return
    try:
        if ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    yield host


def _host_pattern(name: str) -> re.Pattern[str]:
    """Match a host's name as a word, with the domain that may follow it."""
    return re.compile(
        rf"(?<![A-Za-z0-9-]){re.escape(name)}(?:\.[A-Za-z0-9-]+)*(?![A-Za-z0-9-])", re.IGNORECASE
    )
