"""From a spec to YAML text, to its hash, and from the classes to their JSON Schema."""

from __future__ import annotations

import hashlib
import json
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from moa_graph.spec.scalars import read_scalar
from moa_graph.spec.schema import MoASpec, default_layer_name

__all__ = ["dump_spec", "is_hash_of", "json_schema", "schema_text", "spec_hash"]

_SCHEMA_ID = "urn:moa-graph:spec:1"


class _Representer(SafeRepresenter):
    """Write texts so that they are read as the texts they are, and never write an alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (the base class passes it)
        return True

    def represent_str(self, data: str) -> ScalarNode:
        style = None
        if "\n" in data and data.isascii() and all(map(_is_plain, data.split("\n"))):
            style = "|"
        elif not data.isprintable() or _reads_as_something_else(data):
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def _is_plain(line: str) -> bool:
    return line.isprintable() and line == line.strip()


def _reads_as_something_else(text: str) -> bool:
    try:
        return not isinstance(read_scalar(text), str)
    except ValueError:
        return True


def dump_spec(spec: MoASpec) -> str:
    """Write a spec as YAML text that loads back to an equal spec; what is a default is left out.

    Nested specs stand inline, so the text needs no other file.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # annotated as None only
    yaml.width = 100
    stream = StringIO()
    yaml.dump(_short(spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)), stream)
    return stream.getvalue()


def _short(data: dict[str, Any]) -> dict[str, Any]:
    """Take default names of layers out of a spec, in place, and write proposers in their short form."""
    for index, layer in enumerate(data.get("layers", [])):
        if layer["name"] == default_layer_name(index):
            del layer["name"]
        for proposer in layer["proposers"]:
            if "spec" in proposer:
                _short(proposer["spec"])
        layer["proposers"] = [
            proposer["model"] if set(proposer) == {"model"} else proposer for proposer in layer["proposers"]
        ]
    return data


def spec_hash(spec: MoASpec) -> str:
    """Return "sha256:…" of the canonical JSON of a spec: equal for equal specs, however they were written.

    Defaults are left out, so that a key that a later release adds leaves the hashes of earlier specs alone.
    """
    return _hash(spec.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def is_hash_of(recorded: str, spec: MoASpec) -> bool:
    """Tell whether a hash that was kept is that of a spec, also if an earlier release computed it."""
    return recorded == spec_hash(spec) or recorded == _hash(_first_form(spec))


def _hash(data: dict[str, Any]) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _first_form(spec: MoASpec) -> dict[str, Any]:
    """Return what hashes were once computed from: every key that there was then, defaults as well.

    A key that has come since is left out where it has its default, and stands there where it has not.
    """
    data = spec.model_dump(mode="json", by_alias=True)
    proposers = [proposer for layer in data["layers"] for proposer in layer["proposers"]]
    holders = [*data["layers"], data["aggregator"]]
    for place in [data, *holders, *(holder["references"] for holder in holders), *proposers]:
        for key, default in _LATER.items():
            if key in place and place[key] == default:
                del place[key]
    return data


_LATER: dict[str, Any] = {
    "retrievers": {},
    "fan_out": "user_turn",
    "citations": "none",
    "runnable": None,
    "spec": None,
    "tools": [],
    "max_steps": None,
    "retrieve": [],
    "price": None,
    "role": None,
    "concurrency": None,
    "select": None,
    "residual": None,
    "stop": None,
    "reduce": "synthesize",
    "extract": None,
    "weights": {},
    "window": None,
    "on_error": "fail",
    "see": "all",
    "self": True,
    "seed": 0,
    "anonymous": True,
    "max_chars": None,
    "payload": "answer",
    "summarizer": None,
    "instruction": None,
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a spec, for editors and other tools."""
    schema = MoASpec.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
    classes = schema["$defs"]
    whole = classes.pop("MoASpec")  # stands at the root, where `#` means it
    for section in ("models", "retrievers"):
        whole["properties"][section]["additionalProperties"] = False  # a name fits the pattern
    classes["LayerSpec"]["required"].remove("name")  # the loader fills it in
    proposer = classes["ProposerSpec"]
    proposer["oneOf"] = [{"required": [key]} for key in ("model", "runnable", "spec")]
    proposer["properties"]["spec"] |= {"anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _SCHEMA_ID,
        "$defs": classes,
        **whole,
        "title": "Mixture-of-Agents spec, version 1",
    }


def schema_text() -> str:
    """Return the JSON Schema as the text of moa-spec.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
