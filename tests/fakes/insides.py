"""Mixtures whose proposers are more than a model, and what a user sees of their runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from moa_graph.graph import MoAGraph, build_graph
from moa_graph.spec.schema import MoASpec
from tests.fakes.models import ScriptedChatModel

__all__ = ["QUESTION", "ask", "inner", "panel"]

QUESTION: Any = {"messages": [("user", "Why?")]}


def inner(*slots: str, name: str = "inner", **parts: Any) -> dict[str, Any]:
    """Return a spec as data: one layer `think` of these slots but the last, which is the aggregator."""
    *members, last = slots
    return {
        "moa": 1,
        "name": name,
        "models": {slot: {"model": f"host:{slot}"} for slot in slots},
        "defaults": {"attempts": 1},
        "layers": [{"name": "think", "proposers": members}] if members else [],
        "aggregator": {"model": last},
        **parts,
    }


def panel(
    *proposers: Mapping[str, Any] | str,
    models: Mapping[str, BaseChatModel] | None = None,
    layer: Mapping[str, Any] | None = None,
    slots: Mapping[str, Mapping[str, Any]] | None = None,
    registered: Mapping[str, Any] | None = None,
    **parts: Any,
) -> MoAGraph:
    """Return a mixture of one layer `draft` and the aggregator z; `models` are slots of the same names."""
    cast = {"z": ScriptedChatModel("The answer."), **(models or {})}
    spec = MoASpec.model_validate(
        {
            "moa": 1,
            "name": "outer",
            "models": {slot: {"model": f"host:{slot}", **(slots or {}).get(slot, {})} for slot in cast},
            "defaults": {"attempts": 1},
            "layers": [{"name": "draft", "proposers": list(proposers), **(layer or {})}],
            "aggregator": {"model": "z"},
            **parts,
        }
    )
    return build_graph(spec, models=cast, **(registered or {}))


async def ask(graph: MoAGraph) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run it; return the state, and the events in their order."""
    state: dict[str, Any] = {}
    events = []
    async for mode, value in graph.compile().astream(QUESTION, stream_mode=["values", "custom"]):
        if mode == "values":
            state = value
        else:
            events.append(value)
    return state, events
