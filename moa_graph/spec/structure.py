"""Faults of structure: what pydantic finds, said in the words of a spec and with its place."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from moa_graph.spec.document import Document, Path, as_mapping, as_sequence, show
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.spec.fields import SHAPES
from moa_graph.spec.parts import Part
from moa_graph.spec.primitives import ReferencesSpec, ResidualSpec, SelectSpec, SourceSpec, StopSpec
from moa_graph.spec.providers import ExtractiveParams, is_extractive
from moa_graph.spec.schema import (
    AggregatorSpec,
    DefaultsSpec,
    LayerSpec,
    LimitsSpec,
    MoASpec,
    ModelSpec,
    ProposerSpec,
    default_layer_name,
)
from moa_graph.spec.slots import PriceSpec, RetrieverSpec

__all__ = ["check_params", "check_structure"]

_CLASSES: dict[tuple[str, ...], type[BaseModel]] = {
    (): MoASpec,
    ("models", "*"): ModelSpec,
    ("models", "*", "params"): ExtractiveParams,  # the only params that a spec can judge
    ("models", "*", "price"): PriceSpec,
    ("retrievers", "*"): RetrieverSpec,
    ("defaults",): DefaultsSpec,
    ("limits",): LimitsSpec,
    ("layers", "*"): LayerSpec,
    ("layers", "*", "proposers", "*"): ProposerSpec,
    ("layers", "*", "proposers", "*", "price"): PriceSpec,
    ("layers", "*", "proposers", "*", "spec"): MoASpec,
    ("layers", "*", "references"): ReferencesSpec,
    ("layers", "*", "references", "from", "*"): SourceSpec,
    ("layers", "*", "select"): SelectSpec,
    ("layers", "*", "select", "extract"): ExtractSpec,
    ("layers", "*", "residual"): ResidualSpec,
    ("stop",): StopSpec,
    ("stop", "extract"): ExtractSpec,
    ("aggregator",): AggregatorSpec,
    ("aggregator", "references"): ReferencesSpec,
    ("aggregator", "references", "from", "*"): SourceSpec,
    ("aggregator", "extract"): ExtractSpec,
}

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}

_EXAMPLES = {
    (): "{moa: 1, name: mine, …}",
    ("models",): "{a: {model: openai:gpt-4o}}",
    ("models", "*"): "{model: openai:gpt-4o}",
    ("models", "*", "price"): "{input: 2.5, output: 10}",
    ("retrievers",): "{docs: {retriever: bm25, files: [docs/*.md]}}",
    ("retrievers", "*"): "{retriever: bm25, files: [docs/*.md]}",
    ("retrievers", "*", "files"): "[docs/*.md]",
    ("retrieve",): "[docs]",
    ("defaults",): "{timeout: 60s}",
    ("limits",): "{deadline: 5m}",
    ("layers",): "[{proposers: [a, b]}]",
    ("layers", "*"): "{proposers: [a, b]}",
    ("layers", "*", "proposers"): "[a, b]",
    ("layers", "*", "proposers", "*"): "{model: a}",
    ("layers", "*", "proposers", "*", "price"): "{input: 2.5, output: 10}",
    ("layers", "*", "proposers", "*", "retrieve"): "[docs]",
    ("layers", "*", "proposers", "*", "spec"): "{moa: 1, name: inner, …}, or the path of a file",
    ("layers", "*", "proposers", "*", "tools"): "[search]",
    ("layers", "*", "references"): "{placement: user}",
    ("layers", "*", "select"): "{by: rank, model: a, keep: 2}",
    ("layers", "*", "select", "extract"): "{by: number}",
    ("layers", "*", "residual"): "{model: a}",
    ("stop", "extract"): "{by: number}",
    ("stop",): "{by: agreement, agree: 2, extract: number}",
    ("aggregator",): "{model: a}",
    ("aggregator", "fallbacks"): "[a, b]",
    ("aggregator", "references"): "{placement: user}",
    ("aggregator", "retrieve"): "[docs]",
    ("aggregator", "extract"): "{by: number}",
    ("aggregator", "weights"): "{a: 2}",
}
"""What to write where a mapping or a list is expected; a and b are slots."""

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


def check_params(part: Part) -> None:
    """Note every fault in the params of embedded models; what has a fault already is left out."""
    for slot, model in as_mapping(part.data.get("models")).items():
        params = as_mapping(model).get("params")
        if not is_extractive(model) or not isinstance(params, dict):
            continue
        try:
            ExtractiveParams.model_validate(params)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                path = ("models", slot, "params", *details["loc"])
                if not part.has_fault(path):
                    _note(part.document, {**details, "loc": (*part.base, *path)})


def _note(document: Document, details: ErrorDetails) -> None:
    path: Path = tuple(part for part in details["loc"] if part not in SHAPES)
    details = {**details, "loc": path}
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
    elif _shape(path) == ("moa",):
        document.fault(
            path, "not a version of the format that this release reads", expected="1, its only version"
        )
    else:
        message, expected = _say(details)
        words = re.findall(r'"([\w-]+)"', expected) if kind == "literal_error" else []
        layers = _earlier_layers(document.data, path[:-2]) if path[-2:] == ("references", "from") else []
        suggestion = document.suggest(details["input"], [*layers, *words]) if words else ""
        if words and layers:
            expected += ", or a list of layers"
            # A layer is named in a list, for its name may be one of the words.
            in_list = {f"did you mean {show(name)}?": f"did you mean [{name}]?" for name in layers}
            suggestion = in_list.get(suggestion, suggestion)
        document.fault(path, message, expected=expected, suggestion=suggestion)


def _earlier_layers(data: Any, holder: Path) -> list[str]:
    """Return the names of the layers before a layer or the aggregator; `holder` is its path."""
    ends = 1 if holder[-1:] == ("aggregator",) else 2
    for part in holder[:-ends]:
        data = data[part]
    layers = [as_mapping(layer) for layer in as_sequence(as_mapping(data).get("layers"))]
    number = len(layers) if ends == 1 else int(holder[-1])
    names = [layer.get("name", default_layer_name(i)) for i, layer in enumerate(layers[:number])]
    return [name for name in names if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name)]


_NAME = "1 to 64 letters, digits, `.`, `_`, `-`, beginning with a letter or digit"


def _say(details: ErrorDetails) -> tuple[str, str]:  # noqa: PLR0911  (one return per kind of fault)
    """Return (message, expected) for a value that does not fit; never the value itself."""
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind in _TYPES:
        example = _EXAMPLES.get(_shape(details["loc"]))
        expected = f"{_TYPES[kind]} such as {example}" if example else _TYPES[kind]
        return f"{_kind_of(given)} stands here", expected
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return "out of bounds", f"{words} {context[key]:g}"
    if kind == "literal_error":
        known = [show(word) for word in re.findall(r"'([\w-]+)'", str(context["expected"]))]
        return "not one of the known words", "one of " * (len(known) > 1) + ", ".join(known)
    if kind == "string_pattern_mismatch":
        return "not a name", _NAME
    if kind in {"too_short", "string_too_short"}:
        return "empty", "at least one entry" if kind == "too_short" else "some text"
    if kind == "shape":
        return f"{_kind_of(given)} stands here", str(details["msg"])
    if kind == "value_error":
        return str(context["error"]), ""
    return "not a value that fits here", ""


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "a mapping"


def _shape(path: Path) -> tuple[str, ...]:
    """Return a path from the innermost spec, with a star for every number and for a name that is free."""
    while len(path) > len(_NESTED) and path[4] == "spec" and path[0] == "layers":
        path = path[len(_NESTED) :]
    shape = tuple("*" if isinstance(part, int) else part for part in path)
    return (shape[0], "*", *shape[2:]) if shape[:1] in _BY_NAME and len(shape) > 1 else shape


_NESTED = ("layers", "*", "proposers", "*", "spec")
_BY_NAME = {("models",), ("retrievers",)}


def _class_at(path: Path) -> type[BaseModel] | None:
    return _CLASSES.get(_shape(path))


def _known_keys(path: Path) -> list[str]:
    model = _class_at(path)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _description(path: Path) -> str:
    model = _class_at(path[:-1])
    fields = {field.alias or name: field for name, field in model.model_fields.items()} if model else {}
    text = (fields[str(path[-1])].description or "").rstrip(".") if str(path[-1]) in fields else ""
    return text if text[:2].isalpha() and text[:2].isupper() else text[:1].lower() + text[1:]  # USD stays
