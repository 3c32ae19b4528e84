"""A mixture of in-process models by their slots' names: proposers, aggregator, and whoever else is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from moa_graph.errors import RunError
from moa_graph.graph import MoAGraph, build_graph
from tests.fakes.models import ScriptedChatModel

__all__ = ["Outcome", "Panel", "draft", "too_long"]


def too_long(most: int, reply: str) -> Any:
    """Return a step of a script: a reply, or an error where the prompt has more than `most` characters."""

    def step(messages: Sequence[Any]) -> str:
        if sum(len(message.text) for message in messages) > most:
            raise ContextOverflowError("too long")
        return reply

    return step


class Outcome:
    """Hold what a run gave."""

    def __init__(self, state: Mapping[str, Any], events: Sequence[Mapping[str, Any]] = ()) -> None:
        self.state = state
        self.events = list(events)
        self.message: AIMessage = state["messages"][-1]
        self.answer = self.message.text
        self.summary: dict[str, Any] = self.message.response_metadata["moa"]
        self.warnings: list[str] = self.summary["warnings"]
        self.proposals: dict[str, Any] = state["proposals"]

    @property
    def left_out(self) -> dict[str, str]:
        """Return why proposals do not go on, by their ids."""
        return {id_: record["left_out"] for id_, record in self.proposals.items() if record.get("left_out")}

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the events of one type."""
        return [event for event in self.events if event["type"] == kind]


class Panel:
    """Build a graph of models by their slots' names; steps of a script stand for a model.

    `layers` and `aggregator` are as a spec writes them; `aggregator` may be a slot. The default layer is
    "draft" with the models a, b and c, and the default aggregator is z.
    """

    def __init__(
        self,
        layers: Sequence[Mapping[str, Any]] | None = None,
        aggregator: str | Mapping[str, Any] = "z",
        *,
        embeddings: Mapping[str, Any] | None = None,
        slots: Mapping[str, Mapping[str, Any]] | None = None,
        parts: Mapping[str, Any] | None = None,
        **models: Any,
    ) -> None:
        given: dict[str, Any] = {"a": "A", "b": "B", "c": "C", "z": "The answer."} | models
        self.models: dict[str, Any] = {
            name: each if isinstance(each, BaseChatModel) else ScriptedChatModel(each)
            for name, each in given.items()
        }
        self.spec = {
            "moa": 1,
            "name": "test",
            "models": {
                name: {"model": f"host:{name}", **(slots or {}).get(name, {})} for name in self.models
            },
            "defaults": {"attempts": 1},
            "layers": layers if layers is not None else [draft()],
            "aggregator": {"model": aggregator} if isinstance(aggregator, str) else aggregator,
            **(parts or {}),
        }
        self.embeddings = embeddings or {}

    @property
    def graph(self) -> MoAGraph:
        return build_graph(self.spec, models=self.models, embeddings=self.embeddings)

    async def run(self, question: str = "Why?") -> Outcome:
        """Ask once, with `ainvoke`'s own loop, and note the events."""
        events: list[Any] = []
        state: Any = None
        stream = self.graph.compile().astream(_asked(question), stream_mode=["custom", "values"])
        async for mode, data in stream:
            if mode == "custom":
                events.append(data)
            else:
                state = data
        return Outcome(state, events)

    def run_sync(self, question: str = "Why?") -> Outcome:
        """Ask once, with `invoke`."""
        return Outcome(self.graph.compile().invoke(_asked(question)))

    async def fail(self, question: str = "Why?") -> RunError:
        """Ask once, and return the error that it ends with."""
        try:
            await self.graph.compile().ainvoke(_asked(question))
        except RunError as error:
            return error
        raise AssertionError("the run did not fail")

    def asked(self, name: str, call: int = -1) -> str:
        """Return all texts that a model got in one call, as one."""
        return "\n\n".join(message.text for message in self.models[name].calls[call])

    def count(self, name: str) -> int:
        """Return how often a model was asked."""
        return len(self.models[name].calls)


def draft(**parts: Any) -> dict[str, Any]:
    """Return the default layer, with other keys."""
    return {"name": "draft", "proposers": ["a", "b", "c"], **parts}


def _asked(question: str) -> Any:
    return {"messages": [("user", question)]}
