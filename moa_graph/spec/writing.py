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

__all__ = ["dump_spec", "json_schema", "schema_text", "spec_hash"]

_SCHEMA_ID = "urn:moa-graph:spec:1"


class _Representer(SafeRepresenter):
    """Write texts so that they are read as the texts they are, and never write an alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (the base class passes it)
        return True

    def represent_str(self, data: str) -> ScalarNode:
        style = None
        if "\n" in data and data.isascii() and all(line == line.strip() for line in data.split("\n")):
            style = "|"
        elif not data.isprintable() or _reads_as_something_else(data):
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def _reads_as_something_else(text: str) -> bool:
    try:
        return not isinstance(read_scalar(text), str)
    except ValueError:
        return True


def dump_spec(spec: MoASpec) -> str:
    """Write a spec as YAML text that loads back to an equal spec; what is a default is left out."""
    data = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for index, layer in enumerate(data.get("layers", [])):
        if layer["name"] == default_layer_name(index):
            del layer["name"]
        layer["proposers"] = [
            proposer["model"] if set(proposer) == {"model"} else proposer for proposer in layer["proposers"]
        ]
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # annotated as None only
    yaml.width = 100
    stream = StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


def spec_hash(spec: MoASpec) -> str:
    """Return "sha256:…" of the canonical JSON of a spec: equal for equal specs, however they were written."""
    canonical = json.dumps(
        spec.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a spec, for editors and other tools."""
    schema = MoASpec.model_json_schema(by_alias=True)
    schema["$defs"]["LayerSpec"]["required"].remove("name")  # the loader fills it in
    schema["properties"]["models"]["additionalProperties"] = False  # a slot's name fits the pattern
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _SCHEMA_ID,
        **schema,
        "title": "Mixture-of-Agents spec, version 1",
    }


def schema_text() -> str:
    """Return the JSON Schema as the text of moa-spec.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
