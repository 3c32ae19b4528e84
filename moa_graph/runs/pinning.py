"""A thread belongs to the spec it was made by: refuse another one, and show the difference."""

from __future__ import annotations

from difflib import unified_diff

from moa_graph.errors import SpecMismatch
from moa_graph.runs.commands import command
from moa_graph.runs.records import ThreadRecord
from moa_graph.spec.loading import dump_spec, is_hash_of
from moa_graph.spec.schema import MoASpec

__all__ = ["check_pin"]


def check_pin(record: ThreadRecord, spec: MoASpec | None) -> None:
    """Raise SpecMismatch if a thread was made by another spec than `spec`; None means the thread's own."""
    if spec is None or is_hash_of(record.spec_hash, spec):
        return
    lines = unified_diff(
        record.spec.splitlines(),
        dump_spec(spec).splitlines(),
        fromfile=f"thread {record.thread}",
        tofile=spec.name,
        lineterm="",
        n=2,
    )
    raise SpecMismatch(
        f"thread {record.thread!r} was made by another spec; nothing was called",
        hint="Go on with the changed spec in a fork, which re-uses what is still valid: "
        f"`{command('fork', record.thread, '--spec FILE')}`, or runs.fork(thread, spec=spec).",
        difference="\n".join(lines),
    )
