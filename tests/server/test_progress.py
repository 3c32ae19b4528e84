"""Progress says in one line what a run does, and nothing of what providers said."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.server.progress import progress_line
from tests.server.chat.test_route import record

FAILURE = {"kind": "rate_limited", "message": "secret words", "retryable": True, "status_code": 429}


def call(kind: str, **parts: Any) -> dict[str, Any]:
    return {"type": kind, "id": "draft/a", "role": "proposer", **parts}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"type": "layer.started", "layer": "draft", "proposers": ["a"]}, "draft: asking 1 proposer"),
        ({"type": "layer.started", "layer": "draft", "proposers": ["a", "b"]}, "draft: asking 2 proposers"),
        (
            {"type": "layer.joined", "layer": "draft", "ok": 2, "failed": 0, "cut": 0, "seconds": 1.26},
            "draft: 2 proposals, 1.3 s",
        ),
        (
            {"type": "layer.joined", "layer": "draft", "ok": 1, "failed": 1, "cut": 1, "seconds": 2},
            "draft: 1 proposal, 2 failed or cut, 2.0 s",
        ),
        (
            {"type": "layer.selected", "layer": "draft", "kept": ["a"], "left_out": {"b": "longer"}},
            "draft: 1 of 2 proposals go on",
        ),
        ({"type": "layers.stopped", "layer": "draft", "reason": "all agree"}, "draft: enough: all agree"),
        ({"type": "retrieval.finished", "retriever": "books", "passages": 3}, "books: 3 passages"),
        ({"type": "retrieval.failed", "retriever": "books", "reason": "secret words"}, "books: failed"),
        (call("call.started", role="aggregator"), "writing the answer"),
        (call("call.started"), None),
        (call("call.retried", wait=1.5, failure=FAILURE), "draft/a: rate_limited, asking again in 1.5 s"),
        (call("call.finished", proposal=record()), "draft/a: a proposal after 1.2 s"),
        (
            call("call.finished", proposal=record("draft/@judge", role="judge")),
            "draft/@judge: done after 1.2 s",
        ),
        (call("call.finished", proposal=record("aggregator/z")), None),
        (
            call("call.failed", proposal=record(status="failed", failure=FAILURE)),
            "draft/a: failed (rate_limited)",
        ),
        (call("call.failed", proposal=record(status="cut")), "draft/a: cut"),
        ({"type": "run.started"}, None),
        ({"type": "run.finished"}, None),
        (call("call.streamed", text="word"), None),
    ],
)
def test_an_event_is_a_line_or_nothing(event: Any, line: str | None) -> None:
    assert progress_line(event) == line
