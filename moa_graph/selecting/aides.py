"""Models that are asked about proposals: who they are in a spec, and what they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moa_graph.selecting.asking import (
    COMPARE,
    ENOUGH,
    RANK,
    RESIDUAL,
    SUMMARIZE,
    read_comparison,
    read_enough,
    read_ranking,
)
from moa_graph.spec.primitives import ReferencesSpec, ResidualSpec, SelectSpec, StopSpec
from moa_graph.state import AideRole, Proposal

__all__ = ["Aide", "comparer", "judge", "pair_ranker", "ranker", "summarizer"]


@dataclass(frozen=True)
class Aide:
    """Describe one call about proposals.

    `id` is its name in the layer; it begins with "@", as no proposer's name does. `check` says what is wrong
    with a reply about so many proposals.
    """

    layer: str
    id: str
    role: AideRole
    slot: str
    instruction: str
    check: Callable[[str, int], str | None] | None = None


def ranker(layer: str, select: SelectSpec) -> Aide:
    """Return who ranks all proposals of a layer at once."""
    keep = select.keep or 1

    def check(reply: str, count: int) -> str | None:
        return None if read_ranking(reply, count, keep) else f"the reply is no ranking of at least {keep}"

    return Aide(layer, "@ranker", "ranker", select.model or "", select.instruction or RANK, check)


def pair_ranker(layer: str, select: SelectSpec, first: str, second: str) -> Aide:
    """Return who compares two proposals; which of them is shown first is told in its id."""

    def check(reply: str, count: int) -> str | None:
        clear = read_comparison(reply) in range(count + 1)
        return None if clear else "the reply says neither 1 nor 2 nor 0"

    id_ = f"@compare:{first}:{second}"
    return Aide(layer, id_, "ranker", select.model or "", select.instruction or COMPARE, check)


def judge(layer: str, stop: StopSpec) -> Aide:
    """Return who says whether a layer is enough."""

    def check(reply: str, _: int) -> str | None:
        return None if read_enough(reply) is not None else "the reply says neither STOP nor CONTINUE"

    return Aide(layer, "@judge", "judge", stop.model or "", stop.instruction or ENOUGH, check)


def comparer(layer: str, residual: ResidualSpec) -> Aide:
    """Return who writes down what a layer changed."""
    return Aide(layer, "@residual", "comparer", residual.model, residual.instruction or RESIDUAL)


def summarizer(layer: str, references: ReferencesSpec, proposal: Proposal) -> Aide:
    """Return who sums a proposal up for the readers of a later layer."""
    id_ = f"@summary:{proposal['layer']}:{proposal['proposer']}"
    return Aide(layer, id_, "summarizer", references.summarizer or "", SUMMARIZE)
