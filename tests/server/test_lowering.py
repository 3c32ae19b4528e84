"""A client may lower the limits of its run; what is no limit is refused where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.server.faults import Refused
from moa_graph.server.lowering import limits_of


def test_limits_are_read_as_a_spec_has_them() -> None:
    given = {"deadline": 5, "max_cost": 0.1, "max_calls": 3.0, "max_concurrency": 2, "max_output_chars": 9}
    limits = limits_of({"limits": given})
    assert limits == given
    assert isinstance(limits["max_calls"], int)


@pytest.mark.parametrize("moa", [None, {}, {"limits": None}, {"limits": {}}, {"limits": {"max_cost": None}}])
def test_no_limits_are_none(moa: Any) -> None:
    assert limits_of(moa) == {}


@pytest.mark.parametrize(
    ("moa", "param"),
    [
        (7, "moa"),
        ({"spec": "other.yaml"}, "moa"),
        ({"limits": [1]}, "moa.limits"),
        ({"limits": {"timeout": 1}}, "moa.limits"),
        ({"limits": {"max_cost": "1"}}, "moa.limits.max_cost"),
        ({"limits": {"max_cost": True}}, "moa.limits.max_cost"),
        ({"limits": {"max_cost": 0}}, "moa.limits.max_cost"),
        ({"limits": {"max_cost": float("nan")}}, "moa.limits.max_cost"),
        ({"limits": {"deadline": float("inf")}}, "moa.limits.deadline"),
        ({"limits": {"deadline": 10**400}}, "moa.limits.deadline"),
        ({"limits": {"max_calls": 1.5}}, "moa.limits.max_calls"),
    ],
)
def test_what_is_no_limit_is_refused(moa: Any, param: str) -> None:
    with pytest.raises(Refused) as caught:
        limits_of(moa)
    assert (caught.value.status, caught.value.param) == (400, param)
