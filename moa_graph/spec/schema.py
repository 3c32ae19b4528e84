"""The spec, version 1: what a Mixture-of-Agents is, as strict pydantic classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.json_schema import WithJsonSchema

__all__ = [
    "AggregatorSpec",
    "DefaultsSpec",
    "Duration",
    "LayerSpec",
    "LimitsSpec",
    "Member",
    "MoASpec",
    "ModelSpec",
    "PriceSpec",
    "ProposerSpec",
    "ReferencesSpec",
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)")


def parse_duration(value: Any) -> float:
    """Read `30s`, `500ms`, `2m`, `1h` or a number of seconds; return seconds.

    Raises ValueError for anything else, for zero and for negative values.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("not a duration such as 30s, 500ms, 2m, or a number of seconds")
        value = float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a duration such as 30s, 500ms, 2m, or a number of seconds")
    if not 0 < value <= 7 * 24 * 3600:
        raise ValueError("a duration must be longer than 0 and at most 7 days")
    return float(value)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 604800},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h)$"},
            ],
            "description": "A duration: 30s, 500ms, 2m, 1h, or a number of seconds.",
        }
    ),
]

_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=_NAME_PATTERN)]
"""A name of a slot, layer or proposer: letters, digits, `.`, `_`, `-`; never `/` or `:`."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class PriceSpec(_Strict):
    """State the price of a model in USD per million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)


def _model_name(value: str) -> str:
    provider, colon, name = value.partition(":")
    if not (colon and provider and name):
        raise ValueError("not of the form provider:model, such as openai:gpt-4o")
    return value


class ModelSpec(_Strict):
    """Describe a slot: which model, where it is served, how it samples.

    `model` is `provider:model` as LangChain's `init_chat_model` reads it, or `embedded:extractive`,
    `replay:FILE`, `host:NAME` (an object that the host program registers under NAME).
    `temperature` and `max_tokens` default to the paper's 0.7 and 2048; `null` leaves them to the provider.
    """

    model: Annotated[str, AfterValidator(_model_name)]
    base_url: str | None = None
    api_key_env: str | None = None
    temperature: float | None = Field(default=0.7, ge=0, le=5, allow_inf_nan=False)
    max_tokens: int | None = Field(default=2048, ge=1)
    params: dict[str, JsonValue] = Field(default_factory=dict)
    price: PriceSpec | None = None

    @property
    def provider(self) -> str:
        """Return the part of `model` before the first colon."""
        return self.model.partition(":")[0]

    @property
    def model_name(self) -> str:
        """Return the part of `model` after the first colon."""
        return self.model.partition(":")[2]


class DefaultsSpec(_Strict):
    """Set what holds for each call: seconds for one attempt, and the number of attempts."""

    timeout: Duration = 60.0
    attempts: int = Field(default=3, ge=1, le=20)


class LimitsSpec(_Strict):
    """Bound a whole run: seconds, USD, requests, parallel requests, characters of one output."""

    deadline: Duration = 300.0
    max_cost: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_calls: int | None = Field(default=None, ge=1)
    max_concurrency: int = Field(default=64, ge=1)
    max_output_chars: int = Field(default=200_000, ge=1)


class ReferencesSpec(_Strict):
    """Say which earlier proposals enter a prompt, and where.

    `placement: system` is the paper's protocol; `user` puts them into one trailing user block.
    """

    from_: Literal["previous"] = Field(default="previous", alias="from")
    placement: Literal["system", "user"] = "system"
    order: Literal["listed"] = "listed"


class ProposerSpec(_Strict):
    """Describe a member of a layer; anything left out is taken from its slot or from the defaults."""

    model: Name
    id: Name | None = None
    system: str | None = None
    temperature: float | None = Field(default=None, ge=0, le=5, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1)
    samples: int = Field(default=1, ge=1, le=100)
    timeout: Duration | None = None
    attempts: int | None = Field(default=None, ge=1, le=20)


def _short_form(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


@dataclass(frozen=True)
class Member:
    """Hold one proposer (or the aggregator) with every default filled in; `timeout` in seconds."""

    id: str
    model: str
    system: str | None
    temperature: float | None
    max_tokens: int | None
    timeout: float
    attempts: int


class LayerSpec(_Strict):
    """Describe one parallel step: its proposers, and how long it waits for them."""

    name: Name
    proposers: list[Annotated[ProposerSpec, BeforeValidator(_short_form)]] = Field(min_length=1)
    quorum: int = Field(default=1, ge=1)
    grace: Duration | None = None
    deadline: Duration | None = None
    timeout: Duration | None = None
    attempts: int | None = Field(default=None, ge=1, le=20)
    references: ReferencesSpec = ReferencesSpec()

    def ids(self) -> Iterator[tuple[str, ProposerSpec]]:
        """Yield (proposer id, its spec) in order, `samples` expanded to id-1, id-2, …"""
        for proposer in self.proposers:
            stem = proposer.id or proposer.model
            if proposer.samples == 1:
                yield stem, proposer
            else:
                for number in range(1, proposer.samples + 1):
                    yield f"{stem}-{number}", proposer


class AggregatorSpec(_Strict):
    """Describe the final model: who writes the answer, and who takes over when it fails."""

    model: Name
    fallbacks: list[Name] = Field(default_factory=list)
    system: str | None = None
    temperature: float | None = Field(default=None, ge=0, le=5, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1)
    timeout: Duration | None = None
    attempts: int | None = Field(default=None, ge=1, le=20)
    references: ReferencesSpec = ReferencesSpec()


class MoASpec(_Strict):
    """Describe a whole Mixture-of-Agents: slots, limits, proposer layers and the aggregator."""

    moa: Literal[1]
    name: Name
    description: str = ""
    models: dict[Name, ModelSpec] = Field(min_length=1)
    defaults: DefaultsSpec = DefaultsSpec()
    limits: LimitsSpec = LimitsSpec()
    layers: list[LayerSpec] = Field(default_factory=list)
    aggregator: AggregatorSpec

    @property
    def depth(self) -> int:
        """Return the number of layers including the aggregator."""
        return len(self.layers) + 1

    def members(self, layer: LayerSpec) -> list[Member]:
        """Return the proposers of a layer in spec order, with defaults filled in."""
        return [
            Member(
                id=id_,
                model=proposer.model,
                system=proposer.system,
                temperature=proposer.temperature,
                max_tokens=proposer.max_tokens,
                timeout=proposer.timeout or layer.timeout or self.defaults.timeout,
                attempts=proposer.attempts or layer.attempts or self.defaults.attempts,
            )
            for id_, proposer in layer.ids()
        ]

    def aggregators(self) -> list[Member]:
        """Return the aggregator and its fallbacks in the order in which they are tried."""
        spec = self.aggregator
        return [
            Member(
                id=slot,
                model=slot,
                system=spec.system,
                temperature=spec.temperature,
                max_tokens=spec.max_tokens,
                timeout=spec.timeout or self.defaults.timeout,
                attempts=spec.attempts or self.defaults.attempts,
            )
            for slot in [spec.model, *spec.fallbacks]
        ]
