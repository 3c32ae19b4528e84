"""All calls that a spec may make, step by step, and how much of earlier texts each is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from moa_graph.spec.primitives import ReferencesSpec, SelectSpec
from moa_graph.spec.schema import LayerSpec, Member, MoASpec

__all__ = ["CHARACTERS_PER_TOKEN", "Call", "Step", "longest_text", "steps"]

CHARACTERS_PER_TOKEN = 4
_PROTOCOL_TOKENS = 150
"""The instruction of the Aggregate-and-Synthesize prompt has some 600 characters; the others are like it."""

_Length = int | None
"""Tokens at most; None: nobody knows."""


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
    shown: dict[str, list[_Length]] = {}
    residual: _Length = 0
    for number, layer in enumerate(spec.layers, 1):
        calls, lengths = _sight(spec, layer.name, layer.references, shown)
        seen = _plus(_prompt(lengths), residual if lengths else 0)
        members = spec.members(layer)
        calls += [Call(f"{layer.name}/{member.id}", member, seen) for member in members]
        written = [longest_text(member, spec) for member in members]
        calls += _after(spec, layer, number, written, list(shown.values())[-1] if shown else [])
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


def _last(spec: MoASpec, shown: dict[str, list[_Length]], residual: _Length) -> Step:
    aggregator, writers = spec.aggregator, spec.aggregators()
    calls, lengths = _sight(spec, "aggregator", aggregator.references, shown)
    if not writers:
        return Step("aggregator", calls)
    first, *fallbacks = writers
    size = aggregator.window
    if size is not None and len(lengths) > size:
        folds = -(-(len(lengths) - size) // (size - 1))
        window = _prompt([_longest([*lengths, longest_text(first, spec)])] * size)
        calls += [Call(f"aggregator/@window-{number + 1}", first, window) for number in range(folds)]
        lengths = [_longest([*lengths, longest_text(first, spec)])] * size
    seen = _plus(_prompt(lengths), residual if lengths else 0)
    return Step("aggregator", [*calls, Call(f"aggregator/{first.id}", first, seen)], fallbacks)


def _after(
    spec: MoASpec, layer: LayerSpec, number: int, written: list[_Length], before: list[_Length]
) -> Iterator[Call]:
    """Yield the calls about a layer's proposals."""
    select, stop = layer.select, spec.stop
    if select is not None and select.model is not None and len(written) > (select.keep or 1):
        if select.by == "pairwise":
            pairs = len(written) * (len(written) - 1)
            for pair in range(pairs):
                id_ = f"{layer.name}/@compare:{pair}"
                yield Call(id_, spec.aide("@compare", select.model), _prompt([_longest(written)] * 2))
        else:
            yield Call(f"{layer.name}/@ranker", spec.aide("@ranker", select.model), _prompt(written))
    kept = _kept(select, written)
    if layer.residual is not None:
        member = spec.aide("@residual", layer.residual.model)
        yield Call(f"{layer.name}/@residual", member, _prompt([*before, *kept]))
    if stop is not None and stop.model is not None and stop.min_layers <= number < len(spec.layers):
        yield Call(f"{layer.name}/@judge", spec.aide("@judge", stop.model), _prompt(kept))


def _sight(
    spec: MoASpec, step: str, references: ReferencesSpec, shown: dict[str, list[_Length]]
) -> tuple[list[Call], list[_Length]]:
    """Return the summaries that are written for a step, and the lengths of all that a reader may see."""
    match references.from_:
        case "none":
            seen: list[_Length] = []
        case "all":
            seen = [length for lengths in shown.values() for length in lengths]
        case "previous" | "own":
            seen = list(shown.values())[-1] if shown else []
        case _:
            seen = [length for source in references.sources or [] for length in shown[source.layer]]
    calls: list[Call] = []
    if references.payload == "summary" and references.summarizer is not None:
        member = spec.aide("@summary", references.summarizer)
        calls = [Call(f"{step}/@summary:{i}", member, _prompt([length])) for i, length in enumerate(seen)]
        seen = [longest_text(member, spec) for _ in seen]
    if references.max_chars is not None:
        most = -(-references.max_chars // CHARACTERS_PER_TOKEN)
        seen = [most if length is None else min(length, most) for length in seen]
    return calls, seen[:1] if references.from_ == "own" else seen


def _kept(select: SelectSpec | None, written: list[_Length]) -> list[_Length]:
    """Return the lengths of what a selection may let pass: the longest ones."""
    if select is None or select.keep is None or select.keep >= len(written):
        return written
    if select.on_error == "keep_all" and select.by != "random":
        return written
    return sorted(written, key=lambda length: (length is None, length or 0))[-select.keep :]


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
