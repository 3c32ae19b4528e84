"""The public face is decided, not grown: what it names exists, is documented, and is typed for users."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import moa_graph
from moa_graph import errors

ROOT = Path(__file__).parents[1]

PUBLIC = {
    "AggregatorFailed",
    "BudgetExceeded",
    "DeadlineExceeded",
    "Failure",
    "Fault",
    "MoAChatModel",
    "MoAError",
    "MoASpec",
    "MoAState",
    "ModelNotReady",
    "Proposal",
    "QuorumNotMet",
    "RetrievalFailed",
    "Run",
    "RunError",
    "Runs",
    "SpecError",
    "SpecMismatch",
    "StoreError",
    "ThreadBusy",
    "ThreadError",
    "as_tool",
    "build_graph",
    "dump_spec",
    "json_schema",
    "load_spec",
    "parse_spec",
}


def test_the_face_shows_exactly_what_was_decided() -> None:
    assert set(moa_graph.__all__) == PUBLIC
    assert list(moa_graph.__all__) == sorted(moa_graph.__all__)
    assert dir(moa_graph) == sorted(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_resolves_to_what_its_module_offers(name: str) -> None:
    value = getattr(moa_graph, name)
    home = sys.modules[value.__module__]
    assert getattr(home, name) is value
    assert name in home.__all__


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_says_what_it_is(name: str) -> None:
    sentence = (getattr(moa_graph, name).__doc__ or "").strip()
    assert sentence.partition("\n")[0].count(" ") >= 3  # a sentence, and not one that Python made up
    assert not sentence.startswith("dict(")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"moa_graph.*no attribute 'build_grpah'"):
        moa_graph.build_grpah  # noqa: B018 - the access is the test


def test_every_error_can_be_caught_as_a_moa_error() -> None:
    raised = {name for name in errors.__all__ if name != "Fault"}
    assert raised <= PUBLIC
    assert all(issubclass(getattr(moa_graph, name), moa_graph.MoAError) for name in raised)


def test_type_checkers_see_the_names_that_are_resolved_at_run_time() -> None:
    tree = ast.parse((ROOT / "moa_graph" / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == PUBLIC


def test_a_users_type_checker_agrees() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "tests/typing/api.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
