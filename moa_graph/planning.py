"""All calls that a spec may make, step by step, and how much of earlier texts each is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from moa_graph.spec.primitives import ReferencesSpec, SelectSpec
from moa_graph.spec.schema import LayerSpec, Member, MoASpec

__all__ = ["CHARACTERS_PER_TOKEN", "Call", "Step", "longest_text", "steps"]

CHARACTERS_PER_TOKEN = 4
_PROTOCOL_TOKENS = 150
"""The instruction of the Aggregate-and-Synthesize prompt has some 600 characters; the others are like it."""

_Length = int | None
"""Tokens at most; None: nobody knows."""
_Shown = dict[str, dict[str, _Length]]
"""The texts of each layer that later ones may see, by layer and proposer."""


@dataclass(frozen=True)
class Call:
    """Describe a call: who is asked, and tokens of references at most, None if nobody knows."""

    id: str
    member: Member
    references: _Length


@dataclass(frozen=True)
class Step:
    """Hold the calls of a step when all goes well, and who takes over when the aggregator fails."""

    name: str
    calls: list[Call]
    fallbacks: list[Member] = field(default_factory=list)


def steps(spec: MoASpec) -> Iterator[Step]:
    """Yield the layers and the aggregator, as if nothing stopped early and everybody succeeded."""
    shown: _Shown = {}
    residual: _Length = 0
    for number, layer in enumerate(spec.layers, 1):
        calls, lengths = _sight(spec, layer.name, layer.references, shown)
        seen = _plus(_prompt(lengths), residual if lengths else 0)
        members = spec.members(layer)
        calls += [Call(f"{layer.name}/{member.id}", member, seen) for member in members]
        written = {member.id: longest_text(member, spec) for member in members}
        before = list(list(shown.values())[-1].values()) if shown else []
        calls += _after(spec, layer, number, written, before)
        residual = _slot_tokens(spec, layer.residual.model) if layer.residual else 0
        shown[layer.name] = _kept(layer.select, written)
        yield Step(layer.name, calls)
    yield _last(spec, shown, residual)


def longest_text(member: Member, spec: MoASpec) -> _Length:
    """Return the tokens of the longest text that a member may give; None means unknown."""
    if member.model is not None:
        return member.max_tokens or spec.models[member.model].max_tokens
    if member.spec is None:
        return None
    last = member.spec.aggregator
    writers = member.spec.aggregators() if last.reduce == "synthesize" else _proposers(member.spec)
    lengths = [longest_text(writer, member.spec) for writer in writers]
    known = [length for length in lengths if length is not None]
    return max(known) if len(known) == len(lengths) else None


def _last(spec: MoASpec, shown: _Shown, residual: _Length) -> Step:
    aggregator, writers = spec.aggregator, spec.aggregators()
    calls, lengths = _sight(spec, "aggregator", aggregator.references, shown)
    if not writers:
        return Step("aggregator", calls)
    first, *fallbacks = writers
    size = aggregator.window
    if size is not None and len(lengths) > size:
        folds = -(-(len(lengths) - size) // (size - 1))
        window = _prompt([_longest([*lengths, longest_text(first, spec)])] * size)
        ids = [f"aggregator/@window-{number}:{first.id}" for number in range(1, folds + 1)]
        calls += [Call(id_, first, window) for id_ in ids]
        lengths = [_longest([*lengths, longest_text(first, spec)])] * size
    seen = _plus(_prompt(lengths), residual if lengths else 0)
    name = first.id if aggregator.reduce == "synthesize" else f"@ranker:{first.id}"
    return Step("aggregator", [*calls, Call(f"aggregator/{name}", first, seen)], fallbacks)


def _after(
    spec: MoASpec, layer: LayerSpec, number: int, written: dict[str, _Length], before: list[_Length]
) -> Iterator[Call]:
    """Yield the calls about a layer's proposals."""
    select, stop = layer.select, spec.stop
    if select is not None and select.model is not None and len(written) > (select.keep or 1):
        if select.by == "pairwise":
            two = _prompt([_longest(list(written.values()))] * 2)
            for one, other in permutations(written, 2):
                id_ = f"@compare:{one}:{other}"
                yield Call(f"{layer.name}/{id_}", spec.aide(id_, select.model), two)
        else:
            all_ = _prompt(list(written.values()))
            yield Call(f"{layer.name}/@ranker", spec.aide("@ranker", select.model), all_)
    kept = list(_kept(select, written).values())
    if layer.residual is not None:
        member = spec.aide("@residual", layer.residual.model)
        yield Call(f"{layer.name}/@residual", member, _prompt([*before, *kept]))
    if stop is not None and stop.model is not None and stop.min_layers <= number < len(spec.layers):
        yield Call(f"{layer.name}/@judge", spec.aide("@judge", stop.model), _prompt(kept))


def _sight(
    spec: MoASpec, step: str, references: ReferencesSpec, shown: _Shown
) -> tuple[list[Call], list[_Length]]:
    """Return the summaries that are written for a step, and the lengths of all that a reader may see."""
    match references.from_:
        case "none":
            layers: list[str] = []
        case "all":
            layers = list(shown)
        case "previous" | "own":
            layers = list(shown)[-1:]
        case _:
            layers = [source.layer for source in references.sources or []]
    seen = {(layer, id_): length for layer in layers for id_, length in shown[layer].items()}
    lengths = list(seen.values())
    calls: list[Call] = []
    if references.payload == "summary" and references.summarizer is not None:
        for (layer, id_), length in seen.items():
            name = f"@summary:{layer}:{id_}"
            member = spec.aide(name, references.summarizer)
            calls.append(Call(f"{step}/{name}", member, _prompt([length])))
        lengths = [_slot_tokens(spec, references.summarizer) for _ in seen]
    if references.max_chars is not None:
        most = -(-references.max_chars // CHARACTERS_PER_TOKEN)
        lengths = [most if length is None else min(length, most) for length in lengths]
    return calls, lengths[:1] if references.from_ == "own" else lengths


def _kept(select: SelectSpec | None, written: dict[str, _Length]) -> dict[str, _Length]:
    """Return what a selection may let pass: at most the longest texts."""
    if select is None or select.keep is None or select.keep >= len(written):
        return written
    if select.on_error == "keep_all" and select.by != "random":
        return written
    longest = sorted(written.items(), key=lambda item: (item[1] is None, item[1] or 0))
    return dict(longest[-select.keep :])


def _proposers(spec: MoASpec) -> list[Member]:
    return [member for layer in spec.layers for member in spec.members(layer)]


def _slot_tokens(spec: MoASpec, slot: str) -> _Length:
    return spec.models[slot].max_tokens


def _prompt(lengths: Sequence[_Length]) -> _Length:
    """Return the tokens that references add to a prompt."""
    if not lengths:
        return 0
    total: _Length = _PROTOCOL_TOKENS
    for length in lengths:
        total = _plus(total, length)
    return total


def _plus(one: _Length, other: _Length) -> _Length:
    return None if one is None or other is None else one + other


def _longest(lengths: Sequence[_Length]) -> _Length:
    known = [length for length in lengths if length is not None]
    return max(known, default=0) if len(known) == len(lengths) else None
