"""What the server asks of whatever runs turns in the background."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moa_graph.server.asking import Served

__all__ = ["Background"]


class Background(ABC):
    """Run turns that are noted in the store (`Runs.submit`) and that nobody waits for.

    How a turn stands is told by the store alone (`Runs.turn`). One that failed, or that somebody cancelled,
    is not taken up again; one whose process was killed or shut down is, and what it paid for is kept.
    """

    @abstractmethod
    async def begin(self, served: Served) -> None:
        """Take up turns from now on; called once."""

    @abstractmethod
    async def submit(self, model: str, thread: str, turn: str, owner: str) -> None:
        """Have a turn run that is noted already; one that is known already is not run twice.

        Raises StoreError when it cannot be queued.
        """

    @abstractmethod
    async def cancel(self, thread: str, turn: str) -> bool:
        """Stop a turn for good, whoever runs it; return False if it had ended otherwise, or is unknown.

        Raises StoreError, and ThreadBusy when whoever runs it does not let go in time.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Take up no more, wait as long as the server's settings say, and interrupt what then still runs.

        What is interrupted or not begun is gone on with at the next start, or by another worker.
        """
