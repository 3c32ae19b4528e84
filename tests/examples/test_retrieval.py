"""What the examples of retrieval print."""

from __future__ import annotations

import re

import pytest

from tests.examples.running import run_example, run_without


def test_each_proposer_reads_its_own_corpus() -> None:
    pytest.importorskip("langchain_community", reason="needs the extra [retrieval]")
    lines = run_example("per_proposer_corpora")
    assert lines[0:6:2] == [
        "read/lawyer was shown 1 of policy:",
        "read/support was shown 1 of tickets:",
        "read/generalist was shown 2 of policy, tickets:",
    ]
    lawyer, support, generalist = lines[1:6:2]
    assert lawyer == "  Batteries are returned by courier only, because the post refuses them."
    assert "Three customers sent a battery by post" in support
    assert lawyer.strip() in generalist
    assert "Three customers" in generalist
    assert lines[6] == "answer:"
    assert "by courier only" in lines[7]
    assert [re.sub(r"-[0-9a-f]{6}:", ":", line) for line in lines[8:]] == [
        "policy: shop-policy.md",
        "tickets: shop-tickets.md",
    ]


@pytest.mark.parametrize("package", ["langchain_community", "rank_bm25"])
def test_it_says_what_to_install(package: str) -> None:
    said = run_without(package, "per_proposer_corpora")
    assert "pip install 'moa-graph[retrieval]'" in said
    assert "Traceback" not in said


def test_the_mixture_answers_from_what_the_parent_retrieved() -> None:
    retrieved, answered, count, answer = run_example("retrieval_then_moa")
    assert re.fullmatch(r"retrieve: \d{2,3} words in a message of type human", retrieved)
    assert re.fullmatch(r"moa: \d{1,3} words in a message of type ai", answered)
    assert count == "answer, 7 calls:"
    assert "A weak proposal may still contain one correct fact" in answer
