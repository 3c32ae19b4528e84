"""The examples of the reference guide load, and it leaves no key out."""

import re
from pathlib import Path

import pytest

from moa_graph.spec import json_schema, parse_spec

GUIDE = (Path(__file__).parents[2] / "docs" / "spec.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
WHOLE = [block for block in BLOCKS if re.match(r"(#.*\n)*moa:", block)]


@pytest.mark.parametrize("block", WHOLE, ids=range(len(WHOLE)))
def test_an_example_of_the_guide_loads(block):
    assert parse_spec(block).moa == 1


def test_the_guide_has_whole_examples():
    assert len(WHOLE) >= 4


def test_every_key_is_in_a_table_of_the_guide():
    schema = json_schema()
    keys = {key for part in [schema, *schema["$defs"].values()] for key in part.get("properties", {})}
    described = set(re.findall(r"^\| `(\w+)`", GUIDE, re.MULTILINE))
    assert keys <= described
