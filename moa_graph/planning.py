"""All calls that a spec may make, step by step, and how much of earlier texts each is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import cast

from moa_graph.selecting.stopping import asks_judge
from moa_graph.selecting.visibility import Offer, Reader, references_for
from moa_graph.spec.primitives import ReferencesSpec, SelectSpec
from moa_graph.spec.schema import LayerSpec, Member, MoASpec
from moa_graph.state import Proposal

__all__ = ["CHARACTERS_PER_TOKEN", "Call", "Step", "longest_text", "steps"]

CHARACTERS_PER_TOKEN = 4
_PROTOCOL_TOKENS = 150
"""The instruction of the Aggregate-and-Synthesize prompt has some 600 characters; the others are like it."""
_BLOCK_TOKENS = 60
_DELIMITER_TOKENS = 25
"""What stands before references in the user's message, and around each of them there."""

_Length = int | None
"""Tokens at most; None: nobody knows."""
_Lengths = dict[str, _Length]


@dataclass(frozen=True)
class Call:
    """Describe a call: who is asked, and tokens of references at most, None if nobody knows.

    `expected` is false for one that is only made where a selection could not be made.
    """

    id: str
    member: Member
    references: _Length
    expected: bool = True


@dataclass(frozen=True)
class Step:
    """Hold the calls of a step, and who takes over when the aggregator fails, for each call that it makes."""

    name: str
    calls: list[Call]
    fallbacks: list[Member] = field(default_factory=list)


@dataclass
class _Shown:
    """Hold the texts of the layers so far that later ones may see, by layer and proposer.

    `expected` are those that go on when every selection is made. `residual` are tokens of what the last layer
    changed.
    """

    layers: dict[str, _Lengths] = field(default_factory=dict)
    expected: dict[str, _Lengths] = field(default_factory=dict)
    residual: _Length = 0


def steps(spec: MoASpec) -> Iterator[Step]:
    """Yield the layers and the aggregator, as if nothing stopped early and everybody succeeded."""
    shown = _Shown()
    for number, layer in enumerate(spec.layers[: spec.stop.max_layers if spec.stop else None], 1):
        members = spec.members(layer)
        sight = _Sight(spec, layer.name, layer.references, shown)
        calls = sight.summaries([member.id for member in members])
        calls += [Call(f"{layer.name}/{each.id}", each, sight.prompt(each.id)) for each in members]
        written = {member.id: longest_text(member, spec) for member in members}
        before = list(list(shown.layers.values())[-1].values()) if shown.layers else []
        calls += _after(spec, layer, number, written, before)
        shown.residual = _slot_tokens(spec, layer.residual.model) if layer.residual else 0
        shown.layers[layer.name] = _kept(layer.select, written)
        shown.expected[layer.name] = _longest_of(layer.select, written)
        yield Step(layer.name, calls)
    yield _last(spec, shown)


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


def _last(spec: MoASpec, shown: _Shown) -> Step:
    aggregator, writers = spec.aggregator, spec.aggregators()
    sight = _Sight(
        spec, "aggregator", aggregator.references, shown, chooses=aggregator.reduce != "synthesize"
    )
    calls = sight.summaries([None])
    if not writers:
        return Step("aggregator", calls)
    first, *fallbacks = writers
    lengths, expected = sight.lengths(None), len(sight.seen(None, shown.expected))
    if aggregator.reduce != "synthesize":
        if len(lengths) <= 1:  # nobody is asked about one
            return Step("aggregator", calls)
        chooser = Call(f"aggregator/@ranker:{first.id}", first, sight.prompt(None), expected > 1)
        return Step("aggregator", [*calls, chooser], fallbacks)
    size = aggregator.window
    if size is not None and len(lengths) > size:
        window = sight.tokens([_longest([*lengths, longest_text(first, spec)])] * size)
        folds = _folds(len(lengths), size)
        calls += [
            Call(f"aggregator/@window-{number}:{first.id}", first, window, number <= _folds(expected, size))
            for number in range(1, folds + 1)
        ]
        calls.append(Call(f"aggregator/{first.id}", first, window))
        return Step("aggregator", calls, fallbacks * (folds + 1))
    return Step("aggregator", [*calls, Call(f"aggregator/{first.id}", first, sight.prompt(None))], fallbacks)


def _folds(count: int, size: int) -> int:
    """Return how many windows of a size come before the last one."""
    return max(0, -(-(count - size) // (size - 1)))


def _after(
    spec: MoASpec, layer: LayerSpec, number: int, written: _Lengths, before: list[_Length]
) -> Iterator[Call]:
    """Yield the calls about a layer's proposals."""
    select, stop = layer.select, spec.stop
    if select is not None and select.model is not None and len(written) > (select.keep or 1):
        if select.by == "pairwise":
            two = _prompt([_longest(list(written.values()))] * 2, select.instruction, in_user=True)
            for one, other in permutations(written, 2):
                id_ = f"@compare:{one}:{other}"
                yield Call(f"{layer.name}/{id_}", spec.aide(id_, select.model), two)
        else:
            all_ = _prompt(list(written.values()), select.instruction, in_user=True)
            yield Call(f"{layer.name}/@ranker", spec.aide("@ranker", select.model), all_)
    kept = list(_kept(select, written).values())
    if layer.residual is not None:
        member = spec.aide("@residual", layer.residual.model)
        yield Call(
            f"{layer.name}/@residual",
            member,
            _prompt([*before, *kept], layer.residual.instruction, in_user=True),
        )
    if stop is not None and stop.model is not None and asks_judge(stop, number) and number < len(spec.layers):
        prompt = _prompt(kept, stop.instruction, in_user=True)
        yield Call(f"{layer.name}/@judge", spec.aide("@judge", stop.model), prompt)


class _Sight:
    """Tell what the readers of one step may see, and how long that is."""

    def __init__(
        self, spec: MoASpec, step: str, references: ReferencesSpec, shown: _Shown, *, chooses: bool = False
    ) -> None:
        self.spec = spec
        self.step = step
        self.references = references
        self.shown = shown
        self.in_user = chooses or references.placement == "user"

    def seen(self, reader: str | None, layers: dict[str, _Lengths]) -> dict[str, _Length]:
        """Return what a reader sees of some layers: lengths by ids."""
        known = {f"{layer}/{id_}": length for layer, texts in layers.items() for id_, length in texts.items()}
        offer = Offer(list(layers), [_stub(*id_.split("/", 1)) for id_ in known])
        who = Reader(reader, self.step, "")
        return {each["id"]: known[each["id"]] for each in references_for(self.references, offer, who)}

    def summaries(self, readers: Sequence[str | None]) -> list[Call]:
        """Return the calls that sum up what somebody sees."""
        slot = self.references.summarizer
        if self.references.payload != "summary" or slot is None:
            return []
        seen = {id_: length for each in readers for id_, length in self.seen(each, self.shown.layers).items()}
        expected = {id_ for each in readers for id_ in self.seen(each, self.shown.expected)}
        return [
            Call(
                f"{self.step}/{name}",
                self.spec.aide(name, slot),
                _prompt([length], in_user=True),
                id_ in expected,
            )
            for id_, length in seen.items()
            for name in [f"@summary:{id_.replace('/', ':', 1)}"]
        ]

    def lengths(self, reader: str | None) -> list[_Length]:
        """Return how long each text is that a reader sees."""
        lengths = list(self.seen(reader, self.shown.layers).values())
        if self.references.payload == "summary" and self.references.summarizer is not None:
            lengths = [_slot_tokens(self.spec, self.references.summarizer)] * len(lengths)
        if self.references.max_chars is not None:
            most = -(-self.references.max_chars // CHARACTERS_PER_TOKEN)
            lengths = [most if length is None else min(length, most) for length in lengths]
        return lengths

    def prompt(self, reader: str | None) -> _Length:
        """Return the tokens that a reader's references add to its prompt."""
        return self.tokens(self.lengths(reader))

    def tokens(self, lengths: Sequence[_Length]) -> _Length:
        """Return the tokens of references, with what the last layer changed."""
        said = self.references.instruction
        return _plus(_prompt(lengths, said, in_user=self.in_user), self.shown.residual if lengths else 0)


def _stub(layer: str, proposer: str) -> Proposal:
    """Return as much of a record as it takes to tell who sees it."""
    record = {"id": f"{layer}/{proposer}", "layer": layer, "proposer": proposer, "status": "ok", "text": ""}
    return cast("Proposal", record)


def _kept(select: SelectSpec | None, written: _Lengths) -> _Lengths:
    """Return what a selection may let pass, also where it cannot be made."""
    if select is not None and select.on_error == "keep_all" and select.by != "random":
        return written
    return _longest_of(select, written)


def _longest_of(select: SelectSpec | None, written: _Lengths) -> _Lengths:
    """Return what a selection lets pass at most: the longest texts."""
    if select is None or select.keep is None or select.keep >= len(written):
        return written
    longest = sorted(written.items(), key=lambda item: (item[1] is None, item[1] or 0))
    return dict(longest[-select.keep :])


def _proposers(spec: MoASpec) -> list[Member]:
    return [member for layer in spec.layers for member in spec.members(layer)]


def _slot_tokens(spec: MoASpec, slot: str) -> _Length:
    return spec.models[slot].max_tokens


def _prompt(lengths: Sequence[_Length], said: str | None = None, *, in_user: bool = False) -> _Length:
    """Return the tokens that references add to a prompt, with what is said about them."""
    if not lengths:
        return 0
    around = _BLOCK_TOKENS + _DELIMITER_TOKENS * len(lengths) if in_user else 0
    total: _Length = max(_PROTOCOL_TOKENS, -(-len(said or "") // CHARACTERS_PER_TOKEN)) + around
    for length in lengths:
        total = _plus(total, length)
    return total


def _plus(one: _Length, other: _Length) -> _Length:
    return None if one is None or other is None else one + other


def _longest(lengths: Sequence[_Length]) -> _Length:
    known = [length for length in lengths if length is not None]
    return max(known, default=0) if len(known) == len(lengths) else None
