"""What a request for a response holds, as OpenAI's API has it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from moa_graph.server.loose import SAFE, WORDS, JsonFormat, Loose, PlainText, TextFormat, Word, shape_of

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
]

_NAME = r"^[a-zA-Z0-9_.:-]{1,128}$"


class Text(Loose):
    """Hold a text: of whoever asks, or of an answer before."""

    type: Literal["input_text", "output_text"]
    text: str


class Refusal(Loose):
    """Hold words with which a model refused."""

    type: Literal["refusal"]
    refusal: str


class InputImage(Loose):
    """Hold an image as a `data:image/…` URL."""

    type: Literal["input_image"]
    image_url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] | None = None


Part = Annotated[Text | Refusal | InputImage, Field(discriminator="type")]
_Parts = Annotated[list[Part], Field(min_length=1), Tag("parts")]
_Content = Annotated[PlainText | _Parts, Discriminator(shape_of)]


class Message(Loose):
    """Hold what somebody said."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: _Content


class FunctionCall(Loose):
    """Hold a call of a function; `arguments` should be a JSON object, and models err."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arguments: str


class FunctionCallOutput(Loose):
    """Hold what a function returned."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1)
    output: _Content


class ReasoningItem(Loose):
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


class FunctionTool(Loose):
    """Offer a function; `parameters` is a JSON schema."""

    type: Literal["function"]
    name: str = Field(pattern=_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(Loose):
    """Name a function."""

    type: Literal["function"]
    name: str


class AllowedTools(Loose):
    """Name the functions of `tools` that may be called this time, and whether one has to be."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedFunction] = Field(min_length=1)


def _choice(value: object) -> str | None:
    if isinstance(value, str):
        return WORDS
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(WORDS)]
    | Annotated[NamedFunction, Tag("function")]
    | Annotated[AllowedTools, Tag("allowed_tools")],
    Discriminator(_choice),
]


class SchemaFormat(Loose):
    """Ask for JSON of a form; `schema` is a JSON schema."""

    type: Literal["json_schema"]
    name: str = Field(min_length=1, max_length=64)
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextConfig(Loose):
    """Say what form the answer has."""

    format: Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Word | None = None


class Reasoning(Loose):
    """Say how long a model that can think is to think."""

    effort: Word | None = None


_Items = Annotated[list[Item], Field(min_length=1), Tag("parts")]
_Key = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=512)]


class ResponsesRequest(Loose):
    """Ask for a response; null is the same as nothing, and what is not named here is let be.

    `moa` is this server's own: `{"limits": {...}}` lowers the limits of the run.
    """

    model: str = Field(min_length=1, max_length=255)
    input: Annotated[Annotated[str, Field(min_length=1), Tag("text")] | _Items, Discriminator(shape_of)]
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
    max_output_tokens: Annotated[int, Field(ge=1, lt=SAFE)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1, lt=SAFE)] | None = None
    reasoning: Reasoning | None = None
    metadata: Annotated[dict[_Key, _Value], Field(max_length=16)] | None = None
    user: str | None = None
    moa: dict[str, Any] | None = None

    @property
    def kept(self) -> bool:
        """Tell whether the response is to be kept, as it is unless somebody says otherwise."""
        return self.store is not False
