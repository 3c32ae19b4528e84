"""The JSON Schema says what the loader accepts, and the committed file is current."""

from pathlib import Path

import pytest

from moa_graph.spec import json_schema, schema_text
from moa_graph.spec.schema import RESERVED_LAYER_NAMES
from moa_graph.state import MoAState

ROOT = Path(__file__).parents[2]


def test_the_committed_schema_is_current():
    assert (ROOT / "moa-spec.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_names_its_draft_and_itself():
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:moa-graph:spec:1"
    assert schema["additionalProperties"] is False


def test_a_proposer_may_be_the_name_of_a_slot():
    items = json_schema()["$defs"]["LayerSpec"]["properties"]["proposers"]["items"]["anyOf"]
    assert {"string", None} == {option.get("type") for option in items}


def test_a_nested_spec_is_a_path_or_a_spec():
    schema = json_schema()
    spec = schema["$defs"]["ProposerSpec"]["properties"]["spec"]
    assert spec["anyOf"] == [{"type": "string", "minLength": 1}, {"$ref": "#"}]
    assert "MoASpec" not in schema["$defs"]
    assert "#/$defs/MoASpec" not in schema_text()


def test_a_proposer_is_one_of_three_kinds():
    kinds = json_schema()["$defs"]["ProposerSpec"]["oneOf"]
    assert kinds == [{"required": ["model"]}, {"required": ["runnable"]}, {"required": ["spec"]}]


def test_one_retriever_needs_no_list():
    retrieve = json_schema()["properties"]["retrieve"]
    assert [option["type"] for option in retrieve["anyOf"]] == ["string", "array"]


def test_a_duration_is_a_number_or_a_text():
    timeout = json_schema()["$defs"]["DefaultsSpec"]["properties"]["timeout"]
    assert [option["type"] for option in timeout["anyOf"]] == ["number", "string"]


def test_only_what_the_loader_needs_is_required():
    schema = json_schema()
    assert schema["required"] == ["moa", "name", "models", "aggregator"]
    assert schema["$defs"]["LayerSpec"]["required"] == ["proposers"]


def test_every_key_is_described():
    schema = json_schema()
    for definition in [schema, *schema["$defs"].values()]:
        for key, field in definition.get("properties", {}).items():
            assert field.get("description"), key


def test_no_layer_can_take_the_name_of_a_key_of_the_state():
    assert set(MoAState.__annotations__) <= RESERVED_LAYER_NAMES


@pytest.mark.parametrize("section", ["models", "retrievers"])
def test_a_bad_name_does_not_fit_the_schema(section):
    models = json_schema()["properties"][section]
    assert models["additionalProperties"] is False
    assert list(models["patternProperties"]) == ["^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"]
