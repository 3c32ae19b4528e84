"""Visibility: which earlier proposals a reader sees, in which order, and how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from moa_graph.selecting.asking import read_residual
from moa_graph.selecting.choosing import shuffled
from moa_graph.spec.primitives import ReferencesSpec, SourceSpec
from moa_graph.state import Proposal, Reference, is_shown

__all__ = [
    "Offer",
    "Reader",
    "all_see_the_same",
    "as_reference",
    "changes_in",
    "layers_seen",
    "references_for",
    "shown_name",
]

_CUT = "…"


@dataclass(frozen=True)
class Reader:
    """Say who reads: a proposer's id in its layer, None for the aggregator; and the question."""

    id: str | None
    step: str
    question: str


@dataclass(frozen=True)
class Offer:
    """Hold what there is to see: the layers that ran, in order, and all records.

    `summaries` map a proposal's id to the record whose text is its summary.
    """

    layers: Sequence[str]
    records: Sequence[Proposal]
    summaries: Mapping[str, Proposal] = field(default_factory=dict)

    def of(self, layer: str) -> list[Proposal]:
        """Return the proposals of a layer that may be shown, in spec order."""
        return [record for record in self.records if record["layer"] == layer and is_shown(record)]


def references_for(spec: ReferencesSpec, offer: Offer, reader: Reader) -> list[Reference]:
    """Return what a reader sees.

    Layers come in the order in which they are named, proposals in that of the spec; with `order: shuffled`
    a permutation that depends on `seed`, reader and question alone, so that a resumed run builds the same
    prompt. A text longer than `max_chars` is cut, and ends with an ellipsis.
    """
    seen = [
        record
        for layer, see, own in _sources(spec, offer)
        for record in offer.of(layer)
        if _sees(see, own, reader.id, record["proposer"])
    ]
    if spec.order == "shuffled":
        seed = f"{spec.seed}\n{reader.step}/{reader.id}\n{reader.question}"
        seen = [seen[index] for index in shuffled(len(seen), seed)]
    several = len({record["layer"] for record in seen}) > 1
    return [as_reference(spec, record, offer.summaries.get(record["id"]), several=several) for record in seen]


def all_see_the_same(spec: ReferencesSpec, offer: Offer) -> bool:
    """Tell whether it makes no difference who reads."""
    return spec.order == "listed" and all(see == "all" and own for _, see, own in _sources(spec, offer))


def changes_in(records: Mapping[str, Proposal], layer: str | None) -> str | None:
    """Return what a layer changed, where somebody wrote that down and found something."""
    record = records.get(f"{layer}/@residual")
    return read_residual(record["text"]) or None if record and record["status"] == "ok" else None


_See = Literal["all", "own"] | list[list[str]] | dict[str, list[str]]


def layers_seen(spec: ReferencesSpec, layers: Sequence[str]) -> list[str]:
    """Return the names of the layers whose proposals are looked at, of those that ran.

    Where none of those that are named ran, because it was enough before, it is the last one that did.
    """
    match spec.from_:
        case "none":
            return []
        case "all":
            return list(layers)
        case "previous" | "own":
            return list(layers[-1:])
        case _:
            return [source.layer for source in _named(spec, layers)]


def _sources(spec: ReferencesSpec, offer: Offer) -> list[tuple[str, _See, bool]]:
    if spec.sources is None:
        see: _See = "own" if spec.from_ == "own" else spec.see
        return [(layer, see, spec.self_) for layer in layers_seen(spec, offer.layers)]
    return [
        (
            source.layer,
            spec.see if source.see is None else source.see,
            spec.self_ if source.self_ is None else source.self_,
        )
        for source in _named(spec, offer.layers)
    ]


def _named(spec: ReferencesSpec, layers: Sequence[str]) -> list[SourceSpec]:
    ran = [source for source in spec.sources or [] if source.layer in layers]
    return ran or [SourceSpec(layer=layer) for layer in layers[-1:]]


def _sees(see: _See, own: bool, reader: str | None, writer: str) -> bool:
    if see == "own":
        return writer == reader
    if reader == writer and not own:
        return False
    if isinstance(see, dict):  # who is not in it sees all
        return reader is None or reader not in see or writer in see[reader]
    if isinstance(see, list):  # who is in no group sees nobody but itself
        return reader is None or reader == writer or any(reader in group and writer in group for group in see)
    return True


def as_reference(
    spec: ReferencesSpec, record: Proposal, summary: Proposal | None = None, *, several: bool = False
) -> Reference:
    """Return a proposal as it enters a prompt; with `several` layers a name says whose it is, too."""
    shown = record if summary is None else summary
    text = shown["text"]
    if spec.max_chars is not None and len(text) > spec.max_chars:
        text = text[: spec.max_chars - 1].rstrip() + _CUT
    reference: Reference = {"id": shown["id"], "text": text}
    if not spec.anonymous:
        name = record["id"] if several else record["proposer"]
        reference["name"] = shown_name(name)
    return reference


def shown_name(name: str) -> str:
    """Return a name as a prompt may show it: that of a proposal that was added by hand may be anything."""
    return "".join(" " if c in '"<>' or not c.isprintable() else c for c in name)
