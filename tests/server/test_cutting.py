"""An answer that was cut is told apart from one that failed."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.errors import AggregatorFailed, QuorumNotMet
from moa_graph.server.cutting import cut_short


def record(kind: str, layer: str = "aggregator", *, retryable: bool = False) -> dict[str, Any]:
    failure = {"kind": kind, "message": "no", "retryable": retryable, "status_code": None}
    return {"id": f"{layer}/z", "layer": layer, "text": "Hel", "failure": failure}


@pytest.mark.parametrize(
    ("last", "told"),
    [(record("truncated"), ("truncated", "Hel")), (record("filtered"), ("filtered", ""))],
)
def test_a_limit_leaves_the_beginning_of_an_answer_and_a_filter_nothing(
    last: dict[str, Any], told: tuple[str, str]
) -> None:
    assert cut_short(AggregatorFailed("no", proposals=[record("auth"), last])) == told


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        QuorumNotMet("too few", proposals=[record("truncated", "draft")]),
        AggregatorFailed("no"),
        AggregatorFailed("no", proposals=[record("truncated", "draft")]),
        AggregatorFailed("no", proposals=[{**record("auth"), "failure": None}]),
        AggregatorFailed("no", proposals=[record("auth")]),
        AggregatorFailed("no", proposals=[record("truncated", retryable=True)]),
    ],
)
def test_what_else_went_wrong_leaves_nothing(error: Exception) -> None:
    assert cut_short(error) is None
