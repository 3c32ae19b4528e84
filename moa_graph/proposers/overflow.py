"""What is left out of a prompt that is too long for its model."""

from __future__ import annotations

from collections.abc import Sequence

from moa_graph.state import Proposal, Reference

__all__ = ["fitting", "longest", "warning_of"]


def longest(references: Sequence[Reference], least: int) -> Reference | None:
    """Return the reference to leave out, the longest one; None where `least`, or one, have to stay.

    The synthesis of a window stays in any case: it stands for all that it was made of.
    """
    if len(references) <= max(1, least):
        return None
    single = [each for each in references if not each["id"].startswith("aggregator/@window-")]
    return max(single, key=lambda each: len(each["text"]), default=None)


def warning_of(reference: Reference) -> str:
    """Return how a record says that a reference was left out."""
    return f"context overflow: reference {reference['id']} was left out"


def fitting(references: Sequence[Reference], record: Proposal) -> list[str]:
    """Return the ids of the references but for those that a record's prompt was too long for."""
    return [each["id"] for each in references if warning_of(each) not in record["warnings"]]
