"""The ready-made specs load and have the shape that they document."""

from pathlib import Path

import pytest

from moa_graph.spec import dump_spec, load_spec, parse_spec

GRAPHS = Path(__file__).parent.parent / "graphs"
FILES = sorted(GRAPHS.glob("*.yaml"))

PAPER = [
    "Qwen/Qwen1.5-110B-Chat",
    "Qwen/Qwen1.5-72B-Chat",
    "microsoft/WizardLM-2-8x22B",
    "meta-llama/Llama-3-70b-chat-hf",
    "mistralai/Mixtral-8x22B-Instruct-v0.1",
    "databricks/dbrx-instruct",
]


def _models(spec, layer):
    return [spec.models[member.model].model_name for member in spec.members(layer)]


def _aggregator(spec):
    return spec.models[spec.aggregator.model].model


def test_the_promised_specs_are_there():
    names = {file.stem for file in FILES}
    assert names >= {"quickstart", "moa", "moa-lite", "moa-gpt4o", "self-moa", "single", "ollama", "openai"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_ready_made_spec_loads_and_round_trips(file):
    spec = load_spec(file)
    assert spec.name == file.stem
    assert parse_spec(dump_spec(spec)) == spec


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_ready_made_spec_says_its_schema_source_and_cost(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    assert lines[0] == "# yaml-language-server: $schema=../moa-spec.schema.json"
    assert "# Source: " in head
    assert "# Cost per question: " in head


@pytest.mark.parametrize(
    ("name", "depth", "aggregator"),
    [
        ("moa", 3, "openai:Qwen/Qwen1.5-110B-Chat"),
        ("moa-lite", 2, "openai:Qwen/Qwen1.5-72B-Chat"),
        ("moa-gpt4o", 3, "openai:gpt-4o"),
    ],
)
def test_the_settings_of_the_paper_have_its_models_depth_and_sampling(name, depth, aggregator):
    spec = load_spec(GRAPHS / f"{name}.yaml")
    assert spec.depth == depth
    assert [_models(spec, layer) for layer in spec.layers] == [PAPER] * (depth - 1)
    assert _aggregator(spec) == aggregator
    assert {(slot.temperature, slot.max_tokens) for slot in spec.models.values()} == {(0.7, 2048)}
    assert {member.temperature for layer in spec.layers for member in spec.members(layer)} == {None}
    together = [slot for slot in spec.models.values() if slot.model_name in PAPER]
    assert {(slot.base_url, slot.api_key_env) for slot in together} == {
        ("https://api.together.xyz/v1", "TOGETHER_API_KEY")
    }


def test_self_moa_asks_one_model_six_times():
    spec = load_spec(GRAPHS / "self-moa.yaml")
    [layer] = spec.layers
    assert [member.id for member in spec.members(layer)] == [f"gpt-4o-mini-{n}" for n in range(1, 7)]
    assert len(spec.models) == 1
    assert spec.models["gpt-4o-mini"].temperature == 0.7


def test_single_has_no_proposer_layers():
    spec = load_spec(GRAPHS / "single.yaml")
    assert (spec.layers, spec.depth) == ([], 1)


def test_ollama_stays_on_this_machine():
    spec = load_spec(GRAPHS / "ollama.yaml")
    assert {slot.base_url for slot in spec.models.values()} == {"http://localhost:11434/v1"}
    assert {slot.api_key_env for slot in spec.models.values()} == {"none"}


def test_openai_needs_one_key_and_bounds_its_cost():
    spec = load_spec(GRAPHS / "openai.yaml")
    assert {slot.api_key_env for slot in spec.models.values()} == {"OPENAI_API_KEY"}
    assert spec.limits.max_cost == 0.5
    assert len(spec.members(spec.layers[0])) == 4


def test_quickstart_needs_no_key_and_no_network():
    spec = load_spec(GRAPHS / "quickstart.yaml")
    assert {slot.model for slot in spec.models.values()} == {"embedded:extractive"}
    assert spec.depth == 3
    rankers = [spec.models[member.model].params["ranker"] for member in spec.members(spec.layers[0])]
    assert rankers == ["bm25", "tfidf", "textrank"]
