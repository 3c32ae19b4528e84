"""Background turns for tests: a cast of models behind all that a server has open, and turns in its store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from moa_graph.runs.run import Run
from moa_graph.server.asking import Served
from moa_graph.server.opening import open_served
from moa_graph.server.settings import Settings
from moa_graph.spec.schema import MoASpec
from tests.runs.cast import TWO, Cast

__all__ = ["THREAD", "TURN", "Backstage", "at_last", "made", "note", "standing", "submit"]

THREAD, TURN = "local/resp/a", "t1"


class Backstage:
    """Start and end servers, one after the other or at once, that share a store and a cast."""

    def __init__(self, db: str) -> None:
        self.db = db
        self.cast = Cast(TWO)

    @asynccontextmanager
    async def server(self, spec: MoASpec | None = None, **settings: Any) -> AsyncIterator[Served]:
        """Give what a server shares while it is up; its end waits for nobody by default."""
        chosen = Settings(**{"db": self.db, "drain": 0.0, **settings})
        async with open_served(chosen, [spec or self.cast.spec], models=self.cast.models) as served:
            yield served

    @asynccontextmanager
    async def idle(self) -> AsyncIterator[Served]:
        """Give a server that runs nothing in the background."""
        async with self.server() as served:
            await served.background.drain()
            yield served


async def note(served: Served, thread: str = THREAD, turn: str = TURN, *, background: bool = True) -> None:
    """Note a turn as the route does, and leave it at that."""
    runs = served.performer.runs(next(iter(served.performer.models)))
    await runs.submit("Why?", thread=thread, turn=turn, notes={"background": background})


async def submit(served: Served, thread: str = THREAD, turn: str = TURN, owner: str = "local") -> None:
    """Note a turn, and have it run."""
    await note(served, thread, turn)
    await served.background.submit(next(iter(served.performer.models)), thread, turn, owner)


async def standing(served: Served, thread: str = THREAD, turn: str = TURN) -> Run:
    """Return how a turn stands."""
    return await served.performer.runs(next(iter(served.performer.models))).turn(thread, turn)


async def at_last(
    served: Served,
    status: str | Callable[[Run], bool],
    thread: str = THREAD,
    turn: str = TURN,
    *,
    patience: float = 10.0,
) -> Run:
    """Wait until a turn stands so, and return it."""
    holds = (lambda run: run.status == status) if isinstance(status, str) else status
    run = await standing(served, thread, turn)
    try:
        async with asyncio.timeout(patience):
            while not holds(run):
                await asyncio.sleep(0.01)
                run = await standing(served, thread, turn)
    except TimeoutError:
        raise AssertionError(f"{thread} {turn}: {run.status} ({run.reason}), not {status}") from None
    return run


async def made(served: Served, proposal: str, thread: str = THREAD, turn: str = TURN) -> None:
    """Wait until a proposal of a turn is kept."""
    await at_last(served, lambda run: proposal in [each["id"] for each in run.proposals], thread, turn)
