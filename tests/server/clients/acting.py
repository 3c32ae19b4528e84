"""A model behind the fake server that calls tools: `acts-10` calls the first one until ten results came."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from langchain_core.messages import convert_to_messages

from tests.fakes.acting import ActingChatModel
from tests.fakes.behaviours import DONE, SSE, Call, Reply, delta, envelope, event, message_reply, named

__all__ = ["USAGE", "acts"]

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


@named(r"acts-(\d+)")
def acts(call: Call, steps: str) -> Reply:
    """Do what ActingChatModel does, over HTTP; every call of a tool has an id of its own."""
    wanted = {name: call.body[name] for name in ("tools", "response_format", "stop") if call.body.get(name)}
    choice = call.body.get("tool_choice")
    choice = choice["function"]["name"] if isinstance(choice, dict) else choice
    messages = convert_to_messages(call.messages)
    try:
        message = ActingChatModel(steps=int(steps)).invoke(messages, tool_choice=choice, **wanted)
    except (AttributeError, KeyError, TypeError, ValueError):  # schemas that chance made need make no sense
        return message_reply(call, {"content": "Nothing fits this form."}, usage=USAGE)
    if not message.tool_calls:
        return message_reply(call, {"content": str(message.text)}, usage=USAGE)
    made = message.tool_calls[0]
    named_call = {
        "id": f"call_{uuid4().hex[:12]}",
        "type": "function",
        "function": {"name": made["name"], "arguments": json.dumps(made["args"])},
    }
    if call.stream:
        return Reply(_pieces(call, named_call), content_type=SSE)
    return message_reply(call, {"tool_calls": [named_call]}, "tool_calls", USAGE)


def _pieces(call: Call, made: dict[str, Any]) -> list[bytes]:
    """Return a stream of one call of a tool, its arguments in two pieces."""
    arguments = made["function"]["arguments"]
    half = len(arguments) // 2
    beginning = {**made, "function": {**made["function"], "arguments": ""}}
    rest = [{"function": {"arguments": part}} for part in (arguments[:half], arguments[half:])]
    return [
        delta(call, {"role": "assistant", "content": None}),
        *(delta(call, {"tool_calls": [{"index": 0, **piece}]}) for piece in (beginning, *rest)),
        delta(call, {}, "tool_calls"),
        event(envelope(call, chunk=True, choices=[], usage=USAGE)),
        DONE,
    ]
