"""What a request for a chat completion holds, as OpenAI's API has it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from moa_graph.server.acting import Acting
from moa_graph.server.loose import Loose, PlainText, shape_of

__all__ = [
    "AssistantMessage",
    "ChatRequest",
    "ImagePart",
    "Message",
    "SystemMessage",
    "TextPart",
    "ToolCall",
    "ToolMessage",
    "UserMessage",
]


class TextPart(Loose):
    """Hold a text."""

    type: Literal["text"]
    text: str


class Image(Loose):
    """Hold an image as a `data:image/…` URL."""

    url: str = Field(min_length=1)
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Loose):
    """Hold an image, which is passed on as it is."""

    type: Literal["image_url"]
    image_url: Image


class RefusalPart(Loose):
    """Hold words with which a model refused."""

    type: Literal["refusal"]
    refusal: str


_TextParts = Annotated[list[TextPart], Field(min_length=1), Tag("parts")]
Texts = Annotated[PlainText | _TextParts, Discriminator(shape_of)]
UserPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]
_UserParts = Annotated[list[UserPart], Field(min_length=1), Tag("parts")]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
_AssistantParts = Annotated[list[AssistantPart], Tag("parts")]


class SystemMessage(Loose):
    """Hold what the application says."""

    role: Literal["system", "developer"]
    content: Texts
    name: str | None = None


class UserMessage(Loose):
    """Hold what a person says and shows."""

    role: Literal["user"]
    content: Annotated[PlainText | _UserParts, Discriminator(shape_of)]
    name: str | None = None


class CalledFunction(Loose):
    """Name a function that a model called; `arguments` should be a JSON object, and models err."""

    name: str
    arguments: str


class ToolCall(Loose):
    """Hold a call of a tool."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(Loose):
    """Hold what a model said, and the tools that it called."""

    role: Literal["assistant"]
    content: Annotated[PlainText | _AssistantParts, Discriminator(shape_of)] | None = None
    tool_calls: list[ToolCall] | None = None
    name: str | None = None


class ToolMessage(Loose):
    """Hold what a tool returned."""

    role: Literal["tool"]
    tool_call_id: str
    content: Texts


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class StreamOptions(Loose):
    """Say what a stream tells beside the answer."""

    include_usage: bool | None = None


class ChatRequest(Acting):
    """Ask for a chat completion; null is the same as nothing, and what is not named here is let be.

    `moa` is this server's own: `{"limits": {...}}` lowers the limits of the run.
    """

    model: str = Field(min_length=1, max_length=255)
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: dict[str, str] | None = None
    moa: dict[str, Any] | None = None
