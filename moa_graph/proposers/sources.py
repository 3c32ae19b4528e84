"""What answers a prompt: the slot of a model, or what stands in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast
from uuid import uuid4

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    message_chunk_to_message,
)
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig

from moa_graph.budget import Budget
from moa_graph.errors import BudgetExceeded, DeadlineExceeded, RunError
from moa_graph.models.failures import ModelOutputError
from moa_graph.models.pool import ModelPool
from moa_graph.proposers.arguments import CallWatch, read_arguments
from moa_graph.proposers.listening import heard_by
from moa_graph.proposers.outcomes import failure
from moa_graph.proposers.relay import Relay
from moa_graph.proposers.spending import Spending
from moa_graph.spec.schema import Member
from moa_graph.state import Failure, FailureKind

__all__ = ["Exchange", "ModelSource", "Source", "Unanswered", "copies", "failed_inside", "unsaved"]

_KINDS: dict[type[RunError], FailureKind] = {DeadlineExceeded: "deadline", BudgetExceeded: "budget"}


class Unanswered(Exception):
    """End an attempt for a reason that its source knows best; `written` is what had come by then."""

    def __init__(self, why: Failure, written: str = "") -> None:
        super().__init__(why["message"])
        self.failure = why
        self.written = written


def failed_inside(name: str, error: RunError) -> Unanswered:
    """Return the failure of a call in which a mixture ran that gave no answer."""
    return Unanswered(failure(_KINDS.get(type(error), "error"), f"inside {name}: {error.message}"))


def copies(prompt: Sequence[BaseMessage]) -> list[Any]:
    """Return copies with ids: graphs give ids to messages, and calls share the messages of their prompts."""
    return [message.model_copy(update={"id": message.id or str(uuid4())}) for message in prompt]


def unsaved(config: RunnableConfig) -> RunnableConfig:
    """Return a config for a graph with `checkpointer=False`.

    Where the outer run waits for its checkpoints (durability "sync"), LangGraph 1.2 waits for those that such
    a graph never writes, and fails.
    """
    return {**config, "configurable": {**config.get("configurable", {}), "__pregel_durability": "async"}}


@dataclass(frozen=True)
class Exchange:
    """Hold what one attempt needs beside its prompt: who pays, and how the answer is written.

    `acting` are arguments of the call, such as tools; `relay` gets the tokens.
    """

    spending: Spending
    acting: Mapping[str, Any]
    relay: Relay | None


class Source(Protocol):
    """Be what answers a prompt: a model, an agent, a runnable, a nested mixture."""

    def spending(self, budget: Budget) -> Spending:
        """Return an empty count of what one call takes."""
        ...

    async def answer(
        self, prompt: Sequence[BaseMessage], config: RunnableConfig, exchange: Exchange
    ) -> AIMessage:
        """Return one message, having booked every request that it took; raise what went wrong.

        Raises BudgetSpent when the run cannot afford a request.
        """
        ...


@dataclass(frozen=True)
class ModelSource:
    """Ask the model of a slot, with a member's sampling settings.

    `fallback` tells that it answers in the place of another one, which the arguments of the call are said of.
    """

    pool: ModelPool
    member: Member
    slot: str
    fallback: bool = False

    def spending(self, budget: Budget) -> Spending:
        """Return an empty count with the slot's price and longest output."""
        return Spending(budget, self.pool.price(self.slot), self._longest())

    def _longest(self) -> int | None:
        return self.member.max_tokens or self.pool.spec.models[self.slot].max_tokens

    def _acting(self, acting: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments of the call; a caller may lower a fallback's token limit, not raise it."""
        asked = acting.get("max_tokens")
        if not (self.fallback and asked and (own := self._longest())):
            return acting
        return {**acting, "max_tokens": min(asked, own)}

    def model(self) -> BaseChatModel:
        """Return the chat model."""
        member = self.member
        return self.pool.get(self.slot, temperature=member.temperature, max_tokens=member.max_tokens)

    async def answer(
        self, prompt: Sequence[BaseMessage], config: RunnableConfig, exchange: Exchange
    ) -> AIMessage:
        """Send one request."""
        acting = self._acting(exchange.acting)
        exchange.spending.begin(prompt, longest=acting.get("max_tokens"))
        model = _bound(self.model(), acting)
        try:
            if exchange.relay is not None:
                message: Any = await _streamed(model, prompt, config, exchange.relay)
            elif acting.get("tools"):
                watch = CallWatch()
                message = await model.ainvoke(prompt, heard_by(config, watch))
                message = read_arguments(message, watch.pieces())
            else:
                message = await model.ainvoke(prompt, config)
        except RunError as error:  # the model is a mixture
            raise failed_inside(self.slot, error) from error
        if not isinstance(message, AIMessage):
            raise ModelOutputError(f"the model returned {type(message).__name__} instead of an AIMessage")
        exchange.spending.finish(message)
        return message


def _bound(model: Any, acting: Mapping[str, Any]) -> Runnable[LanguageModelInput, Any]:
    """Return the model with the arguments of the call; tools are bound as its provider wants them."""
    options = dict(acting)
    tools = options.pop("tools", None)
    if tools and isinstance(model, RunnableBinding):  # a model of the host with settings of its own
        model, options = model.bound, {**model.kwargs, **options}
    bound: Runnable[LanguageModelInput, Any] = model
    if tools:
        bound = model.bind_tools(tools, **options)
    elif options:
        bound = model.bind(**options)
    return bound


async def _streamed(
    model: Runnable[LanguageModelInput, Any],
    prompt: Sequence[BaseMessage],
    config: RunnableConfig,
    relay: Relay,
) -> BaseMessage | None:
    """Pass the tokens on while they come; return the whole message."""
    whole: AIMessageChunk | None = None
    relay.begin()
    async for chunk in model.astream(prompt, config):
        if not isinstance(chunk, AIMessageChunk):  # a model that cannot stream gives all at once
            return cast("BaseMessage", chunk)
        relay.send(chunk)
        whole = chunk if whole is None else whole + chunk
    relay.finish()
    return None if whole is None else read_arguments(message_chunk_to_message(whole), whole.tool_call_chunks)
