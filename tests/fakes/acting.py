"""An in-process chat model that calls tools: it follows its orders, or acts on what it is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr

__all__ = ["ActingChatModel", "Seen"]


class Seen:
    """Hold what one call got: its messages and its arguments."""

    def __init__(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.options = options

    @property
    def tools(self) -> list[str]:
        return [tool["function"]["name"] for tool in self.options.get("tools", [])]


class ActingChatModel(BaseChatModel):
    """Call the first tool that is offered, with arguments that fit its schema, until `steps` results came.

    Arguments are found by their type in the last human message: numbers for numbers, the text for texts.
    Without tools, or when `steps` results of tools follow that message, it answers "Done: …" with the last
    result. `tool_choice` naming a tool, or asking for any, is followed. A schema as `response_format` is
    answered in JSON. It streams word by word, and the arguments of calls in pieces.
    """

    steps: int = 1
    model_name: str = "acting"
    profile: Any = Field(default_factory=lambda: {"max_input_tokens": 32_000, "tool_calling": True})
    _seen: list[Seen] = PrivateAttr(default_factory=list)

    @property
    def seen(self) -> list[Seen]:
        """Return what each call got so far."""
        return self._seen

    @property
    def _llm_type(self) -> str:
        return "acting"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _reply(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        self._seen.append(Seen(messages, options))
        last = max((i for i, message in enumerate(messages) if message.type == "human"), default=-1)
        results = [message for message in messages[last + 1 :] if isinstance(message, ToolMessage)]
        question = str(messages[last].text) if messages else ""
        model = options.get("model", self.model_name)
        tool = _wanted(options)
        forced = options.get("tool_choice") not in {None, "auto", "none"}
        if tool is not None and (len(results) < self.steps or forced):
            call = {"name": tool["name"], "args": _arguments(tool["parameters"], question)}
            return self._message("", model, [{**call, "id": f"call-{len(self._seen)}", "type": "tool_call"}])
        if schema := options.get("response_format", {}).get("json_schema"):
            return self._message(json.dumps(_arguments(schema["schema"], question)), model)
        if options.get("response_format"):
            return self._message('{"setup": "Why?", "punchline": "Because."}', model)
        text = f"Done: {results[-1].text}" if results else f"An answer to: {question[-80:]}"
        for stop in options.get("stop") or []:
            text = text.partition(stop)[0]
        return self._message(text, model)

    def _message(self, text: str, model: str, tool_calls: Sequence[Any] = ()) -> AIMessage:
        reason = "tool_calls" if tool_calls else "stop"
        return AIMessage(
            text,
            tool_calls=list(tool_calls),
            usage_metadata={"input_tokens": 7, "output_tokens": 5, "total_tokens": 12},
            response_metadata={"finish_reason": reason, "model_name": model},
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = self._reply(messages, kwargs | ({"stop": stop} if stop else {}))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        message = self._reply(messages, kwargs | ({"stop": stop} if stop else {}))
        for word in re.findall(r"\S+\s*", str(message.text)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        for index, call in enumerate(message.tool_calls):
            for name, id_, part in _pieces(call):
                chunk = {"name": name, "id": id_, "args": part, "index": index, "type": "tool_call_chunk"}
                yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))
        last = AIMessageChunk(
            content="",
            response_metadata=message.response_metadata,
            usage_metadata=message.usage_metadata,
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)


def _pieces(call: Any) -> Iterator[tuple[str | None, str | None, str]]:
    arguments = json.dumps(call["args"])
    half = len(arguments) // 2
    yield call["name"], call["id"], ""
    yield None, None, arguments[:half]
    yield None, None, arguments[half:]


def _wanted(options: dict[str, Any]) -> dict[str, Any] | None:
    functions = {tool["function"]["name"]: tool["function"] for tool in options.get("tools", [])}
    choice = options.get("tool_choice")
    if isinstance(choice, dict):
        choice = choice["function"]["name"]
    if choice == "none" or not functions:
        return None
    return functions.get(choice) or next(iter(functions.values()))


def _arguments(parameters: dict[str, Any], question: str) -> dict[str, Any]:
    numbers = iter(re.findall(r"-?\d+(?:\.\d+)?", question) or ["3"])
    found: dict[str, Any] = {}
    required = parameters.get("required", list(parameters.get("properties", {})))
    for name, schema in parameters.get("properties", {}).items():
        if name in required:
            found[name] = _value(schema, numbers, question)
    return found


def _value(schema: dict[str, Any], numbers: Iterator[str], question: str) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    match schema.get("type"):
        case "integer":
            return int(float(next(numbers, "3")))
        case "number":
            return float(next(numbers, "3"))
        case "boolean":
            return True
        case "array":
            return []
        case "object":
            return _arguments(schema, question)
        case _:
            return question
