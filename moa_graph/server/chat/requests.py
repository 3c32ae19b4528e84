"""What a request for a chat completion holds, as OpenAI's API has it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

__all__ = [
    "AssistantMessage",
    "ChatRequest",
    "ImagePart",
    "Message",
    "NamedTool",
    "SystemMessage",
    "TextPart",
    "ToolCall",
    "ToolMessage",
    "UserMessage",
]

_SAFE = 2**63


class _Loose(BaseModel):
    """Check what is known and let the rest be: clients send more than anybody asks for."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def _shape(value: object) -> str:
    return "parts" if isinstance(value, list) else "text"


class TextPart(_Loose):
    """Hold a text."""

    type: Literal["text"]
    text: str


class Image(_Loose):
    """Hold an image as a `data:` URL, or the URL where the model's provider finds it."""

    url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(_Loose):
    """Hold an image, which is passed on as it is."""

    type: Literal["image_url"]
    image_url: Image


class RefusalPart(_Loose):
    """Hold words with which a model refused."""

    type: Literal["refusal"]
    refusal: str


_Text = Annotated[str, Tag("text")]
_TextParts = Annotated[list[TextPart], Field(min_length=1), Tag("parts")]
Texts = Annotated[_Text | _TextParts, Discriminator(_shape)]
UserPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]
_UserParts = Annotated[list[UserPart], Field(min_length=1), Tag("parts")]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
_AssistantParts = Annotated[list[AssistantPart], Tag("parts")]


class SystemMessage(_Loose):
    """Hold what the application says."""

    role: Literal["system", "developer"]
    content: Texts
    name: str | None = None


class UserMessage(_Loose):
    """Hold what a person says and shows."""

    role: Literal["user"]
    content: Annotated[_Text | _UserParts, Discriminator(_shape)]
    name: str | None = None


class CalledFunction(_Loose):
    """Name a function that a model called; `arguments` should be a JSON object, and models err."""

    name: str
    arguments: str


class ToolCall(_Loose):
    """Hold a call of a tool."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(_Loose):
    """Hold what a model said, and the tools that it called."""

    role: Literal["assistant"]
    content: Annotated[_Text | _AssistantParts, Discriminator(_shape)] | None = None
    tool_calls: list[ToolCall] | None = None
    name: str | None = None


class ToolMessage(_Loose):
    """Hold what a tool returned."""

    role: Literal["tool"]
    tool_call_id: str
    content: Texts


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(_Loose):
    """Describe a function that may be called; `parameters` is a JSON schema."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_.:-]{1,128}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Loose):
    """Offer a tool."""

    type: Literal["function"]
    function: Function


class NamedFunction(_Loose):
    """Name a function."""

    name: str


class NamedTool(_Loose):
    """Name the tool that has to be called."""

    type: Literal["function"]
    function: NamedFunction


def _choice(value: object) -> str:
    return "word" if isinstance(value, str) else "named"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("word")] | Annotated[NamedTool, Tag("named")],
    Discriminator(_choice),
]


class TextFormat(_Loose):
    """Ask for text."""

    type: Literal["text"]


class JsonFormat(_Loose):
    """Ask for any JSON object."""

    type: Literal["json_object"]


class Schema(_Loose):
    """Describe the form of an answer; `schema` is a JSON schema."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class SchemaFormat(_Loose):
    """Ask for JSON of a form."""

    type: Literal["json_schema"]
    json_schema: Schema


class StreamOptions(_Loose):
    """Say what a stream tells beside the answer."""

    include_usage: bool | None = None


_Stops = Annotated[list[str], Field(max_length=4), Tag("parts")]
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Count = Annotated[int, Field(ge=1, lt=_SAFE)]


class ChatRequest(_Loose):
    """Ask for a chat completion; null is the same as nothing, and what is not named here is let be.

    `moa` is this server's own: `{"limits": {...}}` lowers the limits of the run.
    """

    model: str = Field(min_length=1, max_length=255)
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None = (
        None
    )
    stop: Annotated[_Text | _Stops, Discriminator(_shape)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    seed: Annotated[int, Field(ge=-_SAFE, lt=_SAFE)] | None = None
    user: str | None = None
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    verbosity: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    metadata: dict[str, str] | None = None
    moa: dict[str, Any] | None = None
