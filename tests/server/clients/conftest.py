"""OpenAI's client for the tests beside this."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.server.clients.house import House


@pytest.fixture
def client(house: House) -> Iterator[OpenAI]:
    """Give OpenAI's client of the running server, which asks only once."""
    with house.client() as opened:
        yield opened
