"""Failures that every further item would meet as well: then it is better to stop than to go on."""

from __future__ import annotations

from moa_graph.errors import AggregatorFailed, QuorumNotMet, RunError

__all__ = ["HOPELESS", "is_hopeless"]

HOPELESS = frozenset({"auth", "quota_exhausted", "not_found"})
"""Kinds of failures that are no matter of the question, and that time does not mend."""


def is_hopeless(error: RunError) -> bool:
    """Tell whether all that failed in the step that ended a run failed for such reasons.

    That is a wrong key, no quota or no such model: of the aggregator and all its fallbacks, or of all that a
    layer lacked for its quorum.
    """
    if not isinstance(error, AggregatorFailed | QuorumNotMet):
        return False
    step = "aggregator" if isinstance(error, AggregatorFailed) else _last_layer(error)
    failures = [
        # What a recording lacks is one question, and it may have the next.
        record["failure"]["kind"] if not record["requested_model"].startswith("replay:") else "unrecorded"
        for record in error.proposals
        if record["layer"] == step and record["status"] == "failed" and record["failure"]
    ]
    return bool(failures) and HOPELESS.issuperset(failures)


def _last_layer(error: RunError) -> str:
    return str(error.proposals[-1]["layer"]) if error.proposals else ""
