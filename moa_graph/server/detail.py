"""The field `moa` of an answer: who wrote it, of which proposals, what failed, and what each call took."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from langchain_core.messages import AIMessage

from moa_graph.state import FailureKind, Proposal, is_proposal

__all__ = ["detail_of"]


def detail_of(message: AIMessage, records: Sequence[Proposal] = ()) -> dict[str, Any]:
    """Return what is told of the run behind an answer; `records` are those of its calls.

    `cost` is USD, null where unknown. Of failures it tells who failed and of which kind: what providers said
    may name hosts and accounts, and stays in the server's log.
    """
    summary: Mapping[str, Any] = message.response_metadata.get("moa") or {}
    last = [*(summary.get("failed_aggregators") or []), *filter(None, [summary.get("aggregator")])]
    calls = [*{each["id"]: each for each in [*records, *last]}.values()]
    detail: dict[str, Any] = {
        "name": summary.get("name"),
        "answered_by": summary.get("answered_by"),
        "cost": summary.get("cost"),
        "calls": summary.get("calls"),
        "seconds": summary.get("seconds"),
        "counts": dict(summary.get("proposals") or {}),
        "proposals": [_proposal(each) for each in calls if _is_advice(each)],
        "failures": [_failure(each) for each in calls if each["failure"]],
        "others": [_call(each) for each in calls if not _is_advice(each) and each["attempts"]],
        "warnings": [_warning(each) for each in summary.get("warnings") or []],
    }
    for name in ("sources", "citations", "stopped"):
        if name in summary:
            detail[name] = summary[name]
    return detail


def _is_advice(record: Proposal) -> bool:
    return is_proposal(record) and record["layer"] != "aggregator"


def _proposal(record: Proposal) -> dict[str, Any]:
    return {**_call(record), "text": record["text"], "left_out": record.get("left_out", "")}


def _call(record: Proposal) -> dict[str, Any]:
    usage = record["usage"]
    return {
        "id": record["id"],
        "status": record["status"],
        "model": record["actual_model"] or record["requested_model"],
        "attempts": record["attempts"],
        "input_tokens": usage["input_tokens"] if usage else None,
        "output_tokens": usage["output_tokens"] if usage else None,
        "cost": record["cost"],
        "seconds": record["seconds"],
    }


def _failure(record: Proposal) -> dict[str, Any]:
    failure = record["failure"]
    return {
        "id": record["id"],
        "status": record["status"],
        "kind": failure["kind"] if failure else None,
        "status_code": failure["status_code"] if failure else None,
    }


_KINDS = "|".join(get_args(FailureKind))
_TOLD = re.compile(rf"(?s)(.*?\b(?:failed|cut|dropped): (?:{_KINDS})|.*?\bfailed)\b: .*")
"""A warning about a failure, up to where somebody else's words begin."""


def _warning(warning: str) -> str:
    """Return a run's warning; one that repeats a failure ends with its kind."""
    found = _TOLD.fullmatch(warning)
    return found[1] if found else warning
