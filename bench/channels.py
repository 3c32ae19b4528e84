"""Compare ways to keep proposals, for decision 0008: `python -m bench.channels`, beside `make bench`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, NotRequired
from unittest.mock import patch

from langchain_core.messages import AnyMessage
from langgraph.channels import UntrackedValue
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from bench import durability
from moa_graph import graph, state
from moa_graph.runs.stores import Store, open_store

SHAPES = ((3, 1), (12, 1), (3, 10))
"""Layers and turns."""


def keep_last(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    """Keep the newest layer only."""
    layer = next((record["layer"] for record in (new or {}).values() if record), None)
    if layer is None:
        return old or {}
    return state.merge_proposals({id_: it for id_, it in (old or {}).items() if it["layer"] == layer}, new)


def schemas(reducer: Any) -> dict[str, Any]:
    """Return the graph's three schemas with ordinary channels in place of DeltaChannels."""
    messages = {"messages": Annotated[list[AnyMessage], add_messages]}
    shown = {**messages, "proposals": Annotated[dict[str, state.Proposal], reducer], "status": state.Status}
    own = {"nonce": NotRequired[str], "budget": NotRequired[Annotated[Any, UntrackedValue]]}
    return {
        "MoAInput": TypedDict("MoAInput", messages),  # type: ignore[misc]
        "MoAOutput": TypedDict("MoAOutput", shown),  # type: ignore[misc]
        "MoAState": TypedDict("MoAState", {**shown, **own}),  # type: ignore[misc]
    }


WAYS: dict[str, dict[str, Any]] = {
    "all proposals in one channel": schemas(state.merge_proposals),
    "the last layer in a channel, and an audit record per proposal": schemas(keep_last),
    "DeltaChannel for proposals and messages": {"MoAState": state.MoAState},
}


async def measure(way: str, url: str, layers: int, turns: int) -> float:
    """Return the bytes that a store keeps per byte of text."""
    models = durability.models_of(layers)
    with patch.multiple(graph, **WAYS[way]):
        built = graph.build_graph(durability.spec_of(layers, models), models=models).compile()
    async with open_store(url) as store:
        await store.write("t", {})
        for turn in range(turns):
            await _ask(built.copy({"checkpointer": store.saver()}), store, turn, audit="audit" in way)
    return durability.stored_bytes(url)[0] / (turns * (layers * durability.WIDTH + 1) * len(durability.TEXT))


async def _ask(built: Any, store: Store, turn: int, *, audit: bool) -> None:
    config = {"configurable": {"thread_id": "t"}}
    question = {"messages": [("user", "Why?")]}
    async for event in built.astream(question, config, stream_mode="custom", durability="sync"):
        if audit and event["type"] == "call.finished" and event["role"] == "proposer":
            await store.write(f"audit/{turn}/{event['id']}", event["proposal"])


async def main() -> None:
    """Print a line for each way and store."""
    with durability.urls() as stores:
        for name, new_url in stores.items():
            for way in WAYS:
                ratios = [await measure(way, new_url(), layers, turns) for layers, turns in SHAPES]
                growth = ratios[1] * (12 * durability.WIDTH + 1) / (ratios[0] * (3 * durability.WIDTH + 1))
                shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
                print(f"{name}: {way}: {shown}; 12 layers over 3: {growth:.2f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
