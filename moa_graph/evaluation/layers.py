"""Put chosen proposers into a spec's text, and leave every other character of it as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from moa_graph.errors import MoAError
from moa_graph.spec.loading import parse_spec
from moa_graph.spec.scalars import read_scalar
from moa_graph.spec.schema import MoASpec, ProposerSpec

__all__ = ["Change", "layer_text", "slots_of", "with_proposers"]

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/+:-]*(?<!:)")
"""Names that YAML reads as they stand, in a list of either form."""


@dataclass(frozen=True)
class Change:
    """Hold the new text of a spec, and the slots of the layer's proposers before and after."""

    text: str
    layer: str
    before: list[str]
    after: list[str]


def slots_of(spec: MoASpec, models: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    """Return the slot of each model: the one that `mapping` says, that of its name, or its only one.

    A slot is a model's own if its `model` is that, with or without the provider. Raises MoAError for models
    without a slot, with several, or mapped to one that the spec lacks, and for two models of one slot.
    """
    slots: list[str] = []
    for model in models:
        slot = mapping.get(model, model)
        if slot not in spec.models and model in mapping:
            raise MoAError(f"the spec has no slot {slot!r}", hint=f"It has: {', '.join(spec.models)}.")
        own = [slot] if slot in spec.models else _own_slots(spec, model)
        if len(own) != 1:
            problem = f"the slots {', '.join(own)} are all" if own else "no slot of the spec is"
            raise MoAError(
                f"{problem} {model}", hint=f"Say which one: --slot '{model}=SLOT', a name under `models`."
            )
        if own[0] in slots:
            raise MoAError(f"{model} and another chosen model are of one slot, {own[0]}")
        slots += own
    return slots


def _own_slots(spec: MoASpec, model: str) -> list[str]:
    return [name for name, slot in spec.models.items() if model in {slot.model, slot.model.partition(":")[2]}]


def layer_text(layer: str, slots: Sequence[str]) -> str:
    """Return a layer of some slots as it is written in a spec."""
    lines = [f"- name: {_scalar(layer)}", "  proposers:", *(f"    - {_scalar(slot)}" for slot in slots)]
    return "\n".join(lines) + "\n"


def with_proposers(text: str, layer: str | None, slots: Sequence[str], *, file: str = "<spec>") -> Change:
    """Return a spec's text with other proposers in a layer, the first one if none is named.

    A proposer whose slot is among `slots` keeps its settings; in a list with a line for each it keeps its
    comments, too, but one above the first of them may be about all and stays where it is. Raises SpecError
    if the text is no spec before or after the change, MoAError if it has no such layer, or one that is
    written in a form that is not edited.
    """
    spec = parse_spec(text, file=file)
    names = [each.name for each in spec.layers]
    if not names or (layer is not None and layer not in names):
        problem = f"{file}: there is no layer {layer!r}" if layer else f"{file}: it has no layers"
        raise MoAError(problem, hint=f"It has: {', '.join(names)}." if names else "Add one with a proposer.")
    place = names.index(layer) if layer else 0
    mark = text[: len(text) - len(text.removeprefix("\ufeff"))]
    body = text.removeprefix("\ufeff")
    node = _value(_value(YAML(typ="rt", pure=True).compose(body), "layers").value[place], "proposers")
    odd = MoAError(f"{file}: the proposers of {names[place]} stand there in a form that is not edited here")
    if re.search(r"\r(?!\n)", body):  # lines that end with it alone
        raise odd
    write = _in_flow if node.flow_style else _in_block
    changed = mark + write(body, node, slots)
    after = parse_spec(changed, file=file)
    wanted = _wanted(spec, place, slots)
    if after.layers[place].proposers != wanted or _rest(after, place) != _rest(spec, place):
        raise odd
    before, now = ([each.stem for each in one.layers[place].proposers] for one in (spec, after))
    return Change(changed, names[place], before, now)


def _wanted(spec: MoASpec, place: int, slots: Sequence[str]) -> list[ProposerSpec]:
    """Return the proposers that a layer shall have: those of a slot as they are, others without settings."""
    there = {each.model: each for each in reversed(spec.layers[place].proposers)}  # the first one of a slot
    return [there.get(slot, ProposerSpec(model=slot)) for slot in slots]


def _rest(spec: MoASpec, place: int) -> dict[str, Any]:
    """Return all of a spec but a layer's proposers."""
    data = spec.model_dump()
    del data["layers"][place]["proposers"]
    return data


def _value(node: Node | None, key: str) -> SequenceNode:
    """Return what stands under a key of a mapping; it is there, since the spec is valid."""
    assert isinstance(node, MappingNode)  # noqa: S101 -- tells the type checker what the spec's check ensures
    found: SequenceNode = next(value for name, value in node.value if name.value == key)
    return found


def _kept(text: str, node: SequenceNode, slots: Sequence[str]) -> list[int | str]:
    """Return for each slot the place of the proposer that has it already, else its text."""
    places: dict[str, int] = {}
    for place, item in enumerate(node.value):
        name = item.value if isinstance(item, ScalarNode) else _model_of(item)
        places.setdefault(name, place)
    quote = json.dumps if text.lstrip().startswith("{") else _scalar  # JSON stays JSON
    return [places.get(slot, quote(slot)) for slot in slots]


def _model_of(item: Node) -> str:
    return next((value.value for name, value in item.value if name.value == "model"), "")


def _in_flow(text: str, node: SequenceNode, slots: Sequence[str]) -> str:
    """Write `[a, b]`."""
    parts = [
        part if isinstance(part, str) else text[_span(node.value[part])] for part in _kept(text, node, slots)
    ]
    return f"{text[: node.start_mark.index]}[{', '.join(parts)}]{text[node.end_mark.index :]}"


def _in_block(text: str, node: SequenceNode, slots: Sequence[str]) -> str:
    """Write one line for each new proposer; the lines of one that stays are moved, those of others go."""
    begin = text.rindex("\n", 0, node.start_mark.index) + 1
    ends = [text.find("\n", _end(text, item)) + 1 or len(text) for item in node.value]
    spans = [slice(*span) for span in pairwise([begin, *ends])]
    line_end = "\r\n" if "\r\n" in text else "\n"
    parts = [
        f"{' ' * node.start_mark.column}- {part}" if isinstance(part, str) else text[spans[part]]
        for part in _kept(text, node, slots)
    ]
    whole = "".join(part if part.endswith("\n") else part + line_end for part in parts)
    return text[:begin] + whole + text[ends[-1] :]


def _span(node: Node) -> slice:
    return slice(node.start_mark.index, node.end_mark.index)


def _end(text: str, node: Node) -> int:
    """Return where a node's last character is: the end of a block lies beyond the lines after it."""
    if not isinstance(node, CollectionNode) or node.flow_style:
        return len(text[: node.end_mark.index].rstrip())
    children = [child for entry in node.value for child in (entry if isinstance(entry, tuple) else (entry,))]
    return max(_end(text, child) for child in children)


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and isinstance(read_scalar(text), str) else json.dumps(text)
