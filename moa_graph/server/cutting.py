"""Answers that a limit of their length, or a provider's filter, ended before their end."""

from __future__ import annotations

from moa_graph.errors import AggregatorFailed

__all__ = ["cut_short"]

_CUT = ("truncated", "filtered")


def cut_short(error: Exception) -> tuple[str, str] | None:
    """Return how an answer was cut, `truncated` or `filtered`, and its beginning; None for other errors.

    To the run it is a failure; a client of OpenAI's API is used to the beginning of an answer with the
    reason why it ends there. Of what a filter ended nothing is told.
    """
    if not isinstance(error, AggregatorFailed) or not error.proposals:
        return None
    last = error.proposals[-1]
    kind = last["failure"]["kind"] if last["failure"] else None
    # A stream that broke off is another matter: that may be tried again, and nobody asked for an end there.
    if kind not in _CUT or last["failure"]["retryable"] or last["layer"] != "aggregator":
        return None
    return kind, last["text"] if kind == "truncated" else ""
