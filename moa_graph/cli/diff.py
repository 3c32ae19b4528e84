"""`moa diff`: how two threads differ."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, Json, KeyEnv
from moa_graph.cli.store import complete_thread, with_runs

if TYPE_CHECKING:
    from moa_graph.runs.comparing import Comparison
    from moa_graph.runs.threads import Runs

__all__ = ["diff"]


def diff(
    thread: Annotated[
        str, typer.Argument(metavar="THREAD_A", help="A thread.", autocompletion=complete_thread)
    ],
    other: Annotated[
        str, typer.Argument(metavar="THREAD_B", help="Another thread.", autocompletion=complete_thread)
    ],
    *,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    as_json: Json = False,
) -> None:
    """Show how the last turns of two threads differ.

    Their specs, the proposals that changed or that only one of them has, and the answers word by word:
    [-only in THREAD_A-]{+only in THREAD_B+}.
    """
    from moa_graph.cli.differences import lines  # noqa: PLC0415 -- the graph costs start-up time
    from moa_graph.cli.text import to_json  # noqa: PLC0415 -- see above
    from moa_graph.runs.comparing import compare, word_diff  # noqa: PLC0415 -- see above

    async def look(runs: Runs) -> Comparison:
        records = await runs.record(thread), await runs.record(other)
        return compare(records, (await runs.show(thread), await runs.show(other)))

    found = with_runs(db, key_env, look)
    if as_json:
        words = word_diff(found.answers[0] or "", found.answers[1] or "")
        typer.echo(to_json({"equal": found.equal, **asdict(found), "answer_diff": words}))
    else:
        typer.echo("\n".join(lines(found, (thread, other))))
