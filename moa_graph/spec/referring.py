"""Faults of references: layers and proposers that are not there, and keys that say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moa_graph.spec.document import Path, as_mapping, as_sequence, show
from moa_graph.spec.kinds import check_twice
from moa_graph.spec.layering import Layers, fault_at_key, fault_unknown
from moa_graph.spec.parts import Part
from moa_graph.spec.primitives import ReferencesSpec

__all__ = ["check_references"]

_KEYS = {field.alias or name for name, field in ReferencesSpec.model_fields.items()} - {"from"}


def check_references(part: Part, layers: Layers, path: Path, holder: dict[str, Any], number: int) -> None:
    """Note what is wrong with the references of a layer, or of the aggregator after all layers."""
    if "references" not in holder:
        return
    references, here = as_mapping(holder["references"]), (*path, "references")
    readers = layers.ids[number] if path[0] == "layers" else None
    if number == 0 and readers is not None:
        message = "the first layer has nothing before it to refer to"
        fault_at_key(part, here, message, "`references` in a later layer or in the aggregator")
        return
    if references.get("from") == "none":
        _check_silent(part, here, references, [key for key in references if key in _KEYS])
        return
    _check_pairs(part, here, references)
    if readers is None:
        _check_aggregator(part, here, references)
    elif references.get("from") == "own":
        _check_silent(part, here, references, ["see", "self"])
    else:
        _check_self(part, here, references)
    before = layers.names[:number]
    sources = _sources(references, before)
    _check_sources(part, here, sources, before)
    seen = {id_ for _, name in sources if name in before for id_ in layers.ids[layers.names.index(name)]}
    for place, see in _sees(references):
        _check_see(part, (*here, *place), see, readers, seen)
    if readers is not None and seen and seen.isdisjoint(readers):
        _check_own(part, here, references)


def _check_own(part: Part, here: Path, references: dict[str, Any]) -> None:
    """Note whoever is to see its own where nobody has any: nothing would be shown, without a word."""
    places: list[tuple[Path, Any]] = [(("from",), references.get("from")), *_sees(references)]
    for place, who in places:
        if who == "own":
            message = "nobody here has a proposal of its own in the layers that are referred to"
            part.fault((*here, *place), message, expected="proposers with the ids that they have there")


def _check_silent(part: Part, here: Path, references: dict[str, Any], keys: list[str]) -> None:
    """Note keys that say nothing beside what `from` says."""
    for key in keys:
        if references.get(key) is not None:
            message = f"`{key}` says nothing beside `from: {references['from']}`"
            fault_at_key(part, (*here, key), message, f"no `{key}`, or another `from`")


def _check_self(part: Part, here: Path, references: dict[str, Any]) -> None:
    """Note `self: false` beside `see: own`: one's own is all that is seen then."""
    see = references.get("see")
    sources = list(enumerate(map(as_mapping, as_sequence(references.get("from")))))
    places: list[tuple[Path, Any, Any]] = [
        ((*here, "from", index), source.get("see") or see, source.get("self")) for index, source in sources
    ]
    if not any(source.get("see") not in (None, "own") for _, source in sources):
        places.append((here, see, references.get("self")))
    for place, seen, own in places:
        if seen == "own" and own is False:
            fault_at_key(
                part, (*place, "self"), "`self` says nothing beside `see: own`", "no `self`, or another `see`"
            )


def _check_pairs(part: Part, here: Path, references: dict[str, Any]) -> None:
    """Note keys that say nothing without another one, and one that is missing beside another."""
    summary = references.get("payload") == "summary"
    if summary and references.get("summarizer") is None:
        message = "`payload: summary` needs `summarizer`"
        part.fault((*here, "summarizer"), message, expected="a slot", at=part.key((*here, "payload")))
    if references.get("summarizer") is not None and not summary:
        message = "`summarizer` says nothing without `payload: summary`"
        fault_at_key(part, (*here, "summarizer"), message, "`payload: summary` beside it")
    if references.get("seed") is not None and references.get("order", "listed") != "shuffled":
        message = "`seed` says nothing without `order: shuffled`"
        fault_at_key(part, (*here, "seed"), message, "`order: shuffled` beside it")


def _check_aggregator(part: Part, here: Path, references: dict[str, Any]) -> None:
    message = "the aggregator has no proposals of its own"
    if references.get("from") == "own":
        part.fault((*here, "from"), message, expected="previous, or all")
    if references.get("self") is not None:
        fault_at_key(part, (*here, "self"), message, "no `self`")


def _check_sources(part: Part, here: Path, sources: list[tuple[Path, Any]], before: list[Any]) -> None:
    named: list[str] = []
    for place, name in sources:
        if not isinstance(name, str):
            continue
        if name not in before:
            known = [each for each in before if isinstance(each, str)]
            fault_unknown(part, (*here, *place), name, "earlier layer", known)
        elif name in named and len(place) > 1:  # in a list, not the word `all`
            part.fault((*here, *place), f"{show(name)} is in the list already")
        named.append(name)


def _sources(references: dict[str, Any], before: list[Any]) -> list[tuple[Path, Any]]:
    """Return the layers that references come from, each with its place below them."""
    given = references.get("from", "previous")
    if isinstance(given, list):
        return [
            (("from", index, "layer"), entry.get("layer"))
            if isinstance(entry, dict)
            else (("from", index), entry)
            for index, entry in enumerate(given)
        ]
    names = before if given == "all" else before[-1:]
    return [(("from",), name) for name in names]


def _sees(references: dict[str, Any]) -> Iterator[tuple[Path, Any]]:
    yield ("see",), references.get("see")
    for index, entry in enumerate(as_sequence(references.get("from"))):
        yield ("from", index, "see"), as_mapping(entry).get("see")


def _check_see(part: Part, path: Path, see: Any, readers: list[str] | None, seen: set[str]) -> None:
    if see is None or see == "all":
        return
    if readers is None:
        fault_at_key(part, path, "the aggregator is in no group", "`see: all`, and `from` with layers")
        return
    groups: dict[str, Any] | dict[int, Any] = (
        see if isinstance(see, dict) else dict(enumerate(as_sequence(see)))
    )
    for key, group in groups.items():
        here = (*path, key)
        if isinstance(key, str) and key not in readers:
            fault_unknown(part, here, key, "proposer", readers, at=part.key(here))
        check_twice(part, here, group)
        for index, id_ in enumerate(as_sequence(group)):
            if isinstance(id_, str) and seen and id_ not in seen and id_ not in readers:
                fault_unknown(part, (*here, index), id_, "proposer", sorted(seen))
