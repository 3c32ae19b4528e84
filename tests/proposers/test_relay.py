"""Tokens on their way to a reader."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk
from langchain_core.messages.tool import tool_call_chunk

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


# -- characters that are none --------------------------------------------------------------------------------

EMOJI, HIGH, LOW, LONE = "\U0001f600", "\ud83d", "\ude00", "\ufffd"


def passed_on(*chunks: AIMessageChunk) -> AIMessageChunk:
    """Return all that was passed on as one."""
    seen: list[AIMessageChunk] = []
    relay = Relay(seen.append)
    for chunk in chunks:
        relay.send(chunk)
    relay.finish()
    return seen[0] + seen[1:]


def thought(text: str) -> AIMessageChunk:
    return AIMessageChunk(content="", additional_kwargs={"reasoning_content": text})


def called(args: str | None, index: int | None = 0, **named: str) -> AIMessageChunk:
    piece: ToolCallChunk = tool_call_chunk(args=args, index=index, **named)
    return AIMessageChunk(content="", tool_call_chunks=[piece])


def test_lone_surrogates_and_nul_are_replaced_in_all_that_is_passed_on() -> None:
    whole = passed_on(
        thought(f"think{HIGH}ing\0"),
        AIMessageChunk(content=f"a{LOW}"),
        called(f'{{"q":"{HIGH}"}}', name=f"se{LOW}arch", id=f"call_{HIGH}"),
    )
    assert whole.additional_kwargs["reasoning_content"] == f"think{LONE}ing{LONE}"
    assert whole.content == f"a{LONE}"
    [call] = whole.tool_calls
    assert (call["name"], call["id"], call["args"]) == (f"se{LONE}arch", f"call_{LONE}", {"q": LONE})


def test_no_single_piece_of_a_call_bears_a_surrogate() -> None:
    seen: list[AIMessageChunk] = []
    Relay(seen.append).send(called(f'{{"q":"{LOW}"}}', name="search", id="1"))
    assert seen[0].tool_calls[0]["args"] == {"q": LONE}


def test_a_character_in_two_halves_comes_whole() -> None:
    assert relayed(f"a{HIGH}", "", f"{LOW}b") == ["a", f"{EMOJI}b"]
    assert relayed("<", HIGH, LOW) == [f"<{EMOJI}"]
    assert passed_on(thought(HIGH), thought(LOW)).additional_kwargs["reasoning_content"] == EMOJI
    whole = passed_on(called('{"q":"' + HIGH, name="search", id="1"), called(LOW + '"}'))
    assert whole.tool_call_chunks[0]["args"] == f'{{"q":"{EMOJI}"}}'


def test_halves_of_two_kinds_are_no_character() -> None:
    whole = passed_on(
        thought(f"a{HIGH}"), AIMessageChunk(content=f"{LOW}b{HIGH}"), called(LOW, 0), called(HIGH, 1)
    )
    assert whole.additional_kwargs["reasoning_content"] == f"a{LONE}"
    assert whole.content == f"{LONE}b{LONE}"
    assert [piece["args"] for piece in whole.tool_call_chunks] == [LONE, LONE]


def test_calls_without_an_index_are_whole() -> None:
    whole = passed_on(called(f'{{"q":"{HIGH}', None), called(f'{LOW}"}}', None))
    assert [piece["args"] for piece in whole.tool_call_chunks] == [f'{{"q":"{LONE}', f'{LONE}"}}']


def test_half_a_character_of_an_attempt_before_is_forgotten() -> None:
    seen: list[AIMessageChunk] = []
    relay = Relay(seen.append)
    relay.send(AIMessageChunk(content=HIGH))
    assert not relay.began
    relay.begin()
    relay.send(AIMessageChunk(content=f"{LOW}b"))
    relay.finish()
    assert [chunk.content for chunk in seen] == [f"{LONE}b"]


def test_a_reader_and_the_run_read_the_same_characters() -> None:
    for pieces in itertools.product(["a", EMOJI, f"b{HIGH}", HIGH, LOW, "<"], repeat=4):
        read = read_text(AIMessage("".join(pieces))).text
        assert "".join(relayed(*pieces)) == read, ascii(pieces)
