"""`moa step`: run one layer of a thread, or its aggregator, and stop again."""

from __future__ import annotations

from typing import Annotated

import typer

from moa_graph.cli.options import (
    DEFAULT_DB,
    Db,
    Json,
    KeyEnv,
    PinnedSpec,
    Quiet,
    Record,
    ShowProposals,
    Stream,
    ThreadId,
    Wait,
    check_options,
)
from moa_graph.cli.place import place_of

__all__ = ["step"]


def step(
    command: typer.Context,
    thread: ThreadId,
    *,
    approve: Annotated[
        bool, typer.Option("--approve", help="Note first that somebody looked at the last proposals.")
    ] = False,
    who: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who approves; by default the user of the system.")
    ] = None,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    spec: PinnedSpec = None,
    wait: Wait = False,
    stream: Stream = False,
    as_json: Json = False,
    quiet: Quiet = False,
    show_proposals: ShowProposals = False,
    record: Record = None,
) -> None:
    """Run one layer of a thread, or its aggregator, and stop again.

    The layer's proposals, what comes next and what it costs at most go to stderr; stdout stays empty
    until there is an answer. Proposals can then be changed with moa edit.
    """
    check_options(stream=stream, as_json=as_json, quiet=quiet, show_proposals=show_proposals)
    if who is not None and not approve:
        raise typer.BadParameter("use it with --approve", param_hint="--who")
    # These are imported here because `moa --help` must not wait for the graph.
    from moa_graph.cli.screen import Manner  # noqa: PLC0415 -- see above
    from moa_graph.cli.threaded import Approval, go_on  # noqa: PLC0415 -- see above

    place = place_of(command, thread, db, key_env)
    manner = Manner(stream, as_json, quiet, show_proposals, record, layer=True)
    approval = Approval(who) if approve else None
    go_on(place, manner, spec=spec, breakpoints=["all"], wait=wait, approval=approval)
