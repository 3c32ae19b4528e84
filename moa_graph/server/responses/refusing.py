"""What would change a response and cannot be done here: refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moa_graph.server.faults import Refused

__all__ = ["refuse_unsupported"]

_INSTEAD = {
    "conversation": "go on with previous_response_id",
    "prompt": "send the prompt's text as instructions and input",
    "truncation": "a conversation is never shortened; leave out some of it yourself",
    "context_management": "a conversation is never shortened; leave out some of it yourself",
    "include": "logprobs are not known of an answer that several models made",
    "top_logprobs": "logprobs are not known of an answer that several models made",
    "moderation": "ask a moderation endpoint yourself",
    "stream": "a background response is not streamed: ask for it with GET /v1/responses/{id}",
    "store": "a background response is kept, or nobody could ask for it",
}


def refuse_unsupported(body: Mapping[str, Any]) -> None:
    """Raise Refused for what would change the answer and cannot be done; nothing and null are let be."""
    background, include = body.get("background") is True, body.get("include")
    asked = {
        "conversation": body.get("conversation") is not None,
        "prompt": body.get("prompt") is not None,
        "truncation": body.get("truncation") not in (None, "disabled"),
        "context_management": body.get("context_management") not in (None, []),
        "include": isinstance(include, list) and "message.output_text.logprobs" in include,
        "top_logprobs": body.get("top_logprobs") not in (None, 0),
        "moderation": body.get("moderation") is not None,
        "stream": background and body.get("stream") is True,
        "store": background and body.get("store") is False,
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise _unsupported(name, f"{name} cannot be had so: {_INSTEAD[name]}")
    _refuse_kinds("tools", body.get("tools"), "function", "a tool", "offer functions, and run them yourself")
    _refuse_kinds("input", body.get("input"), None, "an input item", "send the item itself")


def _refuse_kinds(param: str, given: object, only: str | None, what: str, instead: str) -> None:
    for index, each in enumerate(given if isinstance(given, list) else []):
        kind = each.get("type") if isinstance(each, dict) else None
        if not isinstance(kind, str):
            continue
        if kind != only if only else kind == "item_reference":
            place = f"{param}[{index}].type"
            raise _unsupported(place, f"{place}: {what} of type {kind[:80]!r} is not supported: {instead}")


def _unsupported(param: str, message: str) -> Refused:
    return Refused(400, message, param=param, code="unsupported_parameter")
