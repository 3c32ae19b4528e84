"""What the API's OpenAPI document says of routes: the bodies that they take, and what they answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from moa_graph.server.bodies import inlined

__all__ = ["WRONG", "answered", "taking"]

Answers = dict[int | str, dict[str, Any]]

WRONG: Answers = {
    "default": {"description": "What is wrong, in OpenAI's schema.", "content": {"application/json": {}}}
}


def taking(model: type[BaseModel]) -> dict[str, Any]:
    """Return the part of an operation that says that its body is one of these."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(model)}}}}


def answered(description: str) -> Answers:
    """Return the answers of an operation that tells this whole or as a stream, or says what is wrong."""
    content: dict[str, Any] = {"application/json": {}, "text/event-stream": {}}
    return {200: {"description": description, "content": content}, **WRONG}
