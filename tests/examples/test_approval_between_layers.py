"""examples/approval_between_layers.py with a person at a terminal, and without one."""

from __future__ import annotations

import pytest

from tests.examples.running import run_at_a_terminal, run_example


def shown(lines: list[str]) -> list[str]:
    return [line.partition(":")[0] for line in lines if line[:1].isdigit()]


def test_without_a_terminal_a_default_is_decided_and_said() -> None:
    lines = run_example("approval_between_layers")
    assert lines[0] == "stopped before: refine"
    assert shown(lines) == ["1. draft/bm25", "2. draft/tfidf", "3. draft/textrank"]
    assert lines[-3:-1] == [
        "No terminal to ask at, so: drop 3",
        "the next layer saw: draft/bm25, draft/tfidf",
    ]
    assert lines[-1].startswith("answer: ")


def test_at_a_terminal_a_person_drops_a_proposal() -> None:
    *_, saw, _ = run_at_a_terminal("approval_between_layers", "drop 2\n")
    assert saw.endswith("the next layer saw: draft/bm25, draft/textrank")


def test_at_a_terminal_a_person_approves_all() -> None:
    *_, saw, _ = run_at_a_terminal("approval_between_layers", "\n")
    assert saw.endswith("the next layer saw: draft/bm25, draft/tfidf, draft/textrank")


def test_at_a_terminal_a_persons_text_is_in_the_answer() -> None:
    mine = "Mixing different models pays when one model sampled several times is not better."
    *_, saw, answer = run_at_a_terminal("approval_between_layers", f"edit 1 {mine}\n")
    assert saw.endswith("the next layer saw: draft/bm25, draft/tfidf, draft/textrank")
    assert mine in answer


@pytest.mark.parametrize("slip", ["drop 0", "drop 4", "drop", "drp 3", "edit 1", "drop 1 2"])
def test_a_slip_approves_nothing(slip: str) -> None:
    lines = run_at_a_terminal("approval_between_layers", f"{slip}\ndrop 1\n")
    assert sum("That is none of these." in line for line in lines) == 1
    assert lines[-2].endswith("the next layer saw: draft/tfidf, draft/textrank")
