"""The spec, version 1: what a Mixture-of-Agents is, as strict pydantic classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from moa_graph.spec.extracting import Extract
from moa_graph.spec.fields import (
    LIST,
    NUMBER,
    Attempts,
    Duration,
    Name,
    Strict,
    Temperature,
    Text,
    Tokens,
    shape_of,
)
from moa_graph.spec.primitives import ReferencesSpec, ResidualSpec, SelectSpec, StopSpec
from moa_graph.spec.slots import ModelSpec, PriceSpec, RetrieverSpec

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
    "ResidualSpec",
    "RetrieverSpec",
    "SelectSpec",
    "StopSpec",
    "default_layer_name",
]

RESERVED_LAYER_NAMES = frozenset(
    {"aggregator", "budget", "messages", "moa_kept", "moa_stopped", "moa_warnings", "nonce", "passages"}
    | {"proposals", "retrieve", "status"}
)
"""Names that a layer cannot have: its graph node would clash with another node or a key of the state."""

_MAX_STEPS = 10
"""Requests of an agent that says nothing else; the default is told in the description of `max_steps`."""


class DefaultsSpec(Strict):
    """Set what holds for each call: seconds for one attempt, and the number of attempts."""

    timeout: Duration = Field(default=60.0, description="Wall clock of one attempt.")
    attempts: Attempts = Field(default=3, description="Requests sent for one call at most.")


class LimitsSpec(Strict):
    """Bound a whole run: seconds, USD, requests, parallel requests, characters of one output."""

    deadline: Duration = Field(default=300.0, description="Wall clock of the whole run.")
    max_cost: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="USD that a run may spend; needs prices."
    )
    max_calls: int | None = Field(default=None, ge=1, description="Requests that a run may send.")
    max_concurrency: int = Field(default=64, ge=1, description="Requests under way at once.")
    max_output_chars: int = Field(default=200_000, ge=1, description="Longest output in characters.")


def _one_name(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[Name], BeforeValidator(_one_name, json_schema_input_type=Name | list[Name])]


Temperatures = Annotated[
    Annotated[Temperature, Tag(NUMBER)]
    | Annotated[list[Temperature], Field(min_length=1, max_length=100), Tag(LIST)],
    Discriminator(
        shape_of,
        custom_error_type="shape",
        custom_error_message="a number, or a list of them such as [0.3, 0.7, 1.0]",
    ),
]


class ProposerSpec(Strict):
    """Describe a member of a layer; anything left out is taken from its slot or from the defaults.

    It is one of: a `model` (with `tools`, an agent), a `runnable` of the host program, or a nested `spec`.
    """

    model: Name | None = Field(default=None, description="A slot: a name under `models`.")
    runnable: Name | None = Field(
        default=None, description="A Runnable, agent or graph that the host program registers."
    )
    spec: MoASpec | None = Field(default=None, description="A Mixture-of-Agents inside: a file, or a spec.")
    tools: Names = Field(
        default_factory=list, description="Tools that the host program registers; makes the model an agent."
    )
    max_steps: int | None = Field(
        default=None, ge=1, le=100, description="Requests that an agent may send; default: 10."
    )
    retrieve: Names = Field(default_factory=list, description="Retrievers whose passages it alone sees.")
    price: PriceSpec | None = Field(default=None, description="What a runnable costs; unknown when left out.")
    id: Name | None = Field(
        default=None, description="Its name in the layer; default: that of its slot, runnable or spec."
    )
    role: Text | None = Field(default=None, description="Who it is to be; put before `system`.")
    system: Text | None = Field(default=None, description="A system prompt for this proposer.")
    temperature: Temperatures | None = Field(
        default=None, description="Overrides the slot's; a list: one for each sample."
    )
    max_tokens: Tokens | None = Field(default=None, description="Overrides the slot's.")
    samples: int = Field(default=1, ge=1, le=100, description="Ask this often: id-1, id-2, …")
    timeout: Duration | None = Field(default=None, description="Overrides the layer's.")
    attempts: Attempts | None = Field(default=None, description="Overrides the layer's.")

    @property
    def stem(self) -> str:
        """Return its name in the layer, before samples are numbered."""
        return self.id or self.model or self.runnable or (self.spec.name if self.spec else "")


def _instruction(proposer: ProposerSpec) -> str | None:
    parts = [f"Your role: {proposer.role}" if proposer.role else None, proposer.system]
    return "\n\n".join(part for part in parts if part) or None


def _temperature(id_: str, proposer: ProposerSpec) -> float | None:
    if not isinstance(proposer.temperature, list):
        return proposer.temperature
    return proposer.temperature[int(id_.rpartition("-")[2]) - 1 if proposer.samples > 1 else 0]


def _short_form(value: Any) -> Any:
    if isinstance(value, str):
        return {"model": value}
    if isinstance(value, dict) and isinstance(value.get("temperature"), list) and "samples" not in value:
        return {**value, "samples": len(value["temperature"]) or 1}
    return value


@dataclass(frozen=True)
class Member:
    """Hold one proposer (or the aggregator) with every default filled in; `timeout` in seconds.

    One of `model`, `runnable` and `spec` is there; with `tools` the model is an agent.
    """

    id: str
    model: str | None
    system: str | None
    temperature: float | None
    max_tokens: int | None
    timeout: float
    attempts: int
    runnable: str | None = None
    spec: MoASpec | None = None
    tools: tuple[str, ...] = ()
    max_steps: int = _MAX_STEPS
    retrieve: tuple[str, ...] = ()
    price: PriceSpec | None = None


class LayerSpec(Strict):
    """Describe one parallel step: its proposers, and how long it waits for them."""

    name: Name = Field(description="The name of the layer; default: layer-1, layer-2, …")
    proposers: list[
        Annotated[ProposerSpec, BeforeValidator(_short_form, json_schema_input_type=Name | ProposerSpec)]
    ] = Field(min_length=1, description="Who answers in parallel: slots, or mappings.")
    quorum: int = Field(default=1, ge=0, description="Proposals needed to go on; 0: it may fail.")
    grace: Duration | None = Field(
        default=None, description="Patience once the quorum is there; default: wait for all."
    )
    deadline: Duration | None = Field(default=None, description="Hard end of the layer.")
    timeout: Duration | None = Field(default=None, description="Overrides `defaults.timeout`.")
    attempts: Attempts | None = Field(default=None, description="Overrides `defaults.attempts`.")
    concurrency: int | None = Field(
        default=None, ge=1, description="Proposers asked at once, in the order of the spec; default: all."
    )
    references: ReferencesSpec = Field(
        default=ReferencesSpec(), description="How it sees earlier layers; not in the first layer."
    )
    select: SelectSpec | None = Field(default=None, description="Which proposals go on; default: all.")
    residual: ResidualSpec | None = Field(
        default=None, description="Write down what this layer changed, for the next step; not in the first."
    )

    @property
    def width(self) -> int:
        """Return the number of proposers, each sample counted."""
        return sum(proposer.samples for proposer in self.proposers)

    def ids(self) -> Iterator[tuple[str, ProposerSpec]]:
        """Yield (proposer id, its spec) in order, `samples` expanded to id-1, id-2 and so on."""
        for proposer in self.proposers:
            stem = proposer.stem
            if proposer.samples == 1:
                yield stem, proposer
            else:
                for number in range(1, proposer.samples + 1):
                    yield f"{stem}-{number}", proposer


class AggregatorSpec(Strict):
    """Describe the final model: who writes the answer, and who takes over when it fails."""

    model: Name | None = Field(
        default=None, description="A slot: who writes the answer, or chooses it; only vote can do without."
    )
    reduce: Literal["synthesize", "pick", "vote", "consistency"] = Field(
        default="synthesize",
        description="synthesize: the model writes the answer; the others take a proposal as it is.",
    )
    extract: Extract | None = Field(default=None, description="vote: how an answer is read.")
    weights: dict[Name, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="vote: what a proposer's vote counts; default: 1."
    )
    window: int | None = Field(
        default=None, ge=2, description="synthesize: references seen at once; the synthesis is carried on."
    )
    on_error: Literal["fail", "first"] = Field(
        default="fail", description="When none can be chosen: fail, or take the first proposal, and say so."
    )
    fallbacks: list[Name] = Field(
        default_factory=list, description="Slots tried in turn when the aggregator fails."
    )
    system: Text | None = Field(default=None, description="A system prompt for the aggregator.")
    temperature: Temperature | None = Field(default=None, description="Overrides the slot's.")
    max_tokens: Tokens | None = Field(default=None, description="Overrides the slot's.")
    timeout: Duration | None = Field(default=None, description="Overrides `defaults.timeout`.")
    attempts: Attempts | None = Field(default=None, description="Overrides `defaults.attempts`.")
    references: ReferencesSpec = Field(default=ReferencesSpec(), description="How it sees the proposals.")
    retrieve: Names = Field(default_factory=list, description="Retrievers whose passages it alone sees.")
    citations: Literal["none", "checked", "required"] = Field(
        default="none",
        description="Cite passages by id; checked: wrong ids are noted; required: wrong ids or none fail.",
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


class MoASpec(Strict):
    """Describe a whole Mixture-of-Agents: slots, limits, proposer layers and the aggregator."""

    moa: Annotated[Literal[1], BeforeValidator(_version)] = Field(description="The version of the format.")
    name: Name = Field(description="The name of the spec.")
    description: str = Field(default="", description="What it is for.")
    models: dict[Name, ModelSpec] = Field(
        min_length=1, description="The slots; all other places refer to a slot by its name."
    )
    retrievers: dict[Name, RetrieverSpec] = Field(
        default_factory=dict, description="The retrievers; all other places refer to one by its name."
    )
    retrieve: Names = Field(
        default_factory=list,
        description="Retrievers that are asked once, first; everybody sees the passages.",
    )
    fan_out: Literal["user_turn", "every_call"] = Field(
        default="user_turn",
        description="user_turn: tool results go to the aggregator alone, with the references of their turn.",
    )
    defaults: DefaultsSpec = Field(default=DefaultsSpec(), description="What holds for each call.")
    limits: LimitsSpec = Field(default=LimitsSpec(), description="What bounds a whole run.")
    layers: Annotated[list[LayerSpec], BeforeValidator(_name_layers)] = Field(
        default_factory=list, description="The proposer layers; none: the aggregator answers alone."
    )
    stop: StopSpec | None = Field(
        default=None, description="When the layers that are left are not needed; default: never."
    )
    aggregator: AggregatorSpec = Field(description="Who writes the answer.")

    @property
    def depth(self) -> int:
        """Return the number of layers including the aggregator."""
        return len(self.layers) + 1

    def requested(self, member: Member) -> str:
        """Return what a member asks for: `provider:model` of its slot, `runnable:NAME` or `spec:NAME`."""
        if member.model is not None:
            return self.models[member.model].model
        return f"runnable:{member.runnable}" if member.spec is None else f"spec:{member.spec.name}"

    def members(self, layer: LayerSpec) -> list[Member]:
        """Return the proposers of a layer in spec order, with defaults filled in."""
        return [
            Member(
                id=id_,
                model=proposer.model,
                system=_instruction(proposer),
                temperature=_temperature(id_, proposer),
                max_tokens=proposer.max_tokens,
                timeout=proposer.timeout or layer.timeout or self.defaults.timeout,
                attempts=proposer.attempts or layer.attempts or self.defaults.attempts,
                runnable=proposer.runnable,
                spec=proposer.spec,
                tools=tuple(proposer.tools),
                max_steps=proposer.max_steps or _MAX_STEPS,
                retrieve=tuple(proposer.retrieve),
                price=proposer.price,
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
                retrieve=tuple(spec.retrieve),
            )
            for slot in [spec.model, *spec.fallbacks]
            if slot is not None
        ]

    def aide(self, id_: str, slot: str) -> Member:
        """Return a model that is asked about proposals: it ranks, judges, compares or sums up."""
        return Member(
            id=id_,
            model=slot,
            system=None,
            temperature=None,
            max_tokens=None,
            timeout=self.defaults.timeout,
            attempts=self.defaults.attempts,
        )

    def aides(self) -> list[str]:
        """Return the slots of all that are asked about proposals, in the order of the spec."""
        slots = []
        for layer in self.layers:
            slots += [layer.references.summarizer]
            slots += [part.model for part in (layer.select, layer.residual) if part is not None]
        slots += [self.stop.model if self.stop else None, self.aggregator.references.summarizer]
        return list(dict.fromkeys(slot for slot in slots if slot is not None))
