"""What is special about a spec, in few words: for pictures and for `moa check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moa_graph.spec.primitives import ReferencesSpec, SelectSpec, StopSpec
from moa_graph.spec.schema import AggregatorSpec, LayerSpec, MoASpec

__all__ = ["layer_words", "layers_read", "manner_words", "reduce_words", "special", "stop_words"]


def special(spec: MoASpec) -> list[str]:
    """Return a line for each step that sees or does something special, and for the stop."""
    names = [layer.name for layer in spec.layers]
    lines = [
        f"{layer.name}: {'; '.join(words)}"
        for number, layer in enumerate(spec.layers)
        if (words := [*_sight_words(layer.references, names[:number]), *filter(None, [layer_words(layer)])])
    ]
    if spec.stop is not None:
        lines.append(f"stop: {stop_words(spec.stop)}")
    final = spec.aggregator
    if words := [*_sight_words(final.references, names), *filter(None, [reduce_words(final)])]:
        lines.append(f"aggregator: {'; '.join(words)}")
    return lines


def _sight_words(references: ReferencesSpec, before: Sequence[str]) -> Iterator[str]:
    """Yield who sees which layers, and how; nothing for what is usual."""
    how = manner_words(references)
    seen = layers_read(references, before)
    if before and (how or seen != {before[-1]: ""}):
        said = [f"{layer} ({words})" if words else layer for layer, words in seen.items()]
        yield f"sees {', '.join(said) or 'no proposals'}"
    if how:
        yield how


def layers_read(references: ReferencesSpec, before: Sequence[str]) -> dict[str, str]:
    """Return the layers whose proposals are seen, each with what of it; "" for all."""
    if references.sources is not None:
        return {
            source.layer: _seen_words(
                references.see if source.see is None else source.see,
                itself=references.self_ if source.self_ is None else source.self_,
            )
            for source in references.sources
        }
    words = _seen_words("own" if references.from_ == "own" else references.see, itself=references.self_)
    match references.from_:
        case "none":
            return {}
        case "all":
            return dict.fromkeys(before, words)
        case _:
            return dict.fromkeys(before[-1:], words)


def _seen_words(see: str | list[list[str]] | dict[str, list[str]], *, itself: bool) -> str:
    if see == "own":
        return "own"
    which = "by lists" if isinstance(see, dict) else "in groups" if isinstance(see, list) else ""
    return ", ".join(filter(None, [which, "" if itself else "not its own"]))


def manner_words(references: ReferencesSpec) -> str:
    """Return how proposals are shown; "" where they are shown as they are, without names."""
    parts = [
        "shuffled" if references.order == "shuffled" else "",
        "" if references.anonymous else "named",
        f"summaries by {references.summarizer}" if references.payload == "summary" else "",
        f"at most {references.max_chars} characters" if references.max_chars else "",
        "own instruction" if references.instruction else "",
    ]
    return "; ".join(filter(None, parts))


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
