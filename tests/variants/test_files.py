"""Every variant's file says where it comes from, is a sound spec, and can be drawn."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from moa_graph import build_graph, dump_spec, load_spec, parse_spec
from moa_graph.cli.main import app
from moa_graph.drawing import mermaid, svg
from tests.variants.stage import VARIANTS

FILES = sorted(VARIANTS.glob("*.yaml"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)

DRAWN = {
    "cascade": ["stop: 4 proposals agree", "reduce vote"],
    "cluster-filter": ["draft (select cluster)", "refine (select cluster)"],
    "council": [],
    "critique-revise": ["not its own", "own", "reduce vote"],
    "debate": ["reduce vote"],
    "llm-blender": ["select pairwise, keep 3"],
    "llm-ranker": ["reduce pick"],
    "majority-vote": ["reduce vote"],
    "rmoa": ["select diversity, keep 3", "residual", "no residual for 1 layer"],
    "self-moa-seq": ["window 6"],
    "smoa": ["select rank, keep 2", "stop: judge"],
    "universal-self-consistency": ["reduce consistency"],
}


def test_the_promised_variants_are_there() -> None:
    assert {file.stem for file in FILES} == {
        *DRAWN,
        "fusion",
        "self-moa",
    }


@every_file
def test_a_variant_says_its_schema_source_deviations_and_cost(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    assert lines[0] == "# yaml-language-server: $schema=../../moa-spec.schema.json"
    for part in ("# Source: ", "# Follows: ", "# Deviates", "# Cost per question: "):
        assert part in head
    assert "arXiv" in head or file.stem in {"council", "fusion"}  # projects, not papers


@every_file
def test_a_variant_loads_round_trips_and_compiles(file: Path) -> None:
    spec = load_spec(file)
    assert spec.name == file.stem
    assert spec.description
    assert parse_spec(dump_spec(spec)) == spec
    nodes = build_graph(spec).compile().get_graph().nodes
    assert [name for name in nodes if not name.startswith("__")] == [
        *(layer.name for layer in spec.layers),
        "aggregator",
    ]


@every_file
def test_moa_check_finds_no_fault_in_a_variant(file: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(file)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"ok: {file.stem}" in result.stdout


@every_file
def test_a_picture_of_a_variant_shows_what_is_selected_reduced_and_when_it_stops(file: Path) -> None:
    spec = load_spec(file)
    text = mermaid(spec)
    written = [each.text or "" for each in ET.fromstring(svg(spec)).iter() if each.tag.endswith("}text")]
    for part in ["aggregator", *(layer.name for layer in spec.layers), *DRAWN.get(file.stem, [])]:
        assert part in text
        assert any(part in words for words in written), part


PAPER = [f"moa{kind}" for kind in ("", "-lite", "-gpt4o")]


@pytest.mark.parametrize("name", [file.stem for file in FILES] + PAPER)
def test_the_guide_says_what_the_source_of_a_variant_reports(name: str) -> None:
    guide = (VARIANTS.parents[1] / "docs" / "variants.md").read_text(encoding="utf-8")
    reported = guide.partition("## What the sources report")[2].partition("\n## ")[0]
    assert f"\n| {name} |" in reported


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_the_guide_has_a_row_for_a_variant(name: str) -> None:
    guide = (VARIANTS.parents[1] / "docs" / "variants.md").read_text(encoding="utf-8")
    assert f"(../graphs/variants/{name}.yaml)" in guide
