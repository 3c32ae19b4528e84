"""The graphs that threads run on: one per spec, compiled once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from moa_graph.graph import build_graph
from moa_graph.models.pool import ModelPool
from moa_graph.resources import Registered
from moa_graph.runs.stores import Store
from moa_graph.spec.schema import MoASpec, PriceSpec

__all__ = ["Mixture"]


class Mixture:
    """Hold a spec and its compiled graph."""

    def __init__(self, spec: MoASpec, registered: Registered) -> None:
        self.spec = spec
        self.registered = registered
        self._pool = ModelPool(spec, registered.models)

    @cached_property
    def _graph(self) -> Any:
        return build_graph(self.spec, **vars(self.registered)).compile()

    def graph(self, store: Store) -> Any:
        """Return the graph with the checkpointer that the store gives to a run."""
        return self._graph.copy({"checkpointer": store.saver()})

    def price(self, slot: str) -> PriceSpec | None:
        """Return the price of a slot; None means unknown."""
        return self._pool.price(slot)
