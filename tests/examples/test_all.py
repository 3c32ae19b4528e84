"""What holds for every example."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.examples.running import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_says_in_three_lines_when_to_use_it(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    title, blank, *rest = docstring.split("\n")
    assert title
    assert not blank
    assert len(rest) == 2
    assert rest[0].startswith("Use it ")


def test_the_readme_names_each_once_and_nothing_else() -> None:
    lines = (ROOT / "examples" / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| [")]
    names = [row.partition("[")[2].partition("]")[0] for row in rows]
    assert sorted(names) == sorted({path.name for path in EXAMPLES} - {"stand_in.py"})
