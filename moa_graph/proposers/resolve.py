"""From a member of a spec to what proposes: the only place that knows the kinds of proposers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from moa_graph.compiled import CompiledMoA
from moa_graph.proposers import Proposer
from moa_graph.proposers.call import Caller
from moa_graph.proposers.nested import NestedSource
from moa_graph.proposers.runnable import RunnableSource
from moa_graph.proposers.sources import ModelSource, Source
from moa_graph.resources import Resources
from moa_graph.selecting.aides import Aide
from moa_graph.selecting.asking import CONSISTENT, PICK, read_choice
from moa_graph.spec.schema import LayerSpec, Member, MoASpec

__all__ = [
    "Build",
    "aggregator_callers",
    "aide_caller",
    "chooser_callers",
    "chooser_instruction",
    "proposers_of",
    "window_callers",
]

Build = Callable[[Resources], CompiledMoA]
"""Make a nested spec's graph; handed in, because graphs are made of proposers."""


def proposers_of(resources: Resources, layer: LayerSpec, build: Build) -> list[Proposer]:
    """Return the proposers of a layer in spec order."""
    spec = resources.spec
    members = spec.members(layer)
    graphs = {
        id(inner.spec): build(inner)
        for where, inner in resources.nested.items()
        if where.startswith(f"{layer.name}/")
    }
    return [
        Caller(
            layer=layer.name,
            member=member,
            role="proposer",
            source=_source(member, resources, graphs),
            pool=resources.models,
            placement=layer.references.placement,
            retrievers=resources.retrievers,
            instruction=layer.references.instruction,
        )
        for member in members
    ]


def aggregator_callers(resources: Resources) -> list[Caller]:
    """Return the aggregator and its fallbacks, in the order in which they are tried."""
    spec = resources.spec
    return [
        Caller(
            layer="aggregator",
            member=member,
            role="aggregator",
            source=ModelSource(resources.models, member, slot, fallback=slot != spec.aggregator.model),
            pool=resources.models,
            placement=spec.aggregator.references.placement,
            retrievers=resources.retrievers,
            citations=spec.aggregator.citations,
            instruction=spec.aggregator.references.instruction,
        )
        for member in spec.aggregators()
        if (slot := member.model) is not None
    ]


def chooser_callers(resources: Resources) -> list[Caller]:
    """Return who chooses the answer among the proposals, where the aggregator writes none itself."""
    said = chooser_instruction(resources.spec)
    return [
        replace(
            caller,
            member=replace(caller.member, id=f"@ranker:{caller.member.id}"),
            role="ranker",
            placement="user",  # a numbered list inside a proposal must not pass for one of proposals
            citations="none",
            instruction=said,
            check=_check_choice,
        )
        for caller in aggregator_callers(resources)
    ]


def chooser_instruction(spec: MoASpec) -> str | None:
    """Return what is asked of who chooses the answer."""
    aggregator = spec.aggregator
    return aggregator.references.instruction or _CHOICES.get(aggregator.reduce)


_CHOICES = {"pick": PICK, "consistency": CONSISTENT}


def window_callers(callers: Sequence[Caller], number: int) -> list[Caller]:
    """Return who writes the synthesis of one window, and who takes over when it fails."""
    return [
        replace(
            caller,
            member=replace(caller.member, id=f"@window-{number}:{caller.member.id}"),
            role="synthesizer",
            # It is told to cite, so that no source is lost on the way; the answer alone has to.
            citations="checked" if caller.citations == "required" else caller.citations,
        )
        for caller in callers
    ]


def _check_choice(reply: str, count: int) -> str | None:
    return None if read_choice(reply, count) is not None else "the reply names none of the proposals clearly"


def aide_caller(resources: Resources, aide: Aide) -> Caller:
    """Return what asks a model about proposals."""
    spec = resources.spec
    member = spec.aide(aide.id, aide.slot)
    return Caller(
        layer=aide.layer,
        member=member,
        role=aide.role,
        source=ModelSource(resources.models, member, aide.slot),
        pool=resources.models,
        placement="user",
        retrievers=resources.retrievers,
        instruction=aide.instruction,
        check=aide.check,
    )


def _source(member: Member, resources: Resources, graphs: Mapping[int, CompiledMoA]) -> Source:
    """Return what is asked; `graphs` are those of the specs inside, by the specs' identities."""
    if member.spec is not None:
        return NestedSource(graphs[id(member.spec)])
    if member.runnable is not None:
        return RunnableSource(resources.registered.runnables, member.runnable, member.price)
    asked = ModelSource(resources.models, member, member.model or "")
    if not member.tools:
        return asked
    from moa_graph.proposers.agent import AgentSource  # noqa: PLC0415 - who has no agent imports none

    return AgentSource(asked, resources.registered.tools)
