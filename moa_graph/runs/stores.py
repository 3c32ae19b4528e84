"""Where threads are kept: what every store can do, and how a URL names one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from moa_graph.errors import MoAError
from moa_graph.runs.serializer import make_serializer

__all__ = ["BUSY_PATIENCE", "Store", "open_store"]

BUSY_PATIENCE = 1.0
"""Seconds to wait for a lease before a thread counts as busy; another process may just be looking at it."""


class Store(ABC):
    """Keep threads: their checkpoints, one record each, and the right to run them.

    A `key` names a thread: text without NUL and lone surrogates, at most 2,300 bytes of UTF-8. Every method
    raises StoreError when the store does not do its work for longer than a short trouble lasts, and when
    what it holds cannot be read.
    """

    url: str
    """Where the threads are, as messages may show it: without a password."""

    @abstractmethod
    def saver(self) -> BaseCheckpointSaver[str]:
        """Return a checkpointer for a run: one of its own, or the same for all where that is no slower."""

    @abstractmethod
    async def read(self, key: str) -> dict[str, Any] | None:
        """Return a thread's record, or None."""

    @abstractmethod
    async def write(self, key: str, record: dict[str, Any]) -> None:
        """Write a thread's record, which is plain JSON; when this returns it is committed."""

    @abstractmethod
    async def remove(self, key: str) -> None:
        """Take away a thread: its checkpoints first, then its record."""

    @abstractmethod
    async def keys(self) -> list[str]:
        """Return the keys of all threads that have a record, in alphabetical order."""

    @abstractmethod
    def lease(self, key: str, *, wait: bool = False) -> AbstractAsyncContextManager[None]:
        """Hold the right to run a thread, across tasks, processes and, where the store is shared, hosts.

        Raises ThreadBusy when somebody else has it for longer than BUSY_PATIENCE; with `wait`, waits. A
        lease ends with its process. When a store loses a lease, the task that holds it is cancelled, and
        the context ends with StoreError.
        """

    @abstractmethod
    async def leased(self, key: str) -> bool:
        """Tell whether somebody, here or elsewhere, holds a thread's lease."""


def open_store(
    url: str, *, key_env: str | None = None, create: bool = True
) -> AbstractAsyncContextManager[Store]:
    """Open `sqlite:///path`, `postgresql://…` or `memory:`; tables are made when they are missing.

    Without `create` a file that is not there is a ThreadError. `key_env` names an environment variable with
    a key of 16, 24 or 32 bytes; then everything that is written is encrypted, and rows that are not are
    refused. Raises MoAError for a URL that names no store, and StoreError when the store cannot be opened.
    """
    scheme, _, rest = url.partition(":")
    serializer: SerializerProtocol = make_serializer(key_env)
    match scheme:
        case "memory" if not rest:
            from moa_graph.runs.memory import open_memory  # noqa: PLC0415 -- one store is used

            return open_memory(serializer)
        case "sqlite":
            from moa_graph.runs.sqlite import open_sqlite  # noqa: PLC0415 -- one store is used

            return open_sqlite(url, serializer, create=create)
        case "postgresql" | "postgres":
            from moa_graph.runs.postgres import open_postgres  # noqa: PLC0415 -- an extra

            return open_postgres(url, serializer)
    raise MoAError(
        f"{scheme + ':' if rest else url!r} names no store",
        hint="Use sqlite:///path/to/file.db, postgresql://user@host/database or memory:",
    )
