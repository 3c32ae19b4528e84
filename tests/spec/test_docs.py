"""The examples of the reference guide load, and it leaves no key out."""

import re
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from moa_graph import build_graph
from moa_graph.models.failures import ProviderError
from moa_graph.spec import json_schema, parse_spec
from tests.fakes.models import ScriptedChatModel

GUIDE = (Path(__file__).parents[2] / "docs" / "spec.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
WHOLE = [block for block in BLOCKS if re.match(r"(#.*\n)*moa:", block)]


@pytest.mark.parametrize("block", WHOLE, ids=range(len(WHOLE)))
def test_an_example_of_the_guide_loads(block):
    assert parse_spec(block).moa == 1


def test_the_guide_has_whole_examples():
    assert len(WHOLE) >= 4


PRIMITIVES = (Path(__file__).parents[2] / "docs" / "primitives.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```yaml\n(.*?)```", PRIMITIVES, re.DOTALL)
HEAD = """\
moa: 1
name: snippet
models:
  small: {model: openai:small}
  large: {model: openai:large}
  wise: {model: openai:wise}
"""
"""What the guide to the primitives says that its snippets leave out; the rest is below."""


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_a_snippet_of_the_primitives_loads_under_the_head_that_is_told(snippet):
    text = HEAD + snippet
    if "layers:" not in snippet:
        text += "layers: [{name: draft, proposers: [small, large, wise]}]\n"
    if "aggregator:" not in snippet:
        text += "aggregator: {model: large}\n"
    assert parse_spec(text).name == "snippet"


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
CASCADES = {
    "README": next(
        block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "name: cascade" in block
    ),
    "primitives": HEAD + next(snippet for snippet in SNIPPETS if "name: cheap" in snippet),
}


@pytest.mark.parametrize("text", CASCADES.values(), ids=CASCADES)
async def test_a_cascade_on_a_page_asks_the_large_model_where_the_small_one_fails(text):
    spec = parse_spec(text)
    refused = ProviderError("no such parameter", status_code=400)
    models = {name: ScriptedChatModel(refused if name == "small" else "It is 15.") for name in spec.models}
    state = await build_graph(spec, models=models).compile().ainvoke({"messages": [HumanMessage("Q?")]})
    assert state["messages"][-1].text == "It is 15."


@pytest.mark.parametrize("path", ["select.by", "stop.by", "aggregator.reduce", "references.from"])
def test_the_primitives_leave_out_no_word(path):
    holder, _, key = path.partition(".")
    schema = json_schema()["$defs"][f"{holder.capitalize()}Spec"]["properties"][key]
    words = schema.get("enum") or next(part["enum"] for part in schema["oneOf"] if "enum" in part)
    assert [word for word in words if not re.search(rf"\b{word}\b", PRIMITIVES)] == []


def test_every_key_is_in_a_table_of_the_guide():
    schema = json_schema()
    keys = {key for part in [schema, *schema["$defs"].values()] for key in part.get("properties", {})}
    described = set(re.findall(r"^\| `(\w+)`", GUIDE, re.MULTILINE))
    assert keys <= described
