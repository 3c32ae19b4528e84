"""What a request for a response holds, as OpenAI's API has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from moa_graph.server.faults import Refused

__all__ = [
    "AllowedTools",
    "FunctionCall",
    "FunctionCallOutput",
    "FunctionTool",
    "InputImage",
    "Item",
    "Message",
    "NamedFunction",
    "Part",
    "ReasoningItem",
    "Refusal",
    "ResponsesRequest",
    "SchemaFormat",
    "Text",
    "refuse_unsupported",
]

_SAFE = 2**63
_NAME = r"^[a-zA-Z0-9_.:-]{1,128}$"


class _Loose(BaseModel):
    """Check what is known and let the rest be: clients send more than anybody asks for."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def _shape(value: object) -> str:
    return "parts" if isinstance(value, list) else "text"


class Text(_Loose):
    """Hold a text: of whoever asks, or of an answer before."""

    type: Literal["input_text", "output_text"]
    text: str


class Refusal(_Loose):
    """Hold words with which a model refused."""

    type: Literal["refusal"]
    refusal: str


class InputImage(_Loose):
    """Hold an image as a `data:` URL, or the URL where the model's provider finds it."""

    type: Literal["input_image"]
    image_url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] | None = None


Part = Annotated[Text | Refusal | InputImage, Field(discriminator="type")]
_Text = Annotated[str, Tag("text")]
_Parts = Annotated[list[Part], Field(min_length=1), Tag("parts")]
_Content = Annotated[_Text | _Parts, Discriminator(_shape)]


class Message(_Loose):
    """Hold what somebody said."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: _Content


class FunctionCall(_Loose):
    """Hold a call of a function; `arguments` should be a JSON object, and models err."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arguments: str


class FunctionCallOutput(_Loose):
    """Hold what a function returned."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1)
    output: _Content


class ReasoningItem(_Loose):
    """Hold what a model thought before; nobody is shown it again."""

    type: Literal["reasoning"]


def _kind(value: object) -> str | None:
    if not isinstance(value, dict):
        return getattr(value, "type", None)
    kind = value.get("type", "message")  # messages may come without it
    return kind if isinstance(kind, str) else None


Item = Annotated[
    Annotated[Message, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


class FunctionTool(_Loose):
    """Offer a function; `parameters` is a JSON schema."""

    type: Literal["function"]
    name: str = Field(pattern=_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(_Loose):
    """Name a function."""

    type: Literal["function"]
    name: str


class AllowedTools(_Loose):
    """Name the functions of `tools` that may be called this time, and whether one has to be."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedFunction] = Field(min_length=1)


def _choice(value: object) -> str | None:
    if isinstance(value, str):
        return "word"
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("word")]
    | Annotated[NamedFunction, Tag("function")]
    | Annotated[AllowedTools, Tag("allowed_tools")],
    Discriminator(_choice),
]


class TextFormat(_Loose):
    """Ask for text."""

    type: Literal["text"]


class JsonFormat(_Loose):
    """Ask for any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(_Loose):
    """Ask for JSON of a form; `schema` is a JSON schema."""

    type: Literal["json_schema"]
    name: str = Field(min_length=1, max_length=64)
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


Word = Annotated[str, Field(min_length=1, max_length=32)]


class TextConfig(_Loose):
    """Say what form the answer has."""

    format: Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Word | None = None


class Reasoning(_Loose):
    """Say how long a model that can think is to think."""

    effort: Word | None = None


_Items = Annotated[list[Item], Field(min_length=1), Tag("parts")]
_Key = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=512)]


class ResponsesRequest(_Loose):
    """Ask for a response; null is the same as nothing, and what is not named here is let be.

    `moa` is this server's own: `{"limits": {...}}` lowers the limits of the run.
    """

    model: str = Field(min_length=1, max_length=255)
    input: Annotated[Annotated[str, Field(min_length=1), Tag("text")] | _Items, Discriminator(_shape)]
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(max_length=100)] | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, lt=_SAFE)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1, lt=_SAFE)] | None = None
    reasoning: Reasoning | None = None
    metadata: Annotated[dict[_Key, _Value], Field(max_length=16)] | None = None
    user: str | None = None
    moa: dict[str, Any] | None = None

    @property
    def kept(self) -> bool:
        """Tell whether the response is to be kept, as it is unless somebody says otherwise."""
        return self.store is not False


_INSTEAD = {
    "conversation": "go on with previous_response_id",
    "prompt": "send the prompt's text as instructions and input",
    "truncation": "a conversation is never shortened; leave out some of it yourself",
    "context_management": "a conversation is never shortened; leave out some of it yourself",
    "include": "logprobs are not known of an answer that several models made",
    "top_logprobs": "logprobs are not known of an answer that several models made",
    "moderation": "ask a moderation endpoint yourself",
    "stream": "a background response is not streamed: ask for it with GET /v1/responses/{id}",
    "store": "a background response is kept, or nobody could ask for it",
}


def refuse_unsupported(body: Mapping[str, Any]) -> None:
    """Raise Refused for what would change the answer and cannot be done; nothing and null are let be."""
    background, include = body.get("background") is True, body.get("include")
    asked = {
        "conversation": body.get("conversation") is not None,
        "prompt": body.get("prompt") is not None,
        "truncation": body.get("truncation") not in (None, "disabled"),
        "context_management": body.get("context_management") not in (None, []),
        "include": isinstance(include, list) and "message.output_text.logprobs" in include,
        "top_logprobs": body.get("top_logprobs") not in (None, 0),
        "moderation": body.get("moderation") is not None,
        "stream": background and body.get("stream") is True,
        "store": background and body.get("store") is False,
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise _unsupported(name, f"{name} cannot be had so: {_INSTEAD[name]}")
    _refuse_kinds("tools", body.get("tools"), "function", "a tool", "offer functions, and run them yourself")
    _refuse_kinds("input", body.get("input"), None, "an input item", "send the item itself")


def _refuse_kinds(param: str, given: object, only: str | None, what: str, instead: str) -> None:
    for index, each in enumerate(given if isinstance(given, list) else []):
        kind = each.get("type") if isinstance(each, dict) else None
        if not isinstance(kind, str):
            continue
        if kind != only if only else kind == "item_reference":
            place = f"{param}[{index}].type"
            raise _unsupported(place, f"{place}: {what} of type {kind[:80]!r} is not supported: {instead}")


def _unsupported(param: str, message: str) -> Refused:
    return Refused(400, message, param=param, code="unsupported_parameter")
