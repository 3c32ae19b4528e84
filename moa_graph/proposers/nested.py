"""A proposer that is a mixture itself: a spec inside a spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig

from moa_graph.budget import Budget
from moa_graph.compiled import CompiledMoA
from moa_graph.errors import RunError
from moa_graph.events import Event
from moa_graph.proposers.sources import Exchange, copies, failed_inside, unsaved
from moa_graph.proposers.spending import Spending
from moa_graph.terms import TERMS, Terms

__all__ = ["NestedSource"]


@dataclass(frozen=True)
class NestedSource:
    """Run the graph of a nested spec; it pays from the outer run's budget."""

    graph: CompiledMoA

    def spending(self, budget: Budget) -> Spending:
        """Return an empty count; the prices are those of the inner slots, whose requests take the places."""
        return Spending(budget, None, None, holds_place=False)

    async def answer(
        self,
        prompt: Sequence[BaseMessage],
        config: RunnableConfig,
        exchange: Exchange,  # noqa: ARG002 - Source's own
    ) -> AIMessage:
        """Return the inner answer; raise Unanswered with what went wrong inside."""
        try:
            state = await self.graph.ainvoke({"messages": copies(prompt)}, self._config(config))
        except RunError as error:
            raise failed_inside(self.graph.spec.name, error) from error
        answer: AIMessage = state["messages"][-1]
        return answer

    def _config(self, config: RunnableConfig) -> RunnableConfig:
        terms = Terms(listen=_keep_silent)  # what happens inside is the outer call's business
        own = (self.graph.config or {}).get("metadata", {})  # what it says of itself in traces
        config = unsaved(config)
        config.pop("max_concurrency", None)  # the inner graph has one of its own
        return {
            **config,
            "metadata": {key: value for key, value in config["metadata"].items() if key not in own},
            "configurable": {**config["configurable"], TERMS: terms},
        }


def _keep_silent(event: Event) -> None:
    """Tell nobody."""
