"""What the examples of embedding print."""

from __future__ import annotations

from tests.examples.running import NO_KEY, run_example


def test_in_a_chain_it_answers_and_streams() -> None:
    answer, streamed, summary = run_example("in_a_chain")
    assert answer == "The largest drawback is the wait for the first word."
    assert streamed == "streamed: True, the same text: True"
    assert summary == "7 calls, 6 proposals, by editor"


def test_an_agent_with_tools_fans_out_once() -> None:
    assert run_example("agent_with_tools") == [
        NO_KEY,
        "count_calls: 2 layers of 6 proposers make 13 calls.",
        "waiting_time: The whole answer takes 12 seconds.",
        "answer: 2 layers of 6 proposers make 13 calls. The whole answer takes 12 seconds.",
        "calls of each step: [3, 1, 1], together 5",
    ]


def test_an_agent_gets_a_second_opinion() -> None:
    opinion = "  The cause of the outage was the database: it had run out of connections."
    assert run_example("second_opinion") == [
        NO_KEY,
        "the panel, 7 calls, 6 proposals:",
        opinion,
        "the agent:",
        opinion,
    ]


def test_agents_and_runnables_propose() -> None:
    note, *proposals, answer = run_example("agents_as_proposers")
    assert note == NO_KEY
    assert proposals[::2] == [
        "research/calculator, host:caller, 2 request(s):",
        "research/archive, runnable:archive, 1 request(s):",
        "research/reader, embedded:extractive, 1 request(s):",
    ]
    assert proposals[1] == "  A mixture with 2 layers of 6 proposers makes 13 calls."
    assert "Two layers of six proposers and an aggregator make thirteen calls" in proposals[3]
    assert "13 calls" in answer


def test_a_nested_mixture_is_one_proposal_and_all_its_calls_count() -> None:
    lines = run_example("nested_mixture")
    assert [line for line in lines if not line.startswith("  ")] == [
        "opinions/department: 7 call(s), spec:quickstart",
        "opinions/sceptic: 1 call(s), embedded:extractive",
        "answer, 9 calls together:",
    ]
    department, sceptic, answer = [line for line in lines if line.startswith("  ")]
    assert department != sceptic
    assert "Mixing pays when the models are about equally good" in answer
