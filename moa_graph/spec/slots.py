"""What a spec gives a name to: models with their prices, and retrievers."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from moa_graph.spec.fields import Duration, Strict, Temperature, Text, Tokens
from moa_graph.spec.secrets import url_problem

__all__ = ["FREE_PROVIDERS", "LOCAL_PROVIDERS", "ModelSpec", "PriceSpec", "RetrieverSpec"]

FREE_PROVIDERS = frozenset({"embedded", "replay"})
"""Providers whose models cost nothing."""
LOCAL_PROVIDERS = FREE_PROVIDERS | {"host"}
"""Providers that need neither a key nor a network, as far as a spec can know."""


class PriceSpec(Strict):
    """State the price of a model in USD per million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False, description="USD per million tokens of the prompt.")
    output: float = Field(ge=0, allow_inf_nan=False, description="USD per million tokens written.")


def _model_name(value: str) -> str:
    provider, colon, name = value.partition(":")
    if not (colon and provider and name):
        raise ValueError("not of the form provider:model, such as openai:gpt-4o")
    return value


def _base_url(value: str) -> str:
    if problem := url_problem(value):
        raise ValueError(problem)
    return value


def _key_variable(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", value):
        raise ValueError("not the NAME of an environment variable, nor `none`")
    return value


class ModelSpec(Strict):
    """Describe a slot: which model, where it is served, how it samples.

    `model` is `provider:model` as LangChain's `init_chat_model` reads it, or `embedded:extractive`,
    `replay:FILE`, `host:NAME` (an object that the host program registers under NAME).
    `temperature` and `max_tokens` default to the paper's 0.7 and 2048; `null` leaves them to the provider.
    """

    model: Annotated[str, AfterValidator(_model_name)] = Field(
        description="provider:model, such as openai:gpt-4o, embedded:extractive, replay:FILE, host:NAME.",
        json_schema_extra={"pattern": "^[^:]+:[\\s\\S]+$"},
    )
    base_url: Annotated[str, AfterValidator(_base_url)] | None = Field(
        default=None,
        description="Address of a compatible server; `api_key_env` must then be said.",
        json_schema_extra={"pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"},
    )
    api_key_env: Annotated[str, AfterValidator(_key_variable)] | None = Field(
        default=None,
        description="The NAME of the environment variable that holds the key, or `none`. Never a key itself.",
        json_schema_extra={"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$"},
    )
    temperature: Temperature | None = Field(
        default=0.7, description="Sampling temperature; null leaves it to the provider."
    )
    max_tokens: Tokens | None = Field(
        default=2048, description="Longest output in tokens; null leaves it to the provider."
    )
    params: dict[str, JsonValue] = Field(
        default_factory=dict, description="Passed to the provider's class as is."
    )
    price: PriceSpec | None = Field(default=None, description="What the model costs; unknown when left out.")

    @property
    def provider(self) -> str:
        """Return the part of `model` before the first colon."""
        return self.model.partition(":")[0]

    @property
    def model_name(self) -> str:
        """Return the part of `model` after the first colon."""
        return self.model.partition(":")[2]


def _retriever_name(value: str) -> str:
    provider, colon, name = value.partition(":")
    if value != "bm25" and not (provider == "host" and colon and name):
        raise ValueError("neither `bm25` nor `host:NAME`")
    return value


class RetrieverSpec(Strict):
    """Describe where passages come from: local files, or a retriever of the host program.

    `retriever` is `bm25` (over `files`) or `host:NAME` (a BaseRetriever that is registered under NAME).
    """

    retriever: Annotated[str, AfterValidator(_retriever_name)] = Field(
        description="bm25 over local files, or host:NAME, a retriever that the host program registers.",
        json_schema_extra={"pattern": "^(bm25|host:[\\s\\S]+)$"},
    )
    files: list[Text] = Field(
        default_factory=list, description="Paths or patterns for bm25: text, Markdown, HTML, PDF."
    )
    k: int = Field(default=4, ge=1, le=100, description="The most passages that it gives.")
    chunk_chars: int = Field(default=1200, ge=100, le=100_000, description="Length of a passage of bm25.")
    max_chars: int = Field(default=8000, ge=100, description="Longest text of all its passages together.")
    timeout: Duration = Field(default=30.0, description="Wall clock of one retrieval.")
    on_error: Literal["fail", "continue"] = Field(
        default="fail", description="When it fails: fail, or continue without its passages."
    )
