"""The house stands: imports go downward, modules and functions stay small, start-up stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "moa_graph"

FLOORS = {
    "errors": 0,
    "extras": 0,
    "background": 0,
    "spec": 1,
    "readiness": 1,
    "text": 1,
    "usage": 1,
    "advising": 2,
    "models": 2,
    "passages": 2,
    "prompts": 2,
    "retrieval": 2,
    "state": 2,
    "budget": 2,
    "resources": 2,
    "selecting": 2,
    "estimate": 2,
    "planning": 2,
    "proposers": 3,
    "events": 3,
    "terms": 3,
    "compiled": 3,
    "layer": 4,
    "calls": 4,
    "reducing": 4,
    "seeing": 4,
    "settling": 4,
    "aggregate": 4,
    "graph": 4,
    "execution": 4,
    "node": 4,
    "drawing": 4,
    "retrieve": 4,
    "chat_model": 5,
    "hearing": 5,
    "structured": 5,
    "tool": 5,
    "unfinished": 5,
    "runs": 5,
    "batch": 5,
    "evaluation": 5,
    "cli": 6,
    "server": 6,
    "studio": 6,
}
"""The floor of every part of the package; docs/architecture.md draws the same house."""

FACES = {"moa_graph", "moa_graph.__main__"}
"""What stands outside the house: the public face, and the door to the command line."""


@cache
def modules() -> dict[str, Path]:
    """Map each module's dotted name to its file."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def part(module: str) -> str:
    """Return the part of the house a module belongs to: `moa_graph.models.pool` -> `models`."""
    return module.split(".")[1]


def at_start_up(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when a module is imported: not into functions, not under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_start_up(child)


def imported(module: str, nodes: Iterator[ast.AST]) -> set[str]:
    """Return the dotted names that are imported; `from a import b` gives a.b where that is a module."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively; write the whole name"
            base = node.module or ""
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add(whole if whole in modules() else base)
    return found


def inside(module: str, nodes: Iterator[ast.AST]) -> set[str]:
    return {name for name in imported(module, nodes) if name.split(".")[0] == "moa_graph"} - {module}


def rooms() -> list[str]:
    return [name for name in modules() if name not in FACES]


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function after its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len([argument for argument in named if argument.arg not in {"self", "cls"}])


def test_every_part_has_a_floor() -> None:
    assert {part(name) for name in rooms()} <= FLOORS.keys()


@pytest.mark.parametrize("module", rooms())
def test_imports_go_downward_only(module: str) -> None:
    floor = FLOORS[part(module)]
    upward = [
        name
        for name in inside(module, ast.walk(tree(module)))
        if name not in FACES and FLOORS[part(name)] > floor
    ]
    assert upward == []


@pytest.mark.parametrize("module", rooms())
def test_nobody_inside_imports_the_face(module: str) -> None:
    assert FACES.isdisjoint(inside(module, ast.walk(tree(module))))


def test_modules_do_not_import_each_other_in_circles() -> None:
    graph = {name: inside(name, at_start_up(tree(name))) - FACES for name in rooms()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_is_at_most_400_lines(module: str) -> None:
    assert len(modules()[module].read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_function_is_at_most_60_lines(module: str) -> None:
    long = {function.name: lines for function in functions(module) if (lines := body_lines(function)) > 60}
    assert long == {}


@pytest.mark.parametrize("module", [name for name in rooms() if part(name) != "cli"])
def test_a_function_has_at_most_7_parameters(module: str) -> None:
    wide = {function.name: count for function in functions(module) if (count := parameters(function)) > 7}
    assert wide == {}


@pytest.mark.parametrize("module", [name for name in rooms() if part(name) != "cli"])
def test_the_library_does_not_print(module: str) -> None:
    calls = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]
    assert [node.lineno for node in calls if ast.unparse(node.func) == "print"] == []


@pytest.mark.parametrize("module", sorted(modules()))
def test_langchain_community_is_imported_by_retrieval_alone_and_when_it_is_used(module: str) -> None:
    in_retrieval = module.startswith("moa_graph.retrieval.")
    names = imported(module, at_start_up(tree(module)) if in_retrieval else ast.walk(tree(module)))
    assert [name for name in names if name.split(".")[0] == "langchain_community"] == []


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree(module))


def loaded_after(statement: str) -> set[str]:
    """Return the top-level names in `sys.modules` after a statement, in a process of its own."""
    script = f"{statement}\nimport json, sys\njson.dump(sorted(sys.modules), sys.stdout)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize(
    "statement", ["import moa_graph", "from moa_graph import MoAError, Proposal, build_graph, load_spec"]
)
def test_the_face_imports_no_provider_and_no_command_line(statement: str) -> None:
    heavy = {"langchain_openai", "openai", "rich", "typer", "langchain_community"}
    # httpx, which LangGraph imports, brings rich along where click is installed.
    assert heavy.isdisjoint(loaded_after(statement) - loaded_after("import langgraph.graph"))


def test_importing_the_face_reads_no_yaml_parser() -> None:
    assert "ruamel" not in loaded_after("import moa_graph")


def test_the_command_line_starts_without_langgraph() -> None:
    assert {"langgraph", "langchain_core", "openai"}.isdisjoint(loaded_after("import moa_graph.cli.main"))
