"""A proposer that the host program brings: any Runnable, an agent or a compiled graph among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase
from langgraph.pregel.protocol import PregelProtocol

from moa_graph.budget import Budget
from moa_graph.errors import RunError
from moa_graph.proposers.meter import metered
from moa_graph.proposers.outcomes import failure
from moa_graph.proposers.sources import Exchange, Unanswered, copies, failed_inside, unsaved
from moa_graph.proposers.spending import Spending
from moa_graph.spec.schema import PriceSpec

__all__ = ["RunnableSource"]

_ACCEPTED = 'accepted are a text, a message, and a mapping whose "messages" end with a new AIMessage'


@dataclass(frozen=True)
class RunnableSource:
    """Ask what is registered under a name; a graph gets {"messages": […]}, all else the list of messages."""

    registered: Mapping[str, Runnable[Any, Any]]
    name: str
    price: PriceSpec | None

    def spending(self, budget: Budget) -> Spending:
        """Return an empty count with the member's price."""
        return Spending(budget, self.price, None)

    async def answer(
        self, prompt: Sequence[BaseMessage], config: RunnableConfig, exchange: Exchange
    ) -> AIMessage:
        """Run it; it counts as one request, or as those to models that it is seen to send.

        Raises Unanswered with a failure "malformed" if what it returns is no answer.
        """
        runnable, given = self.registered[self.name], copies(prompt)
        graph = _graph(runnable)
        if getattr(graph, "checkpointer", None) is False:
            config = unsaved(config)
        exchange.spending.book()
        try:
            async with metered(exchange.spending) as meter:
                output = await runnable.ainvoke(
                    {"messages": given} if graph else given, meter.attached(config)
                )
        except RunError as error:  # it is a mixture, or asks one
            raise failed_inside(self.name, error) from error
        message = self._read(output, {message.id for message in given})
        exchange.spending.report(message)
        return message

    def _read(self, output: Any, given: set[str | None]) -> AIMessage:
        """Return what an output says; never a message that was given, such as an earlier turn's answer."""
        if isinstance(output, Mapping) and "messages" in output:
            messages = output["messages"]
            if not isinstance(messages, Sequence):
                raise self._malformed(f'"messages" of type {type(messages).__name__}')
            said = [message for message in messages if isinstance(message, AIMessage)]
            if not said or (said[-1].id and said[-1].id in given):
                raise self._malformed("no new AIMessage")
            output = said[-1]
        if isinstance(output, str):
            return AIMessage(output)
        if isinstance(output, AIMessageChunk):
            output = message_chunk_to_message(output)
        if isinstance(output, AIMessage):
            return output
        if isinstance(output, BaseMessage):
            return AIMessage(output.content)
        raise self._malformed(_described(output))

    def _malformed(self, what: str) -> Unanswered:
        message = f"the runnable {self.name!r} returned {what}; {_ACCEPTED}"
        return Unanswered(failure("malformed", message, retryable=False))


def _graph(runnable: Any) -> PregelProtocol[Any, Any, Any, Any] | None:
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    return runnable if isinstance(runnable, PregelProtocol) else None


def _described(output: Any) -> str:
    if isinstance(output, Mapping):
        keys = ", ".join(repr(key) for key in output)
        return f"a mapping with {keys}" if keys else "an empty mapping"
    return "None" if output is None else f"an object of type {type(output).__name__}"
