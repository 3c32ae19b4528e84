"""Faults of structure: what pydantic finds, said in the words of a spec and with its place."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from moa_graph.spec.document import Document, Path, show
from moa_graph.spec.schema import (
    AggregatorSpec,
    DefaultsSpec,
    LayerSpec,
    LimitsSpec,
    MoASpec,
    ModelSpec,
    PriceSpec,
    ProposerSpec,
    ReferencesSpec,
)

__all__ = ["check_structure"]

_CLASSES: dict[tuple[str, ...], type[BaseModel]] = {
    (): MoASpec,
    ("models", "*"): ModelSpec,
    ("models", "*", "price"): PriceSpec,
    ("defaults",): DefaultsSpec,
    ("limits",): LimitsSpec,
    ("layers", "*"): LayerSpec,
    ("layers", "*", "proposers", "*"): ProposerSpec,
    ("layers", "*", "references"): ReferencesSpec,
    ("aggregator",): AggregatorSpec,
    ("aggregator", "references"): ReferencesSpec,
}

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}

_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def check_structure(document: Document) -> MoASpec | None:
    """Validate the data of a document; note every fault of structure; return the spec when there is none."""
    try:
        return MoASpec.model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            _note(document, details)
    return None


def _note(document: Document, details: ErrorDetails) -> None:
    path: Path = details["loc"]
    kind = details["type"]
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1])
        document.fault(
            path,
            f"unknown key {show(str(path[-1]))}",
            expected="one of " + ", ".join(known),
            suggestion=document.suggest(path[-1], known),
            at=document.keys.get(path),
        )
    elif kind == "missing":
        document.fault(path, f"{show(str(path[-1]))} is missing", expected=_description(path))
    elif path[-1:] == ("[key]",):
        document.fault(path[:-1], "not a name", expected=_NAME, at=document.keys.get(path[:-1]))
    elif path == ("moa",):
        document.fault(
            path, "not a version of the format that this release reads", expected="1, its only version"
        )
    else:
        message, expected = _say(details)
        words = [word for word in re.findall(r"'(\w+)'", expected) if kind == "literal_error"]
        suggestion = document.suggest(details["input"], words) if words else ""
        document.fault(path, message, expected=expected, suggestion=suggestion)


_NAME = "1 to 64 letters, digits, `.`, `_`, `-`, beginning with a letter or digit"


def _say(details: ErrorDetails) -> tuple[str, str]:  # noqa: PLR0911  (one return per kind of fault)
    """Return (message, expected) for a value that does not fit; never the value itself."""
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind in _TYPES:
        return f"{_kind_of(given)} stands here", _TYPES[kind]
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return "out of bounds", f"{words} {context[key]:g}"
    if kind == "literal_error":
        return "not one of the known words", str(context["expected"])
    if kind == "string_pattern_mismatch":
        return "not a name", _NAME
    if kind in {"too_short", "string_too_short"}:
        return "empty", "at least one entry" if kind == "too_short" else "some text"
    if kind == "value_error":
        return str(context["error"]), ""
    return str(details["msg"]), ""


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "a mapping"


def _class_at(path: Path) -> type[BaseModel] | None:
    shape = tuple("*" if isinstance(part, int) else part for part in path)
    if shape[:1] == ("models",) and len(shape) > 1:
        shape = ("models", "*", *shape[2:])
    return _CLASSES.get(shape)


def _known_keys(path: Path) -> list[str]:
    model = _class_at(path)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _description(path: Path) -> str:
    model = _class_at(path[:-1])
    fields = {field.alias or name: field for name, field in model.model_fields.items()} if model else {}
    return (fields[str(path[-1])].description or "").rstrip(".") if str(path[-1]) in fields else ""
