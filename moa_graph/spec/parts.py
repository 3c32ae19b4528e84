"""One spec among others: a whole document, or what stands inside a proposer of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from moa_graph.spec.document import Document, Path, Place, as_mapping, as_sequence
from moa_graph.spec.schema import MoASpec

__all__ = ["Part", "raw_proposers"]


@dataclass
class Part:
    """Hold the raw data of one spec, where it begins in its document, and the specs inside it.

    All paths that it takes and gives begin where it begins. `inside` maps the path of a proposer's `spec`
    to what stands there; `spec` is the finished spec, once it is known to be without faults of structure.
    """

    document: Document
    base: Path
    data: dict[str, Any]
    inside: dict[Path, Part] = field(default_factory=dict)
    spec: MoASpec | None = None

    @property
    def height(self) -> int:
        """Return how many specs stand inside each other here, this one included."""
        return 1 + max((part.height for part in self.inside.values()), default=0)

    def here(self) -> Iterator[Part]:
        """Yield this spec and those inside it that stand in the same document."""
        yield self
        for part in self.inside.values():
            if part.document is self.document:
                yield from part.here()

    def proposers(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield every proposer with its path, short forms written out."""
        for number, layer in enumerate(as_sequence(self.data.get("layers"))):
            for index, proposer in raw_proposers(as_mapping(layer)):
                if proposer is not None:
                    yield ("layers", number, "proposers", index), proposer

    def fault(
        self, path: Path, message: str, *, expected: str = "", suggestion: str = "", at: Place | None = None
    ) -> None:
        """Add a fault to the document."""
        whole = (*self.base, *path)
        self.document.fault(whole, message, expected=expected, suggestion=suggestion, at=at)

    def at(self, path: Path) -> Any:
        """Return the value at a path; None where there is none."""
        value: Any = self.data
        for key in path:
            if isinstance(value, list) and isinstance(key, int):
                value = value[key] if key < len(value) else None
            else:
                value = as_mapping(value).get(str(key))
        return value

    def has_fault(self, path: Path) -> bool:
        """Tell whether exactly this part has a fault already."""
        return self.document.has_fault((*self.base, *path))

    def has(self, path: Path) -> bool:
        """Tell whether a value stands there; a short form has none of its parts."""
        return self.document.has((*self.base, *path))

    def key(self, path: Path) -> Place | None:
        """Return where the key of a value stands."""
        return self.document.keys.get((*self.base, *path))


def raw_proposers(layer: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield a layer's proposers with their places, short forms written out; None for what can be none."""
    for index, proposer in enumerate(as_sequence(layer.get("proposers"))):
        if isinstance(proposer, str):
            yield index, {"model": proposer}
        else:
            yield index, proposer if isinstance(proposer, dict) else None
