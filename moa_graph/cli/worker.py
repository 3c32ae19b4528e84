"""`moa worker`: run in the background what servers on the same PostgreSQL were asked for."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.options import KeyEnv
from moa_graph.cli.text import count
from moa_graph.errors import MoAError

if TYPE_CHECKING:
    import asyncio

    from moa_graph.server.settings import Settings
    from moa_graph.spec.schema import MoASpec

__all__ = ["worker"]


def worker(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC", help="The spec files whose runs are taken.")],
    *,
    db: Annotated[
        str, typer.Option(metavar="URL", envvar="MOA_DB", help="The servers' database: postgresql://…")
    ],
    key_env: KeyEnv = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", envvar="MOA_KEYS", help="The servers' keys, whose limits hold here, too."
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, help="Runs at once.")] = 8,
) -> None:
    """Run background responses that servers with the same PostgreSQL have queued.

    Any number of workers share the queue; what a killed one had begun another one goes on with, and
    nothing that was finished is paid for again. Ctrl-C or SIGTERM ends it in good order, the second at once.
    """
    import asyncio  # noqa: PLC0415 -- costs start-up time
    import logging  # noqa: PLC0415 -- as above

    from moa_graph.extras import needing  # noqa: PLC0415 -- the worker is an extra, and heavy

    with needing("worker"):
        from moa_graph.server.settings import Settings  # noqa: PLC0415 -- an extra
    from moa_graph.spec.loading import load_spec  # noqa: PLC0415 -- costs start-up time

    settings = Settings(db=db, db_key_env=key_env, keys=keys, background=concurrency)
    if not settings.shared:
        raise MoAError(
            "a worker takes its runs from PostgreSQL",
            hint="Give --db postgresql://…; with any other store the server runs them itself.",
        )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    asyncio.run(_work(settings, [load_spec(spec) for spec in specs]))


async def _work(settings: Settings, specs: list[MoASpec]) -> None:
    from moa_graph.server.opening import open_served  # noqa: PLC0415 -- an extra

    with _signalled() as stopped:
        async with open_served(settings, specs) as served:
            models = ", ".join(spec.name for spec in specs)
            typer.echo(f"working for {count(len(specs), 'model')}: {models}", err=True)
            await stopped.wait()
            typer.echo("waiting for what is under way; once more to end at once", err=True)
            await served.background.drain()


@contextmanager
def _signalled() -> Iterator[asyncio.Event]:
    """Give what is set by the first SIGINT or SIGTERM inside; the second ends the process at once."""
    import asyncio  # noqa: PLC0415 -- costs start-up time

    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    first = True

    def caught(number: int, _frame: object) -> None:
        nonlocal first
        if not first:
            os._exit(128 + number)
        first = False
        loop.call_soon_threadsafe(stopped.set)

    before = {number: signal.signal(number, caught) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
