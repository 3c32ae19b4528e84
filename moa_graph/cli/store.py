"""A store that is open while a command works on its threads, or while the shell completes an id."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from moa_graph.runs.threads import Runs

__all__ = ["DEFAULT_DB", "complete_thread", "with_runs"]

T = TypeVar("T")

DEFAULT_DB = "sqlite:///moa.db"


def complete_thread(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the threads that begin with what was typed; none where the store cannot be read."""
    try:
        url = context.params.get("db") or DEFAULT_DB
        found = with_runs(url, context.params.get("key_env"), lambda runs: runs.threads())
    except Exception:  # noqa: BLE001 - a completion must not disturb the line that is being typed
        return []
    ids = [summary.thread for summary in found if summary.thread.startswith(incomplete)]
    return [_typed(id_) for id_ in ids if _can_be_typed(id_)]


def _can_be_typed(id_: str) -> bool:
    # A shell gets the ids a line each; and what begins with a dash is an option, but behind `--`.
    return id_.isprintable() and (not id_.startswith("-") or " -- " in os.environ.get("COMP_WORDS", " -- "))


def _typed(id_: str) -> str:
    """Return an id as it must stand in the line; zsh and fish quote what they insert, bash does not."""
    if os.environ.get("_MOA_COMPLETE") != "complete_bash":
        return id_
    return re.sub(r"[ !\"#$&'()*;<>?\[\\\]^`{|}]|^~", r"\\\g<0>", id_)


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
