"""A callback that books every LLM request which something of the host's sends inside a call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig

from moa_graph.budget import BudgetSpent
from moa_graph.proposers.around import paying
from moa_graph.proposers.listening import heard_by
from moa_graph.proposers.outcomes import cancelled_from_outside, judge_error
from moa_graph.proposers.spending import ANSWERED, Spending

__all__ = ["Meter", "metered"]


@asynccontextmanager
async def metered(spending: Spending) -> AsyncIterator[Meter]:
    """Yield what books the requests of one attempt.

    Raises BudgetSpent if a request was refused, even if whoever sent it made do without.
    """
    meter = Meter(spending)
    try:
        with spending.counting(meter.close):
            yield meter
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a TaskGroup makes a group of the refusal
        if spending.refused is None or (
            isinstance(error, asyncio.CancelledError) and cancelled_from_outside()
        ):
            raise
        raise spending.refused from None
    finally:
        meter.close()
    if spending.refused is not None:
        raise spending.refused


class Meter(BaseCallbackHandler):
    """Book requests before they are sent and settle them when they end; refuse what breaks a limit.

    A model that sends requests of its own counts once. What a mixture inside sends is booked by its calls,
    which pay from the same account.
    """

    raise_error = True
    run_inline = False
    """LangChain would not await the handlers after an inline one that raises, and Python warn of them."""

    def __init__(self, spending: Spending) -> None:
        super().__init__()
        self._spending = spending
        spending.refused = None
        self._lock = threading.RLock()  # LangChain calls this from its threads
        self._closed = False
        self._parents: dict[UUID, UUID | None] = {}
        self._written: dict[UUID, str] = {}
        """The requests under way, and what they have streamed."""

    def attached(self, config: RunnableConfig) -> RunnableConfig:
        """Return a config under which all requests are booked."""
        return heard_by(config, self, _Completions(self))

    def close(self) -> None:
        """Count what is still under way as cut short, and refuse all further requests."""
        with self._lock:
            self._closed = True  # a thread that was left behind is stopped at its next request
            for id_ in list(self._written):
                self._cut_short(id_)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's signature
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **_: Any,
    ) -> None:
        """Book a request to a chat model."""
        self.begin(messages[0], run_id, parent_run_id)

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **_: Any) -> None:
        """Keep what was written: a provider bills it even if the rest never comes."""
        with self._lock:
            if run_id in self._written:
                self._written[run_id] += token if isinstance(token, str) else (chunk.text if chunk else "")

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """Settle a request by what its message reports."""
        with self._lock:
            if self._written.pop(run_id, None) is not None:
                self._spending.finish(_message(response), run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Take back a request that was refused; count one that ended while it was being answered."""
        answered = not isinstance(error, Exception) or judge_error(error)["kind"] in ANSWERED
        with self._lock:
            if run_id not in self._written:
                return
            if answered or self._written[run_id]:
                self._cut_short(run_id)
            else:
                del self._written[run_id]
                self._spending.refund(run_id)

    def _note_parent(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        self._parents[run_id] = parent_run_id

    on_chain_start = on_tool_start = on_retriever_start = _note_parent

    def begin(self, prompt: Sequence[BaseMessage], run_id: UUID, parent_run_id: UUID | None) -> None:
        """Book a request; raise BudgetSpent if the run cannot afford it, or if the attempt has ended."""
        with self._lock:
            self._parents[run_id] = parent_run_id
            if (whole := self._request_around(parent_run_id)) is not None:
                self._spending.part_of(whole, run_id)
                return
            if self._closed:
                raise BudgetSpent("the call that this request belongs to has ended")
            if self._is_paid_inside():
                return
            self._spending.begin(prompt, run_id)
            self._written[run_id] = ""

    def _request_around(self, run_id: UUID | None) -> UUID | None:
        while run_id is not None and run_id not in self._written:
            run_id = self._parents.get(run_id)
        return run_id

    def _is_paid_inside(self) -> bool:
        payer = paying()
        own = self._spending
        return payer is not None and payer.account is not own and payer.account.belongs_to(own)

    def _cut_short(self, run_id: UUID) -> None:
        self._spending.cut_short(self._written.pop(run_id), run_id)


class _Completions(BaseCallbackHandler):
    """Hear of requests to models that complete text: of these LangChain tells inline handlers alone."""

    raise_error = True
    run_inline = True
    ignore_chat_model = True

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def on_llm_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's signature
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **_: Any,
    ) -> None:
        """Book a request."""
        self._meter.begin([HumanMessage(prompts[0])], run_id, parent_run_id)


def _message(response: LLMResult) -> AIMessage:
    generation = response.generations[0][0]
    if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
        return generation.message
    return AIMessage(generation.text)
