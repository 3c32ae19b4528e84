"""What would change a completion and cannot be done here: refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moa_graph.server.faults import Refused

__all__ = ["refuse_unsupported"]


def refuse_unsupported(body: Mapping[str, Any]) -> None:
    """Raise Refused for what would change the answer and cannot be done; nothing and null are let be."""
    asked = {
        "n": body.get("n") not in (None, 1),
        "logprobs": body.get("logprobs") not in (None, False),
        "top_logprobs": body.get("top_logprobs") not in (None, 0),
        "modalities": body.get("modalities") not in (None, [], ["text"]),
    }
    for name in ("functions", "function_call", "audio", "prediction", "web_search_options", "moderation"):
        asked[name] = body.get(name) is not None
    for name, is_asked in asked.items():
        if is_asked:
            instead = _INSTEAD.get(name, "leave it out")
            raise Refused(
                400,
                f"{name} is not supported by this server: {instead}",
                param=name,
                code="unsupported_parameter",
            )


_INSTEAD = {
    "n": "ask again for another answer",
    "functions": "give tools",
    "function_call": "give tools and tool_choice",
    "modalities": "answers are text",
}
