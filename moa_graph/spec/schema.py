"""The spec, version 1: what a Mixture-of-Agents is, as strict pydantic classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer
from pydantic.json_schema import WithJsonSchema

from moa_graph.spec.secrets import url_problem

__all__ = [
    "RESERVED_LAYER_NAMES",
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
    "default_layer_name",
]

RESERVED_LAYER_NAMES = frozenset(
    {"aggregator", "messages", "proposals", "status", "nonce", "budget", "moa_kept"}
)
"""Names that a layer cannot have: its graph node would clash with another node or a key of the state."""

FREE_PROVIDERS = frozenset({"embedded", "replay"})
"""Providers whose models cost nothing."""
LOCAL_PROVIDERS = FREE_PROVIDERS | {"host"}
"""Providers that need neither a key nor a network, as far as a spec can know."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s{0,9}(ms|s|m|h)")
_LONGEST_DURATION = 7 * 24 * 3600


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
        raise ValueError(  # noqa: TRY004  (pydantic turns only a ValueError into a fault)
            "not a duration such as 30s, 500ms, 2m, or a number of seconds"
        )
    if not 0 < value <= _LONGEST_DURATION:
        raise ValueError("a duration must be longer than 0 and at most 7 days")
    return float(value)


def _write_duration(seconds: float) -> float | str:
    return f"{seconds:.0f}s" if seconds == int(seconds) else seconds


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(_write_duration, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": _LONGEST_DURATION},
                {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?\s{0,9}(ms|s|m|h)$"},
            ],
            "description": "A duration: 30s, 500ms, 2m, 1h, or a number of seconds.",
        }
    ),
]

_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=_NAME_PATTERN)]
"""A name of a slot, layer or proposer: letters, digits, `.`, `_`, `-`; never `/` or `:`."""


Temperature = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
Attempts = Annotated[int, Field(ge=1, le=20)]
Tokens = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class PriceSpec(_Strict):
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


class ModelSpec(_Strict):
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


class DefaultsSpec(_Strict):
    """Set what holds for each call: seconds for one attempt, and the number of attempts."""

    timeout: Duration = Field(default=60.0, description="Wall clock of one attempt.")
    attempts: Attempts = Field(default=3, description="Requests sent for one call at most.")


class LimitsSpec(_Strict):
    """Bound a whole run: seconds, USD, requests, parallel requests, characters of one output."""

    deadline: Duration = Field(default=300.0, description="Wall clock of the whole run.")
    max_cost: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="USD that a run may spend; needs prices."
    )
    max_calls: int | None = Field(default=None, ge=1, description="Requests that a run may send.")
    max_concurrency: int = Field(default=64, ge=1, description="Requests under way at once.")
    max_output_chars: int = Field(default=200_000, ge=1, description="Longest output in characters.")


class ReferencesSpec(_Strict):
    """Say which earlier proposals enter a prompt, and where.

    `placement: system` is the paper's protocol; `user` puts them into one trailing user block.
    """

    from_: Literal["previous"] = Field(
        default="previous", alias="from", description="Which proposals: those of the previous layer."
    )
    placement: Literal["system", "user"] = Field(
        default="system", description="system: the paper's protocol; user: one trailing user block."
    )
    order: Literal["listed"] = Field(default="listed", description="listed: the order of the spec.")


class ProposerSpec(_Strict):
    """Describe a member of a layer; anything left out is taken from its slot or from the defaults."""

    model: Name = Field(description="A slot: a name under `models`.")
    id: Name | None = Field(default=None, description="Its name in the layer; default: the slot's name.")
    system: Text | None = Field(default=None, description="A system prompt for this proposer.")
    temperature: Temperature | None = Field(default=None, description="Overrides the slot's.")
    max_tokens: Tokens | None = Field(default=None, description="Overrides the slot's.")
    samples: int = Field(default=1, ge=1, le=100, description="Ask this often: id-1, id-2, …")
    timeout: Duration | None = Field(default=None, description="Overrides the layer's.")
    attempts: Attempts | None = Field(default=None, description="Overrides the layer's.")


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

    name: Name = Field(description="The name of the layer; default: layer-1, layer-2, …")
    proposers: list[
        Annotated[ProposerSpec, BeforeValidator(_short_form, json_schema_input_type=Name | ProposerSpec)]
    ] = Field(min_length=1, description="Who answers in parallel: slots, or mappings.")
    quorum: int = Field(default=1, ge=1, description="Proposals needed to go on.")
    grace: Duration | None = Field(
        default=None, description="Patience once the quorum is there; default: wait for all."
    )
    deadline: Duration | None = Field(default=None, description="Hard end of the layer.")
    timeout: Duration | None = Field(default=None, description="Overrides `defaults.timeout`.")
    attempts: Attempts | None = Field(default=None, description="Overrides `defaults.attempts`.")
    references: ReferencesSpec = Field(
        default=ReferencesSpec(), description="How it sees the previous layer; not in the first layer."
    )

    @property
    def width(self) -> int:
        """Return the number of proposers, each sample counted."""
        return sum(proposer.samples for proposer in self.proposers)

    def ids(self) -> Iterator[tuple[str, ProposerSpec]]:
        """Yield (proposer id, its spec) in order, `samples` expanded to id-1, id-2 and so on."""
        for proposer in self.proposers:
            stem = proposer.id or proposer.model
            if proposer.samples == 1:
                yield stem, proposer
            else:
                for number in range(1, proposer.samples + 1):
                    yield f"{stem}-{number}", proposer


class AggregatorSpec(_Strict):
    """Describe the final model: who writes the answer, and who takes over when it fails."""

    model: Name = Field(description="A slot: who writes the answer.")
    fallbacks: list[Name] = Field(
        default_factory=list, description="Slots tried in turn when the aggregator fails."
    )
    system: Text | None = Field(default=None, description="A system prompt for the aggregator.")
    temperature: Temperature | None = Field(default=None, description="Overrides the slot's.")
    max_tokens: Tokens | None = Field(default=None, description="Overrides the slot's.")
    timeout: Duration | None = Field(default=None, description="Overrides `defaults.timeout`.")
    attempts: Attempts | None = Field(default=None, description="Overrides `defaults.attempts`.")
    references: ReferencesSpec = Field(
        default=ReferencesSpec(), description="How it sees the last layer's proposals."
    )


def default_layer_name(index: int) -> str:
    """Return the name of the layer at an index (from 0) that says none itself."""
    return f"layer-{index + 1}"


def _name_layers(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [
        {"name": default_layer_name(index), **layer} if isinstance(layer, dict) else layer
        for index, layer in enumerate(value)
    ]


def _version(value: Any) -> Any:
    if type(value) is not int:  # Literal[1] takes true and 1.0 as well
        raise ValueError("not a version of the format")
    return value


class MoASpec(_Strict):
    """Describe a whole Mixture-of-Agents: slots, limits, proposer layers and the aggregator."""

    moa: Annotated[Literal[1], BeforeValidator(_version)] = Field(description="The version of the format.")
    name: Name = Field(description="The name of the spec.")
    description: str = Field(default="", description="What it is for.")
    models: dict[Name, ModelSpec] = Field(
        min_length=1, description="The slots; all other places refer to a slot by its name."
    )
    defaults: DefaultsSpec = Field(default=DefaultsSpec(), description="What holds for each call.")
    limits: LimitsSpec = Field(default=LimitsSpec(), description="What bounds a whole run.")
    layers: Annotated[list[LayerSpec], BeforeValidator(_name_layers)] = Field(
        default_factory=list, description="The proposer layers; none: the aggregator answers alone."
    )
    aggregator: AggregatorSpec = Field(description="Who writes the answer.")

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
