"""What a request asks of whoever writes the answer: tools, a form, how to sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from moa_graph.server.faults import Refused
from moa_graph.server.loose import SAFE, WORDS, JsonFormat, Loose, PlainText, TextFormat, Word, shape_of

__all__ = ["Acting", "acting_of"]


class Function(Loose):
    """Describe a function that may be called; `parameters` is a JSON schema."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_.:-]{1,128}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Loose):
    """Offer a tool."""

    type: Literal["function"]
    function: Function


class NamedFunction(Loose):
    """Name a function."""

    name: str


class NamedTool(Loose):
    """Name the tool that has to be called."""

    type: Literal["function"]
    function: NamedFunction


def _told_by(value: object) -> str:
    return WORDS if isinstance(value, str) else "named"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(WORDS)] | Annotated[NamedTool, Tag("named")],
    Discriminator(_told_by),
]


class Schema(Loose):
    """Describe the form of an answer; `schema` is a JSON schema."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class SchemaFormat(Loose):
    """Ask for JSON of a form."""

    type: Literal["json_schema"]
    json_schema: Schema


_Stops = Annotated[list[str], Field(max_length=4), Tag("parts")]
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Count = Annotated[int, Field(ge=1, lt=SAFE)]


class Acting(Loose):
    """Say how an answer is to be written, in the words of OpenAI's chat completions."""

    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None = (
        None
    )
    stop: Annotated[PlainText | _Stops, Discriminator(shape_of)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    seed: Annotated[int, Field(ge=-SAFE, lt=SAFE)] | None = None
    user: str | None = None
    reasoning_effort: Word | None = None
    verbosity: Word | None = None


_AS_THEY_ARE = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "user",
    "reasoning_effort",
    "verbosity",
)
"""Parameters that the model of the aggregator gets under the names that clients give them."""


def acting_of(request: Acting) -> dict[str, Any]:
    """Return the arguments of the aggregator's call, in the words that LangChain's models share."""
    acting = {name: value for name in _AS_THEY_ARE if (value := getattr(request, name)) is not None}
    longest = request.max_completion_tokens or request.max_tokens
    if longest is not None:
        acting["max_tokens"] = longest
    if request.stop:
        acting["stop"] = [request.stop] if isinstance(request.stop, str) else request.stop
    return acting | _format(request) | _tools(request)


def _format(request: Acting) -> dict[str, Any]:
    wanted = request.response_format
    if wanted is None or isinstance(wanted, TextFormat):
        return {}
    form = wanted.model_dump(by_alias=True, exclude_none=True)
    if request.tools:
        if isinstance(wanted, JsonFormat):
            raise Refused(
                400,
                "response_format json_object does not go together with tools: give a json_schema",
                param="response_format",
                code="unsupported_parameter",
            )
        # Where both are bound LangChain looks for the name here.
        schema = form["json_schema"]
        schema["schema"] = {"title": schema["name"], **schema.get("schema", {})}
    return {"response_format": form}


def _tools(request: Acting) -> dict[str, Any]:
    tools = request.tools or []
    names = [tool.function.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refused(400, f"two tools are named {twice!r}", param="tools", code="invalid_value")
    choice = _choice(request, names)
    if not tools:
        return {}
    acting: dict[str, Any] = {"tools": [tool.model_dump(exclude_none=True) for tool in tools]}
    if choice is not None:
        acting["tool_choice"] = choice
    if request.parallel_tool_calls is not None:
        acting["parallel_tool_calls"] = request.parallel_tool_calls
    return acting


def _choice(request: Acting, names: Sequence[str]) -> str | None:
    """Return which tool has to be called, in LangChain's words: a name, or any."""
    choice = request.tool_choice
    if isinstance(choice, NamedTool):
        wanted = choice.function.name
        there, message = wanted in names, f"there is no tool {wanted[:80]!r}"
    elif choice == "required":
        wanted, message = "any", "there are no tools"
        there = bool(names)
    else:
        return choice
    if not there:
        raise Refused(400, f"tool_choice: {message}", param="tool_choice", code="invalid_value")
    return wanted
