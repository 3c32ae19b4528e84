"""What the tests of traces share: a LangSmith that only listens, and spans kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from langchain_core.tracers import LangChainTracer
from langsmith import Client

from tests.tracing.langsmith import FakeLangSmith, Run, fake_langsmith


@pytest.fixture
def langsmith() -> Iterator[FakeLangSmith]:
    """Give a fake LangSmith."""
    with fake_langsmith() as running:
        yield running


@pytest.fixture
def client(langsmith: FakeLangSmith) -> Iterator[Client]:
    """Give LangSmith's own client, before the fake."""
    made = Client(api_url=langsmith.url, api_key="the-key-of-the-tracing-service")
    yield made
    made.close()


@pytest.fixture
def tracer(client: Client) -> LangChainTracer:
    """Give the tracer that `LANGSMITH_TRACING=true` would install."""
    return LangChainTracer(client=client)


@pytest.fixture
def traces(client: Client, langsmith: FakeLangSmith) -> Callable[[], list[Run]]:
    """Give what returns the trees of all runs so far."""

    def read() -> list[Run]:
        client.flush()
        return langsmith.trees()

    return read
