"""A proposer that is an agent: the model of a slot with tools of the host program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableBinding, RunnableConfig
from langchain_core.tools import BaseTool

from moa_graph.budget import Budget
from moa_graph.errors import RunError
from moa_graph.proposers.meter import metered
from moa_graph.proposers.outcomes import failure
from moa_graph.proposers.sources import (
    Exchange,
    ModelSource,
    Unanswered,
    copies,
    failed_inside,
    unsaved,
)
from moa_graph.proposers.spending import Spending

__all__ = ["AgentSource"]


@dataclass(frozen=True)
class AgentSource:
    """Let the model of a slot call tools until it answers, in at most `max_steps` requests."""

    asked: ModelSource
    tools: Mapping[str, BaseTool]

    def spending(self, budget: Budget) -> Spending:
        """Return an empty count with the slot's price and longest output."""
        return self.asked.spending(budget)

    async def answer(
        self, prompt: Sequence[BaseMessage], config: RunnableConfig, exchange: Exchange
    ) -> AIMessage:
        """Run the agent; raise Unanswered when it still calls tools after its last request."""
        member, settings = self.asked.member, dict[str, Any]()
        model: Any = self.asked.model()
        if isinstance(model, RunnableBinding):  # a model of the host; binding tools would lose its settings
            model, settings = model.bound, dict(model.kwargs)
        agent = create_agent(
            model,
            [self.tools[name] for name in member.tools],
            middleware=[_Bounds(member.max_steps, settings, len(prompt))],
            checkpointer=False,
        )
        try:
            async with metered(exchange.spending) as meter:
                state = await agent.ainvoke({"messages": copies(prompt)}, unsaved(meter.attached(config)))
        except RunError as error:  # its model is a mixture, or a tool asks one
            raise failed_inside(self.asked.slot, error) from error
        last: BaseMessage = state["messages"][-1]
        # A tool may be made to have the last word (`return_direct`).
        return last if isinstance(last, AIMessage) else AIMessage(last.content)


class _Bounds(AgentMiddleware[Any, Any]):
    """Count the requests of one agent, and send each with the member's settings."""

    def __init__(self, max_steps: int, settings: dict[str, Any], prompt: int) -> None:
        super().__init__()
        self._max_steps = max_steps
        self._settings = settings
        self._prompt = prompt
        self._sent = 0

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        if self._sent == self._max_steps:
            why = failure("error", f"no answer within max_steps = {self._max_steps} requests")
            raise Unanswered(why, _written(request.messages[self._prompt :]))
        self._sent += 1
        return await handler(request.override(model_settings=self._settings))


def _written(messages: Sequence[BaseMessage]) -> str:
    texts = (str(message.text) for message in messages if isinstance(message, AIMessage))
    return "\n\n".join(text for text in texts if text.strip())
