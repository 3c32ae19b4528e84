"""What providers put into a message in many ways is read in one."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage

from moa_graph.server.messages import calls_in, reasoning_of


@pytest.mark.parametrize(
    ("message", "thought"),
    [
        (AIMessage("Hello."), ""),
        (AIMessage("Hello.", additional_kwargs={"reasoning_content": "Greet."}), "Greet."),
        (AIMessage("Hello.", additional_kwargs={"reasoning_content": 7}), ""),
        (
            AIMessage([{"type": "thinking", "thinking": "Gre"}, {"type": "reasoning", "reasoning": "et."}]),
            "Greet.",
        ),
        (AIMessage([{"type": "text", "text": "Hello."}, {"type": "thinking", "thinking": 7}, "plain"]), ""),
    ],
)
def test_reasoning_is_found_beside_the_content_and_in_it(message: AIMessage, thought: str) -> None:
    assert reasoning_of(message) == thought


def test_calls_are_read_with_arguments_as_text() -> None:
    invalid: Any = {"name": None, "args": None, "id": None, "error": "", "type": "invalid_tool_call"}
    message = AIMessage(
        "", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}], invalid_tool_calls=[invalid]
    )
    assert calls_in(message) == [("c1", "add", '{"a": 1}'), (None, "", "")]
