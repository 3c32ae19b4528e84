"""Faults of a proposer's kind: a model, a runnable or a nested spec, and the keys that go with each."""

from __future__ import annotations

from typing import Any

from moa_graph.spec.document import Path, as_mapping, as_sequence, show
from moa_graph.spec.parts import Part

__all__ = ["check_kind", "check_twice", "ids_of", "samples_of"]

_KINDS = ("model", "runnable", "spec")
_ONE_OF = "one of `model`, `runnable`, `spec`"
_GO_WITH = {
    "tools": "model",
    "max_steps": "tools",
    "price": "runnable",
    "temperature": "model",
    "max_tokens": "model",
}
"""What says nothing without something else."""

_ELSEWHERE = {
    ("price", "model"): "`price` of the slot",
    ("price", "spec"): "`price` of the slots of that spec",
    ("temperature", "spec"): "`temperature` in that spec",
    ("max_tokens", "spec"): "`max_tokens` in that spec",
}


def check_kind(part: Part, path: Path, proposer: dict[str, Any]) -> None:
    """Note that a proposer is nothing or two things, and keys that do not go with what it is."""
    kinds = [kind for kind in _KINDS if proposer.get(kind) is not None]
    if not kinds:
        part.fault((*path, "model"), '"model" is missing', expected=_ONE_OF)
        return
    first, *others = kinds
    for other in others:
        here = (*path, other)
        message = f"`{other}` stands beside `{first}`, and a proposer is one of them"
        part.fault(here, message, expected=_ONE_OF, at=part.key(here))
    for key, owner in _GO_WITH.items():
        here = (*path, key)
        if proposer.get(key) not in (None, []) and proposer.get(owner) in (None, []):
            instead = _ELSEWHERE.get((key, first))
            expected = f"{instead} instead" if instead else f"`{owner}` beside it"
            part.fault(here, f"`{key}` goes with `{owner}` alone", expected=expected, at=part.key(here))
    check_twice(part, (*path, "tools"), proposer.get("tools"))


def check_twice(part: Part, path: Path, names: Any) -> None:
    """Note the names that stand in a list a second time."""
    seen = set()
    for index, name in enumerate(as_sequence(names)):
        if isinstance(name, str):
            if name in seen:
                part.fault((*path, index), f"{show(name)} is in the list already")
            seen.add(name)


def _stem(part: Part, path: Path, proposer: dict[str, Any]) -> str | None:
    """Return a proposer's name in its layer, before samples are numbered; None if it has no usable one."""
    inner = part.inside.get((*path, "spec"))
    names = [proposer.get("id"), proposer.get("model"), proposer.get("runnable")]
    given = next((name for name in names if name), inner.data.get("name") if inner else None)
    return given if isinstance(given, str) else None


def samples_of(proposer: Any) -> int:
    """Return how often raw data of a proposer wants to be asked; 1 where it says no usable number."""
    temperatures = as_sequence(as_mapping(proposer).get("temperature"))
    samples = as_mapping(proposer).get("samples", len(temperatures) or 1)
    return samples if isinstance(samples, int) and 1 <= samples <= 100 else 1


def ids_of(part: Part, path: Path, proposer: dict[str, Any] | None) -> list[str]:
    """Return a proposer's ids in its layer, one for each sample; none if it has no usable name."""
    stem = _stem(part, path, proposer) if proposer else None
    if stem is None:
        return []
    samples = samples_of(proposer)
    return [stem] if samples == 1 else [f"{stem}-{number}" for number in range(1, samples + 1)]
