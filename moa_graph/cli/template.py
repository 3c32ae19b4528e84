"""The text of a first spec, with comments for its reader."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from moa_graph.errors import SpecError
from moa_graph.spec.loading import parse_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moa_graph.cli.providers import Wish

__all__ = ["slot_fault", "spec_text"]

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*(:[A-Za-z0-9._/-]+)*")
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_SAMPLES = 3
_ATTEMPTS = 3


def spec_text(wish: Wish, *, name: str) -> str:
    """Return a spec as YAML; raise SpecError if what was wished for makes no valid one."""
    text = (
        "\n".join([*_head(wish, name), *_models(wish), *_limits(wish), *_layers(wish), *_aggregator(wish)])
        + "\n"
    )
    parse_spec(text, file="<new spec>")
    return text


def slot_fault(key: str, value: str) -> str:
    """Return what is wrong with the value of a slot's key, such as `base_url`; "" if nothing is."""
    slot = {"model": "openai:m", "base_url": "http://localhost/v1", "api_key_env": "none", key: value}
    document = {"moa": 1, "name": "trial", "models": {"m": slot}, "aggregator": {"model": "m"}}
    try:
        parse_spec(json.dumps(document))
    except SpecError as error:
        return error.faults[0].message
    return ""


def _head(wish: Wish, name: str) -> Iterator[str]:
    yield "# A Mixture-of-Agents: the proposers of a layer answer in parallel, each sees what the layer"
    yield "# before wrote, and the aggregator writes one answer from the last layer's proposals."
    yield "# Try it: moa check FILE, then: moa run FILE 'Your question'"
    yield "moa: 1"
    yield f"name: {_scalar(_slots([name])[0])}"
    yield f"description: {_scalar(f'A first mixture, served by {wish.provider.name}.')}"
    yield ""


def _models(wish: Wish) -> Iterator[str]:
    yield "models:  # slots; the layers refer to them by name"
    for slot, model in zip(_slots(wish.models), wish.models, strict=True):
        yield f"  {_scalar(slot)}:"
        yield f"    model: {_scalar(f'openai:{model}')}"
        if wish.base_url is not None:
            yield f"    base_url: {_scalar(wish.base_url)}"
        yield f"    api_key_env: {_scalar(wish.key_env)}{_key_comment(wish)}"
        yield "    # price: {input: 0.00, output: 0.00}  # USD per million tokens; unknown without it"
    yield ""


def _key_comment(wish: Wish) -> str:
    return "" if wish.key_env == "none" else "  # the NAME of a variable, never the key itself"


def _limits(wish: Wish) -> Iterator[str]:
    width = max(len(wish.models), _SAMPLES)
    most = (wish.layers * width + 2) * _ATTEMPTS
    yield f"defaults: {{timeout: 60s, attempts: {_ATTEMPTS}}}  # of each call"
    yield f"limits: {{deadline: 5m, max_calls: {most}}}  # of a whole run"
    yield ""


def _layers(wish: Wish) -> Iterator[str]:
    if not wish.layers:
        yield "layers: []  # none: the aggregator answers alone"
        return
    slots = _slots(wish.models)
    yield "layers:"
    for number in range(1, wish.layers + 1):
        yield f"  - name: layer-{number}"
        yield "    proposers:"
        if len(slots) == 1:  # one model, sampled several times, is Self-MoA
            yield f"      - {{model: {_scalar(slots[0])}, samples: {_SAMPLES}}}"
        else:
            yield from (f"      - {_scalar(slot)}" for slot in slots)


def _aggregator(wish: Wish) -> Iterator[str]:
    first, *others = _slots(wish.models)
    yield ""
    yield "aggregator:"
    yield f"  model: {_scalar(first)}"
    if others:
        yield f"  fallbacks: [{_scalar(others[0])}]  # takes over when the aggregator fails"


def _slots(names: Sequence[str]) -> list[str]:
    """Return a slot's name for each model, unique and in the spec's alphabet."""
    slots: list[str] = []
    for name in names:
        tail = name.rpartition("/")[2].lower()
        stem = re.sub(r"[^a-z0-9._-]+", "-", tail).strip("-._")[:48] or "model"
        slot, number = stem, 2
        while slot in slots:
            slot, number = f"{stem}-{number}", number + 1
        slots.append(slot)
    return slots


def _scalar(text: str) -> str:
    """Return text as a YAML scalar; whatever is not harmless is quoted."""
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    # Not JSON's own escapes beyond U+FFFF: to YAML they are two lone surrogates.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in quoted)
