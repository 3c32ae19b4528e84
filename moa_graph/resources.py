"""All that a run needs ready before its first call: models, retrievers, and what the host registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from typing_extensions import TypedDict

from moa_graph.errors import MoAError
from moa_graph.models.pool import ModelPool
from moa_graph.readiness import Readiness
from moa_graph.retrieval.pool import RetrieverPool
from moa_graph.spec.schema import MoASpec

__all__ = ["Others", "Registered", "Resources"]


class Others(TypedDict, total=False):
    """Name what a host registers beside its models, as arguments of a function."""

    retrievers: Mapping[str, BaseRetriever]
    tools: Mapping[str, BaseTool]
    runnables: Mapping[str, Runnable[Any, Any]]
    embeddings: Mapping[str, Embeddings]


@dataclass(frozen=True)
class Registered:
    """Hold the objects that the host program registers by name; a spec can refer to no others."""

    models: Mapping[str, BaseChatModel] = field(default_factory=dict)
    retrievers: Mapping[str, BaseRetriever] = field(default_factory=dict)
    tools: Mapping[str, BaseTool] = field(default_factory=dict)
    runnables: Mapping[str, Runnable[Any, Any]] = field(default_factory=dict)
    embeddings: Mapping[str, Embeddings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be used as what it is registered as, before anything is asked."""
        for kind, (wanted, advice) in _WANTED.items():
            for name, value in getattr(self, kind).items():
                if not isinstance(value, wanted):
                    raise MoAError(
                        f"{kind}[{name!r}] is a {type(value).__name__}, not a {wanted.__name__}", hint=advice
                    )


_WANTED: dict[str, tuple[type, str]] = {
    # A model with settings bound to it is no BaseChatModel, but answers as one.
    "models": (Runnable, "Register a chat model; init_chat_model makes one from a name."),
    "retrievers": (Runnable, "Register a retriever; a vector store makes one by .as_retriever()."),
    "tools": (
        BaseTool,
        "Register a tool; the decorator @tool makes one of a function.",
    ),
    "runnables": (Runnable, "Register a Runnable; RunnableLambda makes one of a function."),
    "embeddings": (Embeddings, "Register embeddings; init_embeddings makes some from a name."),
}


class Resources(Readiness):
    """Hold what one spec uses; nothing is made or looked up before a run starts."""

    def __init__(self, spec: MoASpec, registered: Registered) -> None:
        super().__init__()
        self.spec = spec
        self.registered = registered
        self.models = ModelPool(spec, registered.models)
        self.retrievers = RetrieverPool(spec, registered.retrievers)
        self.nested = {where: Resources(inner, registered) for where, inner in _inside(spec)}
        """What the specs inside this one use, by where they stand: "layer/proposer"."""

    def problems(self) -> list[str]:
        """Return what is missing before a run can start, each as a sentence that says how to mend it."""
        return list(dict.fromkeys(self._problems()))

    def load(self) -> None:
        """Make all ready; raise ModelNotReady naming all that is missing at once."""
        super().load()
        for part in (self.models, self.retrievers, *self.nested.values()):
            part.load()

    def _problems(self) -> Iterator[str]:
        yield from self.models.problems()
        yield from self.retrievers.problems()
        for layer in self.spec.layers:
            for member in self.spec.members(layer):
                where = f"{layer.name}/{member.id}"
                if member.runnable is not None and member.runnable not in self.registered.runnables:
                    yield _unregistered(where, "runnable", member.runnable)
                for tool in member.tools:
                    if tool not in self.registered.tools:
                        yield _unregistered(where, "tool", tool)
                if member.tools and member.model is not None and self.models.lacks_tools(member.model):
                    requested = self.spec.requested(member)
                    yield f"{where}: {requested} cannot call tools; choose a model that can."
            wanted = layer.select.embeddings if layer.select else None
            if wanted is not None and wanted not in self.registered.embeddings:
                yield _unregistered(layer.name, "embeddings", wanted)
        for where, inner in self.nested.items():
            yield from (f"{where}: {problem}" for problem in inner.problems())


def _inside(spec: MoASpec) -> Iterator[tuple[str, MoASpec]]:
    """Yield the specs inside a spec with their places; samples share one, at the place of the first."""
    for layer in spec.layers:
        seen: set[int] = set()
        for member in spec.members(layer):
            if member.spec is not None and id(member.spec) not in seen:
                seen.add(id(member.spec))
                yield f"{layer.name}/{member.id}", member.spec


def _unregistered(where: str, kind: str, name: str) -> str:
    mapping = kind if kind.endswith("s") else f"{kind}s"
    return (
        f"{where}: no {kind} is registered under the name {name!r}; "
        f"register one with build_graph(spec, {mapping}={{{name!r}: …}})."
    )
