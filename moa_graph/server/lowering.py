"""Limits that a client sets for its run: they lower those of the spec, and never raise them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from moa_graph.errors import SpecError
from moa_graph.server.faults import Refused
from moa_graph.spec.loading import dump_spec, parse_spec
from moa_graph.spec.schema import MoASpec
from moa_graph.terms import lowered

__all__ = ["check_limits", "limits_of"]

_WHOLE = ("max_calls", "max_concurrency", "max_output_chars")
_LIMITS = ("deadline", "max_cost", *_WHOLE)


def limits_of(moa: object) -> dict[str, float]:
    """Return the limits of a request's field `moa`, `{"limits": {"max_cost": 0.1}}`; none for null.

    Seconds, USD and counts, as in a spec. Raises Refused for what is no limit.
    """
    if moa is None:
        return {}
    fields = _mapping(moa, "moa", ("limits",))
    given = fields.get("limits")
    if given is None:
        return {}
    limits = _mapping(given, "moa.limits", _LIMITS)
    return {name: _limit(name, value) for name, value in limits.items() if value is not None}


def check_limits(spec: MoASpec, limits: Mapping[str, float]) -> None:
    """Raise Refused for limits that a spec could not have: without prices, or with no room for an answer."""
    if not limits.keys() & _BOUNDING:
        return
    limited = spec.model_copy(update={"limits": lowered(spec.limits, limits)})
    try:
        parse_spec(dump_spec(limited), files=False)
    except SpecError as error:
        raise _refused("moa.limits", f"cannot be held by this model: {error.faults[0].message}") from None


_BOUNDING = {"max_cost", "max_calls"}
"""Limits that not every spec can have; asking that takes some milliseconds."""


def _mapping(value: object, place: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _refused(place, f"has to be an object with {', '.join(known)}")
    unknown = next((name for name in value if name not in known), None)
    if unknown is not None:
        raise _refused(place, f"has no {unknown[:80]!r}; there are: {', '.join(known)}")
    return value


def _limit(name: str, value: object) -> float:
    place = f"moa.limits.{name}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(place, "has to be a number")
    # Compared before anything is computed: JSON's whole numbers have no end.
    if not 0 < value < math.inf or value > _LARGEST:
        raise _refused(place, f"has to be above 0 and at most {_LARGEST:.0e}")
    if name in _WHOLE and value != int(value):
        raise _refused(place, "has to be a whole number")
    return int(value) if name in _WHOLE else float(value)


_LARGEST = 1e15


def _refused(place: str, message: str) -> Refused:
    return Refused(400, f"{place} {message}", param=place, code="invalid_value")
