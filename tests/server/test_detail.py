"""The field `moa` tells what each call gave and took, and keeps what providers said to itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from moa_graph.server.detail import detail_of
from tests.server.chat.fakes import answered
from tests.server.chat.test_route import record

FAILURE: Any = {"kind": "auth", "message": "key sk-secret", "retryable": False, "status_code": 401}


def test_the_calls_of_a_run_are_told_apart() -> None:
    records = [
        record("draft/a"),
        record("draft/b", status="failed", failure=FAILURE, text="", usage=None, cost=None),
        record("draft/@judge", role="judge"),
    ]
    moa = {"aggregator": record("aggregator/z", actual_model="z-2026")}
    detail = detail_of(answered(moa=moa), records)
    a, b = detail["proposals"]
    assert a == {
        "id": "draft/a",
        "status": "ok",
        "model": "host:a",
        "attempts": 1,
        "input_tokens": 3,
        "output_tokens": 2,
        "cost": 0.1,
        "seconds": 1.25,
        "text": "A draft.",
        "left_out": "",
    }
    assert (b["status"], b["input_tokens"], b["cost"]) == ("failed", None, None)
    assert detail["failures"] == [
        {"id": "draft/b", "status": "failed", "kind": "auth", "status_code": 401},
    ]
    assert [each["id"] for each in detail["others"]] == ["draft/@judge", "aggregator/z"]
    assert detail["others"][1]["model"] == "z-2026"
    assert "secret" not in json.dumps(detail)


def test_who_took_a_proposal_as_it_is_made_no_call() -> None:
    moa = {"aggregator": record("aggregator/vote", attempts=0, usage=None)}
    assert detail_of(answered(moa=moa), [record()])["others"] == []


def test_an_answer_tells_of_its_run_also_where_nobody_listened() -> None:
    failed = record("aggregator/y", status="failed", failure=FAILURE)
    moa = {"failed_aggregators": [failed], "sources": [], "citations": {"cited": [], "unknown": []}}
    detail = detail_of(answered(moa=moa))
    assert (detail["name"], detail["answered_by"], detail["calls"], detail["counts"]) == (
        "team",
        "z",
        3,
        {"ok": 2},
    )
    assert [each["id"] for each in detail["failures"]] == ["aggregator/y"]
    assert (detail["sources"], detail["citations"]) == ([], {"cited": [], "unknown": []})
    assert "stopped" not in detail


def test_a_failed_aggregator_is_told_once() -> None:
    failed = record("aggregator/y", status="failed", failure=FAILURE)
    detail = detail_of(answered(moa={"failed_aggregators": [failed]}), [failed])
    assert [each["id"] for each in detail["failures"]] == ["aggregator/y"]


@pytest.mark.parametrize(
    ("warning", "told"),
    [
        ("draft/a failed: auth: key sk-secret\nof host", "draft/a failed: auth"),
        ("draft/a cut: timeout: no answer", "draft/a cut: timeout"),
        ("draft/b: inside team: draft/a failed: auth: key sk", "draft/b: inside team: draft/a failed: auth"),
        ("retriever books failed: /srv/books is missing", "retriever books failed"),
        ("the answer cites passages that do not exist: x", "the answer cites passages that do not exist: x"),
        ("draft/a: tokens are estimated", "draft/a: tokens are estimated"),
    ],
)
def test_warnings_end_where_somebody_elses_words_begin(warning: str, told: str) -> None:
    assert detail_of(answered(moa={"warnings": [warning]}))["warnings"] == [told]


def test_a_message_that_no_run_gave_has_nothing_to_tell() -> None:
    detail = detail_of(AIMessage("Hello."))
    assert (detail["cost"], detail["proposals"], detail["warnings"]) == (None, [], [])
