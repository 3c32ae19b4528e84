"""Bodies of requests: read as JSON, cleaned, checked against a model; a fault says where it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from moa_graph.server.faults import Refused
from moa_graph.text import clean

__all__ = ["checked", "inlined", "read_body"]

Model = TypeVar("Model", bound=BaseModel)

_DEEPEST = 64
"""Objects and lists inside each other; far below what the interpreter bears, which others use up, too."""


def read_body(content: bytes) -> dict[str, Any]:
    """Return a body's JSON object, its texts without what stores do not bear; raise Refused for another."""
    try:
        body = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON", code="invalid_json") from None
    if not isinstance(body, dict):
        raise Refused(400, "the body has to be a JSON object", code="invalid_json")
    return {clean(name)[0]: _plain(value, 1) for name, value in body.items()}


def _plain(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise Refused(400, f"the body is nested deeper than {_DEEPEST} levels", code="invalid_json")
    match value:
        case str():
            return clean(value)[0]
        case list():
            return [_plain(each, depth + 1) for each in value]
        case dict():
            return {clean(name)[0]: _plain(each, depth + 1) for name, each in value.items()}
        case float() if not math.isfinite(value):  # Python reads them, and no other reader does
            raise Refused(400, "NaN and Infinity are no JSON", code="invalid_json")
    return value


def checked(model: type[Model], body: Mapping[str, Any]) -> Model:
    """Return the body as a model; raise Refused that names the first part which cannot be used."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    place, found = _place(first["loc"], body, missing=first["type"] == "missing")
    message, code = first["msg"], "invalid_value"
    if (tag := first.get("ctx", {}).get("discriminator")) is not None:  # a union, told apart by it
        field = tag.strip("'")
        if not field.endswith("()"):
            place = f"{place}.{field}"
        elif isinstance(found, dict):  # a function of ours looked at it
            place = f"{place}.type"
        message = _tag_fault(first, found)
    if first["type"] == "missing" or (first["type"] in _MISSING and isinstance(found, dict)):
        code = "missing_required_parameter"
    raise Refused(400, f"{place or 'the body'}: {message}", param=place or None, code=code)


_MISSING = ("missing", "union_tag_not_found")


def _tag_fault(fault: ErrorDetails, found: object) -> str:
    if fault["type"] in _MISSING:
        return "Field required" if isinstance(found, dict) else "this kind of value is not supported here"
    told = fault["ctx"]
    return f"{str(told['tag'])[:80]!r} is not supported here; there are: {told['expected_tags']}"


def _place(location: tuple[int | str, ...], body: Any, *, missing: bool) -> tuple[str, Any]:
    """Return where a fault is (`messages[0].content`), without pydantic's branches, and what is there."""
    place = ""
    for index, step in enumerate(location):
        if isinstance(step, int) and isinstance(body, list) and step < len(body):
            place, body = f"{place}[{step}]", body[step]
        elif isinstance(body, dict) and isinstance(step, str):
            if step in body:
                place, body = f"{place}.{step}", body[step]
            elif missing and index == len(location) - 1:
                place = f"{place}.{step}"
    return place.removeprefix("."), body


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON schema without references, as an OpenAPI document can hold it at any place."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(value: Any) -> Any:
        match value:
            case {"$ref": str(reference)}:
                return whole(parts[reference.rpartition("/")[2]])
            case dict():
                return {name: whole(each) for name, each in value.items() if name != "discriminator"}
            case list():
                return [whole(each) for each in value]
        return value

    inlined: dict[str, Any] = whole(schema)
    return inlined
