"""The route with a script behind it: `play(*steps)`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from moa_graph.runs.stores import open_store
from moa_graph.server.shelf import open_shelf
from tests.server.chat.fakes import Played


@pytest.fixture
async def play() -> AsyncIterator[Callable[..., Played]]:
    async with open_store("memory:") as store, open_shelf("memory:") as shelf:
        yield partial(Played, store, shelf)
