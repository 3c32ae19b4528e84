"""One running server for all tests of a worker that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.clients.house import House, open_house


@pytest.fixture(scope="session")
def open_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Start the server once; tests ask for `house`."""
    with open_house(tmp_path_factory.mktemp("house")) as running:
        yield running


@pytest.fixture
def house(open_door: House) -> House:
    """Give the running server; nobody behind it has been asked yet."""
    open_door.upstream.reset()
    return open_door
