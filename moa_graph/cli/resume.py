"""`moa resume`: go on with a thread."""

from __future__ import annotations

import typer

from moa_graph.cli.options import (
    DEFAULT_DB,
    Breakpoint,
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

__all__ = ["resume"]


def resume(
    command: typer.Context,
    thread: ThreadId,
    *,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    spec: PinnedSpec = None,
    breakpoint_: Breakpoint = None,
    wait: Wait = False,
    stream: Stream = False,
    as_json: Json = False,
    quiet: Quiet = False,
    show_proposals: ShowProposals = False,
    record: Record = None,
) -> None:
    """Go on with a thread.

    What was finished is restored and not paid for again; what failed is tried again. A thread that is
    answered gives its answer at once.
    """
    check_options(stream=stream, as_json=as_json, quiet=quiet, show_proposals=show_proposals)
    # These are imported here because `moa --help` must not wait for the graph.
    from moa_graph.cli.screen import Manner  # noqa: PLC0415 -- see above
    from moa_graph.cli.threaded import go_on  # noqa: PLC0415 -- see above

    place = place_of(command, thread, db, key_env)
    manner = Manner(stream, as_json, quiet, show_proposals, record)
    go_on(place, manner, spec=spec, breakpoints=breakpoint_ or [], wait=wait)
