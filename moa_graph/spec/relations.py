"""Faults of selection, stopping and reducing: which keys go together, and whether they can mean anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moa_graph.spec.document import Path, as_mapping
from moa_graph.spec.extracting import check_extract
from moa_graph.spec.layering import Layers, fault_at_key, fault_unknown, may_stop_after
from moa_graph.spec.parts import Part
from moa_graph.spec.referring import check_references

__all__ = ["check_primitives"]

_Ways = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""What each way needs, and what else it takes."""

_SELECT: _Ways = {
    "rank": (("keep", "model"), ("instruction", "on_error")),
    "pairwise": (("keep", "model"), ("instruction", "on_error")),
    "diversity": (("keep",), ("embeddings", "on_error")),
    "cluster": ((), ("keep", "embeddings", "on_error")),
    "vote": (("extract",), ("keep", "on_error")),
    "random": (("keep",), ("seed",)),
}
_STOP: _Ways = {
    "agreement": (("agree", "extract"), ()),
    "no_change": (("extract",), ("layers",)),
    "similarity": (("threshold",), ()),
    "residual": ((), ("layers",)),
    "judge": (("model",), ("instruction",)),
}
_REDUCE: _Ways = {
    "synthesize": (("model",), ("window", "citations")),
    "pick": (("model",), ("on_error",)),
    "vote": (("extract",), ("weights", "on_error")),
    "consistency": (("model",), ("on_error",)),
}
_REDUCING = frozenset({"extract", "weights", "window", "on_error", "citations"})
_OF_A_MODEL = frozenset(
    {"model", "fallbacks", "system", "temperature", "max_tokens", "timeout", "attempts", "retrieve"}
)
_OF_A_READER = ("placement", "instruction", "payload", "max_chars")
_EXAMPLES = {
    "keep": "how many go on, such as 2",
    "model": "a slot: who is asked",
    "extract": "how an answer is read, such as number",
    "agree": "how many equal answers are enough, such as 2",
    "threshold": "a number from 0 to 1",
}
_WIDEST_PAIRWISE = 32
"""Each proposer meets each other one in both places: 992 comparisons."""
_LAYERS_NEEDED = {"agreement": 1, "no_change": 3, "similarity": 3, "residual": 3, "judge": 2}
"""After the last layer the aggregator comes in any case, and some of these compare with the layer before."""


def check_primitives(part: Part) -> None:
    """Note every fault between the keys that say who sees what, what goes on, and when it is enough."""
    layers = Layers(part)
    for number, layer in enumerate(layers.data):
        check_references(part, layers, ("layers", number), layer, number)
        _check_layer(part, layers, number, layer)
    stop = part.data.get("stop")
    if isinstance(stop, dict):
        _check_stop(part, layers, stop)
    aggregator = part.data.get("aggregator")
    if isinstance(aggregator, dict):
        check_references(part, layers, ("aggregator",), aggregator, len(layers.data))
        _check_reduce(part, layers, aggregator)


def _check_layer(part: Part, layers: Layers, number: int, layer: dict[str, Any]) -> None:
    path: Path = ("layers", number)
    select = layer.get("select")
    if isinstance(select, dict):
        here = (*path, "select")
        _check_ways(part, here, select, _SELECT)
        keep, width = select.get("keep"), len(layers.ids[number])
        if isinstance(keep, int) and 0 < width < keep:
            part.fault((*here, "keep"), f"{keep} of a layer of {width}", expected=f"at most {width}")
        if select.get("by") == "pairwise" and width > _WIDEST_PAIRWISE:
            message = f"`by: pairwise` takes {width * (width - 1)} comparisons in a layer of {width}"
            expected = f"at most {_WIDEST_PAIRWISE} proposers, or `by: rank`"
            part.fault((*here, "by"), message, expected=expected)
    if number == 0 and layer.get("residual") is not None:
        fault_at_key(part, (*path, "residual"), "the first layer has changed nothing", "a later layer")


def _check_ways(part: Part, path: Path, data: dict[str, Any], ways: _Ways) -> None:
    """Note what `by` needs and lacks, and what says nothing beside it."""
    _check_extract(part, path, data)
    way = data.get("by")
    if not isinstance(way, str) or way not in ways:
        return
    needed, taken = ways[way]
    for key in needed:
        if data.get(key) is None:
            message = f"`by: {way}` needs `{key}`"
            part.fault((*path, key), message, expected=_EXAMPLES[key], at=part.key((*path, "by")))
    known = {key for keys in ways.values() for key in (*keys[0], *keys[1])}
    for key, value in data.items():
        if value is not None and key in known.difference(needed, taken):
            fault_at_key(
                part, (*path, key), f"`{key}` says nothing beside `by: {way}`", _elsewhere(key, "by", ways)
            )


def _elsewhere(key: str, word: str, ways: _Ways) -> str:
    owners = " | ".join(way for way, (needed, taken) in ways.items() if key in (*needed, *taken))
    return f"it with `{word}: {owners}`, or not at all"


def _check_extract(part: Part, path: Path, data: dict[str, Any]) -> None:
    if data.get("extract") is not None:
        check_extract(part, (*path, "extract"), data["extract"])


def _check_stop(part: Part, layers: Layers, stop: dict[str, Any]) -> None:
    _check_ways(part, ("stop",), stop, _STOP)
    count = len(layers.data)
    if not count:
        fault_at_key(part, ("stop",), "there is no layer to stop after", "layers")
        return
    least, most = stop.get("min_layers", 1), stop.get("max_layers")
    for key in ("min_layers", "max_layers"):
        if isinstance(stop.get(key), int) and stop[key] > count:
            message = f"there {'is 1 layer' if count == 1 else f'are {count} layers'}"
            part.fault(("stop", key), message, expected=f"at most {count}")
    if isinstance(least, int) and isinstance(most, int) and most < least:
        part.fault(("stop", "max_layers"), "less than `min_layers`", expected=f"at least {least}")
    if stop.get("by") == "residual" and not any(layer.get("residual") for layer in layers.data):
        part.fault(
            ("stop", "by"), "no layer has a `residual` that could be empty", expected="`residual` in a layer"
        )
    widest = max(map(len, layers.ids))
    agree = stop.get("agree")
    if isinstance(agree, int) and widest and agree > widest:
        message = f"the widest layer has {widest} proposer{'s' * (widest != 1)}"
        part.fault(("stop", "agree"), message, expected=f"at most {widest}")
    elif isinstance(least, int) and least <= count and (most is None or most == count):
        _check_effect(part, layers, stop, least)


def _check_effect(part: Part, layers: Layers, stop: dict[str, Any], least: int) -> None:
    """Note a stop that never comes, whatever the layers say."""
    way, unchanged, agree = stop.get("by"), stop.get("layers", 1), stop.get("agree", 2)
    count, widths = len(layers.data), [len(ids) for ids in layers.ids]
    if not isinstance(way, str) or way not in _LAYERS_NEEDED or not isinstance(unchanged, int):
        return
    needed = _LAYERS_NEEDED[way] + (unchanged - 1 if "layers" in _STOP[way][1] else 0)
    if count < needed:
        message = f"`by: {way}` can leave out no layer of {count}"
        part.fault(("stop", "by"), message, expected=f"at least {needed} layers")
        return
    residuals = [bool(layer.get("residual")) for layer in layers.data]
    if not all(widths) or not isinstance(agree, int) or (way == "residual" and not any(residuals)):
        return  # these have faults of their own
    may = may_stop_after(way, unchanged, agree, widths, residuals)
    if any(number >= least for number in may) or (way == "agreement" and agree < widths[-1]):
        return
    if way == "residual" and not may:
        where = (
            f"no {unchanged} layers in a row before the last have"
            if unchanged > 1
            else "no layer but the last has"
        )
        part.fault(("stop", "by"), f"{where} a `residual`", expected="`residual` before the last layer")
    elif way == "agreement":
        message = f"{agree} equal answers can leave out no layer and nobody in one"
        part.fault(("stop", "agree"), message, expected=_fewer(widths, least))
    else:
        message = f"`by: {way}` can leave out no layer from then on"
        part.fault(("stop", "min_layers"), message, expected=f"at most {max(may)}")


def _fewer(widths: list[int], least: int) -> str:
    most = max([*widths[least - 1 : -1], widths[-1] - 1])
    return f"at most {most}" if most >= 2 else "a lower `min_layers`"


def _check_reduce(part: Part, layers: Layers, aggregator: dict[str, Any]) -> None:
    way = aggregator.get("reduce", "synthesize")
    if not isinstance(way, str) or way not in _REDUCE:
        return
    path: Path = ("aggregator",)
    if aggregator.get("model") is None and way != "vote":
        part.fault((*path, "model"), '"model" is missing', expected="a slot: who writes the answer")
    if way != "synthesize" and not layers.data:
        fault_at_key(part, (*path, "reduce"), "there are no proposals to take one of", "layers")
    if way != "synthesize":
        _check_choosing(part, way, as_mapping(aggregator.get("references")))
    for key, value in aggregator.items():
        there = value not in (None, [], {}, "none") or key == "on_error"
        if there and key in _REDUCING.difference(*_REDUCE[way]):
            message = f"`{key}` says nothing beside `reduce: {way}`"
            fault_at_key(part, (*path, key), message, _elsewhere(key, "reduce", _REDUCE))
    _check_extract(part, path, aggregator)
    if way == "vote":
        _check_vote(part, layers, aggregator)


def _check_choosing(part: Part, way: str, references: dict[str, Any]) -> None:
    """Note references among which nothing can be chosen, and a place where no chooser sees them."""
    path: Path = ("aggregator", "references")
    if references.get("from") == "none":
        message = f"`reduce: {way}` takes one of the proposals that it sees"
        part.fault((*path, "from"), message, expected="previous, all, or a list of layers")
    if way != "vote" and references.get("placement") == "system":
        message = f"`reduce: {way}` shows the proposals in the user's message"
        part.fault((*path, "placement"), message, expected="user, or no `placement`")


def _check_vote(part: Part, layers: Layers, aggregator: dict[str, Any]) -> None:
    """Note what a vote lacks, and what is said to a model that is not asked."""
    path: Path = ("aggregator",)
    if aggregator.get("extract") is None:
        message, at = "`reduce: vote` needs `extract`", part.key((*path, "reduce"))
        part.fault((*path, "extract"), message, expected=_EXAMPLES["extract"], at=at)
    for key, value in aggregator.items():
        if key in _OF_A_MODEL and value not in (None, []):
            message = f"`{key}` says nothing beside `reduce: vote`: nobody is asked"
            fault_at_key(part, (*path, key), message, "no model")
    for key, value in as_mapping(aggregator.get("references")).items():
        if key in _OF_A_READER and value is not None:
            message = f"`{key}` says nothing beside `reduce: vote`: nobody reads it"
            fault_at_key(part, (*path, "references", key), message, f"no `{key}`")
    known = sorted({id_ for ids in layers.ids for id_ in ids})
    for id_ in as_mapping(aggregator.get("weights")):
        if id_ not in known:
            here = (*path, "weights", id_)
            fault_unknown(part, here, id_, "proposer", known, at=part.key(here))
