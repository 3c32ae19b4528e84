"""The test bed: no real network, no keys, no waiting between attempts, and a fake server."""

from __future__ import annotations

import importlib
import ipaddress
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.openai_server import FakeOpenAI

if TYPE_CHECKING:
    from tests.fakes.postgres import PostgresServer

_SECRET = re.compile(
    r"_API_KEY$|_API_BASE$|_BASE_URL$|^LANGSMITH_|^LANGCHAIN_|^OPENAI_|_proxy$", re.IGNORECASE
)
_ADDRESS_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_NAME_EVENTS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


class RealNetworkError(RuntimeError):
    """Stop a test that tries to leave this machine."""


def _is_loopback(host: Any) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


def refuse_real_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise RealNetworkError for any address but loopback; nothing in a process can avoid an audit hook."""
    if event in _ADDRESS_EVENTS:
        address = arguments[1]
        # Anything but a tuple is a Unix socket's path.
        host = address[0] if isinstance(address, tuple) else None
    elif event in _NAME_EVENTS:
        host = arguments[0]
    else:
        return
    if not _is_loopback(host):
        raise RealNetworkError(f"A test tried to reach {host!r}: only loopback is allowed ({event}).")


sys.addaudithook(refuse_real_network)
os.environ["LANGSMITH_TRACING"] = "false"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test without keys, tracing, base URLs and proxies of the machine."""
    for name in list(os.environ):
        if _SECRET.search(name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    call = importlib.import_module("moa_graph.proposers.call")
    monkeypatch.setattr(call, "BACKOFF_BASE", 0.0)


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """Give a fake OpenAI-compatible server of the test's own, in a thread."""
    with FakeOpenAI.in_thread() as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give a real PostgreSQL, one a worker; where there is none, skip, or fail under MOA_TEST_POSTGRES."""
    fakes = importlib.import_module("tests.fakes.postgres")
    binaries = fakes.find_binaries()
    if binaries is None:
        absent = "No PostgreSQL here: install it (Debian: apt-get install postgresql)."
        (pytest.fail if os.environ.get("MOA_TEST_POSTGRES") else pytest.skip)(absent)
    with fakes.postgres_server(binaries) as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """Give the URL of an empty database of the test's own."""
    return postgres.new_database()
