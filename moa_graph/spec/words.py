"""What is special about a spec, in few words: for pictures and for `moa check`."""

from __future__ import annotations

from collections.abc import Iterator

from moa_graph.spec.primitives import SelectSpec, StopSpec
from moa_graph.spec.schema import AggregatorSpec, LayerSpec, MoASpec

__all__ = ["layer_words", "reduce_words", "special", "stop_words"]


def special(spec: MoASpec) -> list[str]:
    """Return a line for each layer that selects or compares, for the stop, and for the reduce step."""
    lines = [f"{layer.name}: {words}" for layer in spec.layers if (words := layer_words(layer))]
    if spec.stop is not None:
        lines.append(f"stop: {stop_words(spec.stop)}")
    if words := reduce_words(spec.aggregator):
        lines.append(f"aggregator: {words}")
    return lines


def layer_words(layer: LayerSpec) -> str:
    """Return what becomes of a layer's proposals; "" where all of them simply go on."""
    parts = [] if layer.concurrency is None else [f"{layer.concurrency} at once"]
    if layer.select is not None:
        parts.append(_select_words(layer.select))
    if layer.residual is not None:
        parts.append(f"residual by {layer.residual.model}")
    return "; ".join(parts)


def _select_words(select: SelectSpec) -> str:
    parts = [f"select {select.by}"]
    if select.extract is not None:
        parts.append(f"extract {select.extract.by}")
    if select.keep is not None:
        parts.append(f"keep {select.keep}")
    if select.model is not None:
        parts.append(f"asks {select.model}")
    if select.embeddings is not None:
        parts.append(f"embeddings {select.embeddings}")
    return ", ".join(parts)


def stop_words(stop: StopSpec) -> str:
    """Return when the layers that are left are not needed."""
    return ", ".join([_enough(stop), *_bounds(stop)])


def _enough(stop: StopSpec) -> str:
    match stop.by:
        case "agreement":
            return f"{stop.agree} proposals agree"
        case "no_change":
            return f"no change for {stop.layers} layer{'s' * (stop.layers != 1)}"
        case "similarity":
            return f"similarity {stop.threshold:g} or more"
        case "residual":
            return f"no residual for {stop.layers} layer{'s' * (stop.layers != 1)}"
        case "judge":
            return f"judge {stop.model}"


def _bounds(stop: StopSpec) -> Iterator[str]:
    if stop.min_layers > 1:
        yield f"at least {stop.min_layers} layers"
    if stop.max_layers is not None:
        yield f"at most {stop.max_layers} layer{'s' * (stop.max_layers != 1)}"


def reduce_words(aggregator: AggregatorSpec) -> str:
    """Return how the answer comes from the proposals; "" where one model writes it from all of them."""
    if aggregator.window is not None:
        return f"window {aggregator.window}"
    if aggregator.reduce == "synthesize":
        return ""
    read = f", extract {aggregator.extract.by}" if aggregator.extract is not None else ""
    return f"reduce {aggregator.reduce}{read}"
