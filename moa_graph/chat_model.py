"""MoA as a LangChain chat model: a spec wherever a model is expected."""

from __future__ import annotations

import asyncio
import json
import operator
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self, cast
from uuid import uuid4

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables.config import set_config_context
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from moa_graph import background
from moa_graph.compiled import CompiledMoA
from moa_graph.errors import MoAError, RunError
from moa_graph.execution import totals
from moa_graph.graph import build_graph
from moa_graph.hearing import Manager, children, hear_nobody_else
from moa_graph.models.pool import ModelPool
from moa_graph.proposers.around import adopt
from moa_graph.proposers.relay import Relay
from moa_graph.proposers.waiting import look_at
from moa_graph.resources import Others
from moa_graph.spec.loading import Source, dump_spec, load_spec
from moa_graph.spec.schema import MoASpec
from moa_graph.spec.writing import spec_hash
from moa_graph.state import Kept, MoAInput
from moa_graph.structured import with_response_format, with_tool_call
from moa_graph.terms import TERMS, Cadence, Terms
from moa_graph.tool import as_tool
from moa_graph.unfinished import Made, Unfinished, Work, key_of
from moa_graph.usage import estimate_tokens

__all__ = ["MoAChatModel"]


class MoAChatModel(BaseChatModel):
    """Answer as the mixture of a spec does: proposers advise, the aggregator writes, and alone calls tools.

    `spec` is a MoASpec, the path of a spec's file, or a mapping. `models`, `retrievers`, `tools`,
    `runnables` and `embeddings` are objects of the host program, as for `build_graph`. `fan_out` overrides
    the spec's: with "user_turn" the results of tools go to the aggregator alone, with the references of their
    turn; with "every_call" all are asked again. `temperature`, `max_tokens` and `stop` are the aggregator's.

    The answer's `usage_metadata` is the whole run's, `response_metadata["moa"]` its summary. A call raises
    what a run raises: ModelNotReady before anything is called, RunError with all that was paid for. The same
    conversation asked again of the same object then goes on with what was made, and pays for the rest. An
    aggregator that fails after the first token of a stream ends the run: the beginning of an answer cannot be
    taken back, so there is neither another attempt nor a fallback.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    spec: MoASpec
    fan_out: Cadence | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    streaming: bool = False
    models: dict[str, BaseChatModel] = Field(default_factory=dict, repr=False, exclude=True)
    retrievers: dict[str, BaseRetriever] = Field(default_factory=dict, repr=False, exclude=True)
    tools: dict[str, BaseTool] = Field(default_factory=dict, repr=False, exclude=True)
    runnables: dict[str, Runnable[Any, Any]] = Field(default_factory=dict, repr=False, exclude=True)
    embeddings: dict[str, Embeddings] = Field(default_factory=dict, repr=False, exclude=True)
    _graph: CompiledMoA | None = PrivateAttr(default=None)
    _made_of: tuple[object, ...] = PrivateAttr(default=())
    _unfinished: Unfinished = PrivateAttr(default_factory=Unfinished)
    _identity: str = PrivateAttr(default="")

    def __init__(self, spec: Source, **options: Any) -> None:
        """Make it from a spec; raises SpecError for one that cannot be used."""
        super().__init__(spec=load_spec(spec), **options)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return {**state, "__pydantic_private__": {**(state["__pydantic_private__"] or {}), **_private()}}

    def __copy__(self) -> Self:
        copy = super().__copy__()
        for name, value in _private().items():
            setattr(copy, name, value)
        return copy

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Not the graph: it holds locks.
        return super(MoAChatModel, self.__copy__()).__deepcopy__(memo)

    # -- what it is --------------------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "moa_graph"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        """Return what tells its answers apart in a cache: the whole spec, and what was registered."""
        self._renew()
        registered = [self.models, *self._others().values()]
        return {
            "spec": dump_spec(self.spec),
            "spec_hash": spec_hash(self.spec),
            "fan_out": self.fan_out or self.spec.fan_out,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "own_stop": self.stop,  # LangChain puts the call's under "stop"
            # Objects of the host cannot be compared: two of one name may answer differently.
            "registered": self._identity if any(registered) else None,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        name = kwargs.get("model", self.spec.name)
        return {**params, "ls_provider": "moa_graph", "ls_model_name": name}

    def _resolve_model_profile(self) -> ModelProfile | None:
        """Return what the aggregator can do; nothing is known of it before its key and package are there."""
        aggregator = self._aggregator()
        return aggregator.profile if aggregator else None

    def _aggregator(self) -> BaseChatModel | None:
        """Return the model of the aggregator; None where a vote decides."""
        if self.spec.aggregator.model is None:
            return None
        model: Any = ModelPool(self.spec, self.models).single(self.spec.aggregator.model)
        while isinstance(model, RunnableBinding):
            model = model.bound
        return cast("BaseChatModel", model)

    def get_num_tokens(self, text: str) -> int:
        """Return the number of tokens as the aggregator counts them, or an estimate where it cannot count."""
        aggregator = self._aggregator()
        if aggregator is None:
            return estimate_tokens(text)
        counts = (type(aggregator).get_num_tokens, type(aggregator).get_token_ids)
        if counts == _UNCOUNTED and aggregator.custom_get_token_ids is None:
            return estimate_tokens(text)  # not by the GPT-2 tokenizer, which LangChain would download
        return aggregator.get_num_tokens(text)

    # -- tools and structured output: the aggregator's alone -----------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools to the aggregator; proposers see what tools returned as plain text.

        `tool_choice` and the other arguments are passed to the `bind_tools` of the aggregator's model.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        strict: bool | None = kwargs.get("strict")
        if kwargs.get("response_format") and strict is not False:
            strict = True  # as ChatOpenAI has it: OpenAI takes no other tools beside a response format
        return self.bind(tools=[convert_to_openai_tool(tool, strict=strict) for tool in tools], **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable whose aggregator answers in the form of `schema`.

        `method` is "function_calling" (the default: every model that can call tools can do it), "json_schema"
        or "json_mode", where the aggregator's provider takes `response_format` as OpenAI does.
        """
        method = kwargs.pop("method", "function_calling")
        if method == "function_calling":
            return with_tool_call(self, schema, include_raw=include_raw, **kwargs)
        return with_response_format(self, schema, method, include_raw=include_raw, **kwargs)

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """Return a tool that asks the mixture one `question`; see `moa_graph.as_tool`.

        Raises MoAError for `args_schema` and `arg_types`, which LangChain's method takes: a mixture is asked
        one question.
        """
        if args_schema is not None or arg_types is not None:
            raise MoAError("a mixture is asked one question, so its tool takes no other arguments")
        given: dict[str, Any] = {"name": name, "description": description}
        tool = as_tool(
            self.spec,
            models=self.models,
            **self._others(),
        )
        given["terms"] = self._terms(None, {})
        return tool.model_copy(update={key: value for key, value in given.items() if value is not None})

    # -- calls -------------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return background.run(self._answer(messages, stop, run_manager, kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await self._answer(messages, stop, run_manager, kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from background.iterate(self._chunks(messages, stop, run_manager, kwargs))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in self._chunks(messages, stop, run_manager, kwargs):
            yield chunk

    async def _answer(
        self, messages: list[BaseMessage], stop: list[str] | None, manager: Manager, options: dict[str, Any]
    ) -> ChatResult:
        terms = self._terms(stop, options)
        return ChatResult(generations=[ChatGeneration(message=await self._run(messages, manager, terms))])

    async def _chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, manager: Manager, options: dict[str, Any]
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Yield the answer's tokens as they come, and at the end what the whole run says of itself."""
        pieces: asyncio.Queue[AIMessageChunk | None] = asyncio.Queue()
        relay = Relay(pieces.put_nowait)
        terms = self._terms(stop, options) | Terms(relay=relay)
        run = asyncio.ensure_future(self._run(messages, manager, terms))
        run.add_done_callback(lambda _: pieces.put_nowait(None))
        run.add_done_callback(look_at)
        try:
            while (piece := await pieces.get()) is not None:
                yield ChatGenerationChunk(message=piece)
            yield ChatGenerationChunk(message=_last(await run, relay))
        finally:
            if not run.done():  # nobody reads on: end what is under way
                run.cancel()
                await asyncio.wait({run})

    def _terms(self, stop: list[str] | None, options: dict[str, Any]) -> Terms:
        own = {"temperature": self.temperature, "max_tokens": self.max_tokens, "stop": stop or self.stop}
        acting = {name: value for name, value in own.items() if value is not None} | options
        fan_out: Any = acting.pop("fan_out", self.fan_out)
        return Terms(acting=acting, fan_out=fan_out) if fan_out else Terms(acting=acting)

    async def _run(self, messages: list[BaseMessage], manager: Manager, terms: Terms) -> AIMessage:
        """Run the graph as a child of this call, and of nothing else.

        A graph that surrounds the call would lend it its checkpointer and its streams: a model has neither.
        """
        adopt(manager.run_id if manager else None)
        key = partial(key_of, messages, bool(terms["acting"].get("tools")), terms.get("fan_out"))
        graph, unfinished = self._compiled(), self._unfinished
        work = unfinished.take(key)
        made = Made(work)
        terms = {**terms, "paid": work.paid, "listen": made.take}
        config: RunnableConfig = {"callbacks": children(manager), "configurable": {TERMS: terms}}
        try:
            with set_config_context(config) as context:
                context.run(hear_nobody_else)
                call = graph.ainvoke(_question(messages, work), config)
                state = await asyncio.create_task(call, context=context)
            return _answer_of(state, made)
        except BaseException as error:
            unfinished.keep(key, made.work(error))
            raise

    def _renew(self) -> None:
        """Forget what was made of other parts: a spec or a registered object may have been exchanged."""
        made_of = (self.spec, self.models, *self._others().values())
        if len(self._made_of) != len(made_of) or any(map(operator.is_not, self._made_of, made_of)):
            self._made_of, self._graph, self._identity = made_of, None, uuid4().hex
            self._unfinished = Unfinished()

    def _others(self) -> Others:
        return Others(
            retrievers=self.retrievers,
            tools=self.tools,
            runnables=self.runnables,
            embeddings=self.embeddings,
        )

    def _compiled(self) -> CompiledMoA:
        self._renew()
        if self._graph is None:
            graph = build_graph(self.spec, models=self.models, **self._others())
            self._graph = graph.compile(checkpointer=False)
        return self._graph


_UNCOUNTED = (BaseChatModel.get_num_tokens, BaseChatModel.get_token_ids)


def _private() -> dict[str, Any]:
    """Return what a copy does not share: it may be changed, and makes its own."""
    return {"_graph": None, "_made_of": (), "_unfinished": Unfinished(), "_identity": ""}


def _answer_of(state: dict[str, Any], made: Made) -> AIMessage:
    answer = state["messages"][-1]
    if state.get("__interrupt__") or not isinstance(answer, AIMessage):
        raise RunError(
            "something inside asks for a person (interrupt), and a chat model can ask nobody",
            hint="Make the mixture a node of your graph, with a checkpointer: build_graph(spec).compile().",
            proposals=made.records,
            **totals(made.records),
        )
    return answer.model_copy(update={"id": None})


def _question(messages: Sequence[BaseMessage], work: Work) -> MoAInput:
    """Return the graph's input; ids belong to its state, and the caller's messages stay as they are."""
    copies = [message.model_copy(update={"id": None}) for message in messages]
    if not work.kept:
        return MoAInput(messages=cast("list[AnyMessage]", copies))
    copies[-1].id = uuid4().hex
    kept = Kept(message=copies[-1].id, proposals=work.kept)
    return MoAInput(messages=cast("list[AnyMessage]", copies), moa_kept=kept)


def _last(answer: AIMessage, relay: Relay) -> AIMessageChunk:
    """Return the end of a stream, with what of the answer was not streamed."""
    unsaid = [] if relay.began else answer.tool_calls
    return AIMessageChunk(
        content="" if relay.began else answer.content,
        tool_call_chunks=[
            tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
            for index, call in enumerate(unsaid)
        ],
        additional_kwargs={} if relay.reasoned else answer.additional_kwargs,
        usage_metadata=answer.usage_metadata,
        response_metadata=answer.response_metadata,
        chunk_position="last",
    )
