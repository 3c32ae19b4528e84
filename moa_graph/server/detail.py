"""The field `moa` of an answer: who wrote it, of which proposals, what failed, and what each call took."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from langchain_core.messages import AIMessage

from moa_graph.events import Event
from moa_graph.state import FailureKind, Proposal, is_proposal

__all__ = ["Calls", "detail_of", "wants_detail", "wants_progress"]


def wants_detail(headers: Mapping[str, str], metadata: Mapping[str, Any] | None) -> bool:
    """Tell whether a request asks for the field `moa`: header X-MoA-Detail, or `moa` in its metadata."""
    return _wants("x-moa-detail", "moa", headers, metadata)


def wants_progress(headers: Mapping[str, str], metadata: Mapping[str, Any] | None) -> bool:
    """Tell whether a request asks for progress: header X-MoA-Progress, or `moa_progress` in its metadata."""
    return _wants("x-moa-progress", "moa_progress", headers, metadata)


def _wants(header: str, name: str, headers: Mapping[str, str], metadata: Mapping[str, Any] | None) -> bool:
    said = (headers.get(header), (metadata or {}).get(name))
    return any(isinstance(each, str) and each.strip().lower() in ("true", "1") for each in said)


class Calls:
    """Keep the records of a run's calls, the last one of each."""

    def __init__(self) -> None:
        self._records: dict[str, Proposal] = {}

    def hear(self, event: Event) -> None:
        """Take note of an event."""
        if event["type"] == "call.finished" or event["type"] == "call.failed":
            self._records[event["id"]] = event["proposal"]

    @property
    def records(self) -> list[Proposal]:
        """Return the records in the order in which the calls ended."""
        return list(self._records.values())


def detail_of(message: AIMessage, records: Sequence[Proposal] = ()) -> dict[str, Any]:
    """Return what is told of the run behind an answer; `records` are its calls, where they were heard.

    `cost` is USD, null where unknown. Of failures it tells who failed and of which kind: what providers said
    may name hosts and accounts, and stays in the server's log.
    """
    summary: Mapping[str, Any] = message.response_metadata.get("moa") or {}
    failed = [record for record in records if record["failure"]]
    known = {record["id"] for record in failed}
    failed += [each for each in summary.get("failed_aggregators") or [] if each["id"] not in known]
    detail: dict[str, Any] = {
        "name": summary.get("name"),
        "answered_by": summary.get("answered_by"),
        "cost": summary.get("cost"),
        "calls": summary.get("calls"),
        "seconds": summary.get("seconds"),
        "counts": dict(summary.get("proposals") or {}),
        "proposals": [_proposal(each) for each in records if _is_advice(each)],
        "failures": [_failure(record) for record in failed],
        "others": [_call(each) for each in records if not _is_advice(each)],
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
