"""Tokens on their way to a reader."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk

from moa_graph.proposers.outcomes import read_text
from moa_graph.proposers.relay import Relay


def relayed(*pieces: str) -> list[str]:
    seen: list[AIMessageChunk] = []
    relay = Relay(seen.append)
    for piece in pieces:
        relay.send(AIMessageChunk(content=piece))
    relay.finish()
    return [str(chunk.content) for chunk in seen]


def test_pieces_are_passed_on_as_they_come() -> None:
    assert relayed("An", " answer", "", ".") == ["An", " answer", "."]


def test_a_leading_element_of_thoughts_stays_behind() -> None:
    assert relayed("<thi", "nk>Let me ", "see.</th", "ink>\n\n", "Four", ".") == ["Four", "."]


@pytest.mark.parametrize("text", ["<", "<thin", "<thinly> sliced", "a <think>b</think>", "  indented"])
def test_what_only_looks_like_thoughts_is_passed_on(text: str) -> None:
    assert "".join(relayed(*text)) == text


def test_thoughts_without_an_answer_are_no_answer() -> None:
    assert relayed("<think>", "Let me see.") == []


@given(
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "<thinking>", "</thinking>", "<", "think>", "a", " b", "\n", "."]
        ),
        max_size=12,
    )
)
def test_what_a_reader_sees_is_the_answer_that_the_run_reads(pieces: list[str]) -> None:
    text = "".join(pieces)
    answer = read_text(AIMessage(text)).text
    assume("</" not in text.partition("<think")[0] and ("<think" in text or "</think" not in text))

    assert "".join(relayed(*pieces)).strip() == answer.strip()


def test_usage_and_marks_of_the_provider_stay_behind() -> None:
    seen: list[AIMessageChunk] = []
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    Relay(seen.append).send(
        AIMessageChunk(content="a", id="1", usage_metadata=usage, response_metadata={"finish_reason": "stop"})
    )

    assert (seen[0].id, seen[0].usage_metadata, seen[0].response_metadata) == (None, None, {})


def test_a_chunk_that_says_nothing_is_not_passed_on() -> None:
    relay = Relay(lambda _: pytest.fail("nothing to pass on"))

    relay.send(AIMessageChunk(content="", response_metadata={"finish_reason": "stop"}))

    assert not relay.began


def test_another_attempt_begins_anew() -> None:
    seen: list[AIMessageChunk] = []
    relay = Relay(seen.append)
    for attempt in ("<", "\n", "<think>hm", "<think>secret</think>Answer"):
        relay.begin()
        relay.send(AIMessageChunk(content=attempt))
        if attempt == "\n":
            relay.finish()

    assert [chunk.content for chunk in seen] == ["Answer"]
