"""Input items of the Responses API as LangChain's messages, and what is asked of whoever answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from moa_graph.advising import last_said
from moa_graph.server.acting import Acting, acting_of
from moa_graph.server.bodies import checked
from moa_graph.server.faults import Refused
from moa_graph.server.images import check_image
from moa_graph.server.loose import JsonFormat
from moa_graph.server.lowering import limits_of
from moa_graph.server.messages import add_call
from moa_graph.server.responses import requests as sent
from moa_graph.terms import Terms

__all__ = ["instructed", "messages_of", "terms_of"]

_Content = str | list[str | dict[str, Any]]


def messages_of(request: sent.ResponsesRequest, called: Collection[str] = ()) -> list[BaseMessage]:
    """Return the input as messages: what an assistant said and called without a break is one message.

    `called` are the ids of the calls that the response before it ends with. Raises Refused where nothing is
    asked, and where calls of functions and their outputs do not match: providers refuse that, but only
    after the proposers have been paid.
    """
    given = request.input
    items = [sent.Message(role="user", content=given)] if isinstance(given, str) else given
    messages: list[BaseMessage] = []
    waiting = set(called)
    for index, item in enumerate(items):
        place = f"input[{index}]"
        match item:
            case sent.ReasoningItem():
                continue
            case sent.FunctionCall():
                add_call(_assistant(messages), item.call_id, item.name, item.arguments)
                waiting.add(item.call_id)
            case sent.FunctionCallOutput():
                if item.call_id not in waiting:
                    raise _invalid(
                        f"{place}.call_id", "no function_call that waits for its output has this id"
                    )
                waiting.remove(item.call_id)
                messages.append(
                    ToolMessage(_shown(item.output, f"{place}.output"), tool_call_id=item.call_id)
                )
            case _:
                _add_message(messages, item, f"{place}.content")
    if waiting:
        raise _invalid("input", f"there is no function_call_output for the call {min(waiting)[:80]!r}")
    if not messages or isinstance(messages[-1], AIMessage):
        raise _invalid("input", "nothing is asked: end with a user's message or a function's output")
    return messages


def _add_message(messages: list[BaseMessage], item: sent.Message, place: str) -> None:
    match item.role:
        case "assistant":
            said = _assistant(messages)
            said.content = f"{said.content}{_plain(item.content)}"
        case "user":
            messages.append(HumanMessage(_shown(item.content, place)))
        case _:
            messages.append(SystemMessage(_plain(item.content)))


def instructed(messages: Sequence[BaseMessage], instructions: str | None) -> list[BaseMessage]:
    """Return messages with instructions before them.

    Outputs of functions stay first: they belong to the calls that the conversation before them ends with.
    """
    if not instructions:
        return list(messages)
    outputs = next(
        (index for index, each in enumerate(messages) if not isinstance(each, ToolMessage)), len(messages)
    )
    return [*messages[:outputs], SystemMessage(instructions), *messages[outputs:]]


def terms_of(request: sent.ResponsesRequest, messages: Sequence[BaseMessage]) -> Terms:
    """Return on what terms the run takes place; raise Refused for what cannot be asked together."""
    terms = Terms(acting=_acting_of(request))
    if request.tools or isinstance(last_said(messages), ToolMessage):
        terms["fan_out"] = "user_turn"
    if limits := limits_of(request.moa):
        terms["limits"] = limits
    return terms


def _acting_of(request: sent.ResponsesRequest) -> dict[str, Any]:
    """Return the arguments of the aggregator's call, read as those of a chat completion."""
    tools, choice = _tools(request)
    text = request.text or sent.TextConfig()
    if tools and isinstance(text.format, JsonFormat):
        raise Refused(
            400,
            "text.format json_object does not go together with tools: give a json_schema",
            param="text.format",
            code="unsupported_parameter",
        )
    asked = {
        "tools": tools or None,
        "tool_choice": choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": _format(text),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_output_tokens,
        "user": request.user,
        "verbosity": text.verbosity,
        "reasoning_effort": request.reasoning.effort if request.reasoning else None,
    }
    return acting_of(checked(Acting, asked))


def _tools(request: sent.ResponsesRequest) -> tuple[list[dict[str, Any]], Any]:
    """Return the functions that may be called, and the choice among them, as the chat API has both."""
    tools, choice = request.tools or [], request.tool_choice
    wanted: Any = choice
    if isinstance(choice, sent.NamedFunction):
        wanted = {"type": "function", "function": {"name": choice.name}}
    elif isinstance(choice, sent.AllowedTools):
        allowed = {each.name for each in choice.tools}
        if unknown := allowed - {tool.name for tool in tools}:
            raise _invalid("tool_choice", f"there is no tool {min(unknown)[:80]!r}")
        tools, wanted = [tool for tool in tools if tool.name in allowed], choice.mode
    return [_tool(tool) for tool in tools], wanted


def _tool(tool: sent.FunctionTool) -> dict[str, Any]:
    described = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    given = {name: value for name, value in described.items() if value is not None}
    return {"type": "function", "function": {"name": tool.name, **given}}


def _format(text: sent.TextConfig) -> dict[str, Any] | None:
    if text.format is None:
        return None
    form = text.format.model_dump(by_alias=True, exclude_none=True)
    if not isinstance(text.format, sent.SchemaFormat):
        return form
    return {"type": form.pop("type"), "json_schema": form}


def _assistant(messages: list[BaseMessage]) -> AIMessage:
    """Return the assistant's message at the end of a conversation, a new one if somebody else spoke last."""
    if not (messages and isinstance(messages[-1], AIMessage)):
        messages.append(AIMessage(""))
    last = messages[-1]
    assert isinstance(last, AIMessage)  # noqa: S101 - one was just put there
    return last


def _plain(content: str | Sequence[sent.Part]) -> str:
    """Return the text of a message in which there is nothing else."""
    if isinstance(content, str):
        return content
    return "\n".join(_words(part) for part in content)


def _words(part: sent.Part) -> str:
    if isinstance(part, sent.Text):
        return part.text
    return part.refusal if isinstance(part, sent.Refusal) else ""


def _shown(content: str | Sequence[sent.Part], place: str) -> _Content:
    """Return what somebody wrote and showed."""
    if isinstance(content, str):
        return content
    if len(content) == 1 and not isinstance(content[0], sent.InputImage):
        return _words(content[0])
    return [_block(part, f"{place}[{index}]") for index, part in enumerate(content)]


def _block(part: sent.Part, place: str) -> dict[str, Any]:
    if not isinstance(part, sent.InputImage):
        return {"type": "text", "text": _words(part)}
    check_image(part.image_url, f"{place}.image_url")
    detail = {"detail": part.detail} if part.detail else {}
    return {"type": "image_url", "image_url": {"url": part.image_url, **detail}}


def _invalid(param: str, message: str) -> Refused:
    return Refused(400, f"{param}: {message}", param=param, code="invalid_value")
