"""The layers of one spec in its raw data, and how a fault says that something is not among them."""

from __future__ import annotations

from collections.abc import Sequence

from moa_graph.spec.document import Path, Place, as_mapping, as_sequence, show
from moa_graph.spec.kinds import ids_of
from moa_graph.spec.parts import Part, raw_proposers
from moa_graph.spec.schema import default_layer_name

__all__ = ["Layers", "fault_at_key", "fault_unknown", "may_stop_after"]


class Layers:
    """Hold the layers of a part, their names, and the ids of who is in each."""

    def __init__(self, part: Part) -> None:
        self.data = [as_mapping(layer) for layer in as_sequence(part.data.get("layers"))]
        self.names = [layer.get("name", default_layer_name(i)) for i, layer in enumerate(self.data)]
        self.ids = [
            [
                id_
                for index, proposer in raw_proposers(layer)
                for id_ in ids_of(part, ("layers", number, "proposers", index), proposer)
            ]
            for number, layer in enumerate(self.data)
        ]


def may_stop_after(
    by: str, unchanged: int, agree: int, widths: Sequence[int], residuals: Sequence[bool]
) -> list[int]:
    """Return after how many layers, but for all of them, there can be what a stop waits for.

    `unchanged` is the number of layers in a row that change nothing, `agree` that of equal answers; for each
    layer there is its width, and whether somebody writes down what it changed.
    """

    def there_can_be(number: int) -> bool:
        match by:
            case "agreement":
                return widths[number - 1] >= agree
            case "no_change":
                return number > unchanged
            case "similarity":
                return number > 1
            case "residual":
                return number > unchanged and all(residuals[number - unchanged : number])
            case _:
                return True

    return [number for number in range(1, len(widths)) if there_can_be(number)]


def fault_at_key(part: Part, path: Path, message: str, expected: str) -> None:
    """Note a fault of a key rather than of its value."""
    part.fault(path, message, expected=expected, at=part.key(path))


def fault_unknown(
    part: Part, path: Path, name: str, kind: str, known: list[str], at: Place | None = None
) -> None:
    """Note that a name is none of those that are known."""
    part.fault(
        path,
        f"there is no {kind} {show(name)}",
        expected="one of " + ", ".join(map(show, known[:20])) if known else "",
        suggestion=part.document.suggest(name, known),
        at=at,
    )
