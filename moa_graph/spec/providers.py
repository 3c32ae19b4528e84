"""What a spec can know of a slot's model before it is built: providers by name, the embedded model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from moa_graph.spec.document import Path, as_mapping, show
from moa_graph.spec.parts import Part
from moa_graph.spec.slots import LOCAL_PROVIDERS

__all__ = ["EMBEDDED_MODEL", "ExtractiveParams", "check_model", "is_extractive", "provider_of"]

EMBEDDED_MODEL = "extractive"
"""The one model of the provider `embedded`."""

_KNOWN_PROVIDERS = frozenset(
    {
        "anthropic",
        "anthropic_bedrock",
        "azure_ai",
        "azure_openai",
        "baseten",
        "bedrock",
        "bedrock_converse",
        "bedrock_mantle_anthropic",
        "bedrock_mantle_openai",
        "cohere",
        "deepseek",
        "fireworks",
        "google_anthropic_vertex",
        "google_genai",
        "google_vertexai",
        "groq",
        "huggingface",
        "ibm",
        "langsmith",
        "litellm",
        "meta",
        "mistralai",
        "nvidia",
        "ollama",
        "openai",
        "openrouter",
        "perplexity",
        "together",
        "upstage",
        "xai",
    }
)
"""The providers of LangChain's `init_chat_model`, to tell a slip of the pen from a new name."""


class ExtractiveParams(BaseModel):
    """State which `params` a slot of `embedded:extractive` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    ranker: Literal["bm25", "tfidf", "textrank"] = Field(
        default="bm25", description="How sentences are scored."
    )
    sentences: int = Field(default=3, ge=1, le=100, description="The most sentences that an answer has.")
    diversity: float = Field(
        default=0.3, ge=0, le=1, allow_inf_nan=False, description="From relevance (0) to variety (1)."
    )


def check_model(part: Part, slot: Path, value: Any) -> None:
    """Note a model that can never be built: a mistyped provider, an embedded model that is not there.

    A provider that is like no known one is left alone: a later LangChain may know it.
    """
    provider, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    path = (*slot, "model")
    if not (colon and provider and name) or part.has_fault(path):
        return  # said already
    if provider == "embedded":
        if name != EMBEDDED_MODEL:
            message = f"there is no embedded model {show(name)}"
            part.fault(path, message, expected=f"embedded:{EMBEDDED_MODEL}, the one there is")
        return
    as_langchain = provider.replace("-", "_").lower()  # how `init_chat_model` reads a provider's name
    if provider in LOCAL_PROVIDERS or as_langchain in _KNOWN_PROVIDERS:
        return
    if suggestion := part.document.suggest(as_langchain, sorted(_KNOWN_PROVIDERS | LOCAL_PROVIDERS)):
        part.fault(path, f"there is no provider {show(provider)}", suggestion=suggestion)


def provider_of(model: Any) -> str:
    """Return the provider of the raw data of a slot."""
    return str(as_mapping(model).get("model", "")).partition(":")[0]


def is_extractive(model: Any) -> bool:
    """Tell whether the raw data of a slot names the embedded model."""
    return as_mapping(model).get("model") == f"embedded:{EMBEDDED_MODEL}"
