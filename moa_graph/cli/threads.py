"""`moa threads`: all threads of a store, a line each."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, Json, KeyEnv
from moa_graph.cli.store import with_runs
from moa_graph.cli.tables import columns, family, local_time
from moa_graph.cli.text import one_line, to_json
from moa_graph.runs.commands import thread_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moa_graph.runs.summaries import Summary

__all__ = ["threads"]

_HEAD = ("thread", "status", "turns", "last used", "question")
_QUESTION = 60
"""Characters of a question."""


def threads(*, db: Db = DEFAULT_DB, key_env: KeyEnv = None, as_json: Json = False) -> None:
    """List all threads.

    A line each, the one that was used last first; forks are indented under the thread they were forked
    from.
    """
    found = with_runs(db, key_env, lambda runs: runs.threads())
    if as_json:
        typer.echo(to_json({"threads": [asdict(summary) for summary in found]}))
    elif not found:
        typer.echo("there are no threads yet", err=True)
    else:
        typer.echo("\n".join(_table(found)))


def _table(found: Sequence[Summary]) -> list[str]:
    rows = [_HEAD, *(_row(depth, summary) for depth, summary in family(found))]
    return columns(rows, right={2})


def _row(depth: int, summary: Summary) -> tuple[str, ...]:
    name = thread_name(summary.thread)
    what = summary.question or summary.reason
    # Indented forks say by their place whose they are.
    origin = f" (fork of {thread_name(summary.forked_from)})" if summary.forked_from and not depth else ""
    return (
        "  " * depth + name,
        summary.status,
        str(summary.turns),
        local_time(summary.updated),
        one_line(what, _QUESTION) + origin,
    )
