"""Answers that a limit of their length, or a provider's filter, ended before their end."""

from __future__ import annotations

from langchain_core.messages import AIMessage

from moa_graph.errors import AggregatorFailed

__all__ = ["cut_short"]

_REASONS = {"truncated": "length", "filtered": "content_filter"}


def cut_short(error: Exception) -> AIMessage | None:
    """Return what there is of an answer that was cut short, None for other errors.

    To the run it is a failure; a client of OpenAI's API is used to the beginning of an answer with the
    reason why it ends there. Of what a filter ended nothing is told.
    """
    if not isinstance(error, AggregatorFailed) or not error.proposals:
        return None
    last = error.proposals[-1]
    # A stream that broke off is another matter: that may be tried again, and nobody asked for an end there.
    reason = _REASONS.get(last["failure"]["kind"]) if last["failure"] else None
    if reason is None or last["failure"]["retryable"] or last["layer"] != "aggregator":
        return None
    read, written = error.usage.get("input_tokens", 0), error.usage.get("output_tokens", 0)
    return AIMessage(
        last["text"] if reason == "length" else "",
        response_metadata={
            "finish_reason": reason,
            "moa": {"answered_by": last["proposer"], "cost": error.cost, "calls": error.calls},
        },
        usage_metadata={"input_tokens": read, "output_tokens": written, "total_tokens": read + written},
    )
