"""Numbers about runs: what is counted under which labels, and that no request can make new ones."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from moa_graph.events import Event
from moa_graph.server.metrics import OTHER, Metrics
from moa_graph.state import AGREED, Proposal


def proposal(**changes: Any) -> Proposal:
    record = {
        "id": "draft/a",
        "status": "ok",
        "failure": None,
        "attempts": 1,
        "usage": {"input_tokens": 10, "output_tokens": 4, "source": "provider"},
        "cost": 0.25,
    }
    return cast("Proposal", record | changes)


def failure(kind: str, message: str = "no") -> dict[str, Any]:
    return {"kind": kind, "message": message, "retryable": False, "status_code": None}


def call(kind: str, role: str = "proposer", **changes: Any) -> Event:
    return cast("Event", {"type": kind, "id": "draft/a", "role": role, "proposal": proposal(**changes)})


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Read the text as Prometheus does: samples by name and labels' values."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["panel", "solo"])


def test_runs_are_counted_while_they_run_and_when_they_end(metrics: Metrics) -> None:
    metrics.began("panel")
    metrics.began("panel")
    assert values(metrics)["moa_runs_in_flight", "panel"] == 2
    metrics.ended("panel", "answered", 3.0, 0.4)
    metrics.ended("panel", "QuorumNotMet", 0.2, None)
    found = values(metrics)
    assert found["moa_runs_in_flight", "panel"] == 0
    assert found["moa_runs_total", "panel", "answered"] == 1
    assert found["moa_runs_total", "panel", "QuorumNotMet"] == 1
    assert found["moa_run_seconds_count", "panel"] == 2
    assert found["moa_run_seconds_sum", "panel"] == pytest.approx(3.2)
    assert found["moa_run_seconds_bucket", "5.0", "panel"] == 2
    assert found["moa_run_seconds_bucket", "0.25", "panel"] == 1
    assert found["moa_first_token_seconds_count", "panel"] == 1
    assert found["moa_first_token_seconds_bucket", "0.5", "panel"] == 1


def test_a_call_is_counted_with_its_tokens_and_its_cost(metrics: Metrics) -> None:
    metrics.heard("panel", call("call.finished"))
    metrics.heard("panel", call("call.finished", role="aggregator"))
    found = values(metrics)
    assert found["moa_calls_total", "panel", "proposer", "ok"] == 1
    assert found["moa_calls_total", "panel", "aggregator", "ok"] == 1
    assert found["moa_tokens_total", "input", "panel"] == 20
    assert found["moa_tokens_total", "output", "panel"] == 8
    assert found["moa_cost_dollars_total", "panel"] == 0.5
    assert found["moa_unknown_cost_total",] == 0


def test_a_cost_that_is_not_known_is_counted_as_that_and_not_as_nothing(metrics: Metrics) -> None:
    metrics.heard("panel", call("call.finished", cost=None))
    metrics.heard("panel", call("call.failed", status="failed", cost=None, usage=None))
    found = values(metrics)
    assert found["moa_unknown_cost_total",] == 1
    assert ("moa_cost_dollars_total", "panel") not in found


def test_what_was_given_up_before_anything_was_sent_is_no_call(metrics: Metrics) -> None:
    spent = {"status": "failed", "attempts": 0, "failure": failure("budget"), "usage": None, "cost": None}
    metrics.heard("panel", call("call.failed", **spent))
    assert not any(name.startswith(("moa_calls", "moa_failures")) for name, *_ in values(metrics))


def test_failures_are_counted_by_kind_also_those_that_were_tried_again(metrics: Metrics) -> None:
    retried = {"type": "call.retried", "id": "draft/a", "role": "proposer", "attempt": 1, "wait": 0.0}
    metrics.heard("panel", cast("Event", retried | {"failure": failure("rate_limited")}))
    metrics.heard("panel", call("call.failed", status="failed", failure=failure("rate_limited")))
    metrics.heard("panel", call("call.failed", status="cut", failure=failure("deadline")))
    metrics.heard("panel", call("call.failed", status="cut", failure=failure("deadline", f"cut {AGREED}")))
    metrics.heard(
        "panel",
        {"type": "retrieval.failed", "id": "retrieve", "retriever": "docs", "reason": "down", "seconds": 0.1},
    )
    found = values(metrics)
    assert found["moa_failures_total", "rate_limited", "panel"] == 2
    assert found["moa_failures_total", "deadline", "panel"] == 1
    assert found["moa_failures_total", "retrieval", "panel"] == 1
    assert found["moa_calls_total", "panel", "proposer", "cut"] == 2


def test_other_events_count_nothing(metrics: Metrics) -> None:
    before = metrics.text()
    metrics.heard("panel", {"type": "call.started", "id": "draft/a", "role": "proposer", "model": "m"})
    assert metrics.text() == before


def test_what_requests_say_is_no_label(metrics: Metrics) -> None:
    metrics.began("evil\n{}")
    metrics.heard("evil\n{}", call("call.finished"))
    metrics.ended("evil\n{}", "answered", 1.0)
    for path in ("/v1/models/{model}", None):
        metrics.requested(path, 404)
    found = values(metrics)
    assert found["moa_runs_total", OTHER, "answered"] == 1
    assert found["moa_requests_total", "/v1/models/{model}", "404"] == 1
    assert found["moa_requests_total", OTHER, "404"] == 1
    assert b"evil" not in metrics.text()


def test_the_queue_is_looked_at_when_somebody_asks(metrics: Metrics) -> None:
    waiting = [1]
    metrics.watch_queue(lambda: len(waiting))
    assert values(metrics)["moa_queue_length",] == 1
    waiting.append(2)
    assert values(metrics)["moa_queue_length",] == 2


def test_two_servers_in_a_process_count_apart() -> None:
    one, other = Metrics(["panel"]), Metrics(["panel"])
    one.began("panel")
    assert ("moa_runs_in_flight", "panel") not in values(other)
