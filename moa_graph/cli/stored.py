"""What the commands on threads share: their options, and a store that is open while they work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from moa_graph.runs.threads import Runs

__all__ = ["DEFAULT_DB", "AsJson", "Db", "KeyEnv", "ThreadId", "with_runs"]

T = TypeVar("T")

DEFAULT_DB = "sqlite:///moa.db"


def complete_thread(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the threads that begin with what was typed; none where the store cannot be read."""
    try:
        url = context.params.get("db") or DEFAULT_DB
        found = with_runs(url, context.params.get("key_env"), lambda runs: runs.threads())
    except Exception:  # noqa: BLE001 - a completion must not disturb the line that is being typed
        return []
    return [summary.thread for summary in found if summary.thread.startswith(incomplete)]


Db = Annotated[
    str,
    typer.Option(
        "--db",
        metavar="URL",
        envvar="MOA_DB",
        help="Where threads are kept: sqlite:///PATH or postgresql://…",
    ),
]
KeyEnv = Annotated[
    str | None,
    typer.Option(
        "--key-env",
        metavar="NAME",
        envvar="MOA_KEY_ENV",
        help="The variable with the key that the store is encrypted with.",
    ),
]
ThreadId = Annotated[
    str, typer.Argument(metavar="THREAD", help="The thread.", autocompletion=complete_thread)
]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]


def with_runs(
    db: str, key_env: str | None, work: Callable[[Runs], Awaitable[T]], *, create: bool = False
) -> T:
    """Open the store, do the work, and return its result; threads keep the specs that they were made by.

    A store that is not there is made only with `create`: who looks for a thread has mistyped its place.
    """
    # Both are imported here because `moa --help` must not wait for the graph.
    from moa_graph import background  # noqa: PLC0415 -- see above
    from moa_graph.runs.threads import Runs  # noqa: PLC0415 -- see above

    async def run() -> T:
        async with Runs.open(db, key_env=key_env, create=create) as runs:
            return await work(runs)

    return background.run(run())
