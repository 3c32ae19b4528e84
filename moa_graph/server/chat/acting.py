"""What a request asks of whoever writes the answer: tools, a form, how to sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moa_graph.server.chat import requests as sent
from moa_graph.server.faults import Refused

__all__ = ["acting_of"]

_AS_THEY_ARE = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "user",
    "reasoning_effort",
    "verbosity",
)
"""Parameters that the model of the aggregator gets under the names that clients give them."""


def acting_of(request: sent.ChatRequest) -> dict[str, Any]:
    """Return the arguments of the aggregator's call, in the words that LangChain's models share."""
    acting = {name: value for name in _AS_THEY_ARE if (value := getattr(request, name)) is not None}
    longest = request.max_completion_tokens or request.max_tokens
    if longest is not None:
        acting["max_tokens"] = longest
    if request.stop:
        acting["stop"] = [request.stop] if isinstance(request.stop, str) else request.stop
    return acting | _format(request) | _tools(request)


def _format(request: sent.ChatRequest) -> dict[str, Any]:
    wanted = request.response_format
    if wanted is None or isinstance(wanted, sent.TextFormat):
        return {}
    form = wanted.model_dump(by_alias=True, exclude_none=True)
    if request.tools:
        if isinstance(wanted, sent.JsonFormat):
            raise Refused(
                400,
                "response_format json_object does not go together with tools: give a json_schema",
                param="response_format",
                code="unsupported_parameter",
            )
        # Where both are bound LangChain looks for the name here.
        schema = form["json_schema"]
        schema["schema"] = {"title": schema["name"], **schema.get("schema", {})}
    return {"response_format": form}


def _tools(request: sent.ChatRequest) -> dict[str, Any]:
    tools = request.tools or []
    names = [tool.function.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refused(400, f"two tools are named {twice!r}", param="tools", code="invalid_value")
    choice = _choice(request, names)
    if not tools:
        return {}
    acting: dict[str, Any] = {"tools": [tool.model_dump(exclude_none=True) for tool in tools]}
    if choice is not None:
        acting["tool_choice"] = choice
    if request.parallel_tool_calls is not None:
        acting["parallel_tool_calls"] = request.parallel_tool_calls
    return acting


def _choice(request: sent.ChatRequest, names: Sequence[str]) -> str | None:
    """Return which tool has to be called, in LangChain's words: a name, or any."""
    choice = request.tool_choice
    if isinstance(choice, sent.NamedTool):
        wanted = choice.function.name
        there, message = wanted in names, f"there is no tool {wanted[:80]!r}"
    elif choice == "required":
        wanted, message = "any", "there are no tools"
        there = bool(names)
    else:
        return choice
    if not there:
        raise Refused(400, f"tool_choice: {message}", param="tool_choice", code="invalid_value")
    return wanted
