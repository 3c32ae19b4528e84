"""Retrievers that give what a test says and note what they were asked, and a mixture that uses them."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from moa_graph.graph import build_graph
from moa_graph.passages import Passage, new_passage, split_passages
from moa_graph.spec.loading import load_spec
from moa_graph.spec.schema import MoASpec
from tests.fakes.models import ScriptedChatModel as Model

__all__ = ["BEES", "WASPS", "FakeRetriever", "Panel", "passages"]

BEES, WASPS = {"bees.md": "Bees make honey."}, {"wasps.md": "Wasps make paper."}


class FakeRetriever(BaseRetriever):
    """Give passages: texts by their sources, in order; `asked` are the questions so far.

    It raises `error` while there is one, and waits for `held` where that is set.
    """

    texts: dict[str, str] = Field(default_factory=dict)
    error: Any = None
    held: Any = None
    asked: list[str] = Field(default_factory=list)
    entered: Any = Field(default_factory=asyncio.Event)

    def __init__(self, texts: dict[str, str] | None = None, **values: Any) -> None:
        super().__init__(texts=texts or {}, **values)

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        self.asked.append(query)
        if self.error is not None:
            raise self.error
        return [Document(text, metadata={"source": source}) for source, text in self.texts.items()]

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        self.entered.set()
        if self.held is not None:
            await self.held.wait()
        return self._get_relevant_documents(query, run_manager=run_manager)


def passages(name: str, texts: dict[str, str]) -> list[Passage]:
    """Return the passages that a retriever of that name makes of texts."""
    return [new_passage(name, source, text) for source, text in texts.items()]


class Panel:
    """Two proposers in "draft", one in "refine", the aggregator z; retrievers wiki and own."""

    def __init__(self, **models: Any) -> None:
        self.models = {name: models.get(name) or Model(f"{name} says so.") for name in "abczy"}
        self.wiki, self.own = FakeRetriever(BEES), FakeRetriever(WASPS)
        self.document: dict[str, Any] = {
            "moa": 1,
            "name": "panel",
            "models": {name: {"model": f"host:{name}"} for name in self.models},
            "retrievers": {"wiki": {"retriever": "host:wiki"}, "own": {"retriever": "host:own"}},
            "defaults": {"attempts": 1},
            "layers": [
                {"name": "draft", "proposers": [{"model": "a"}, {"model": "b"}]},
                {"name": "refine", "proposers": [{"model": "c"}]},
            ],
            "aggregator": {"model": "z"},
        }

    def with_(self, **parts: Any) -> Panel:
        """Change the spec: `a`, `b`, `c` add to a proposer, `z` to the aggregator, the rest to the whole."""
        draft, refine = self.document["layers"]
        members = {"a": draft["proposers"][0], "b": draft["proposers"][1], "c": refine["proposers"][0]}
        members["z"] = self.document["aggregator"]
        for name, part in parts.items():
            if name in members:
                members[name].update(part)
            elif name in self.document["retrievers"]:
                self.document["retrievers"][name].update(part)
            else:
                self.document[name] = part
        return self

    @property
    def spec(self) -> MoASpec:
        return load_spec(self.document)

    @property
    def registered(self) -> dict[str, Any]:
        return {"models": self.models, "retrievers": {"wiki": self.wiki, "own": self.own}}

    def graph(self, **options: Any) -> Any:
        return build_graph(self.spec, **self.registered).compile(**options)

    def shown(self, name: str, call: int = -1) -> list[Passage]:
        """Return the passages that a model was shown."""
        return split_passages(self.models[name].calls[call])[1]

    def seen(self, name: str) -> str:
        """Return the text of the last human message that a model received."""
        return [str(m.text) for m in self.models[name].calls[-1] if isinstance(m, HumanMessage)][-1]

    @property
    def calls(self) -> list[int]:
        return [len(model.calls) for model in self.models.values()]
