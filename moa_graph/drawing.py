"""Pictures of a spec: Mermaid text, SVG and PNG; made here, nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.sax.saxutils import escape

from moa_graph.errors import MoAError
from moa_graph.spec.layering import may_stop_after
from moa_graph.spec.schema import LayerSpec, Member, MoASpec
from moa_graph.spec.words import layer_words, layers_read, manner_words, reduce_words, stop_words

__all__ = ["mermaid", "png", "svg"]


class _Box(NamedTuple):
    """Name who speaks, and as what; or a retriever, and where its passages come from."""

    title: str
    model: str


class _Group(NamedTuple):
    """Hold what stands side by side: the retrievers, a layer, the aggregator with its fallbacks."""

    title: str
    boxes: list[_Box]


def _groups(spec: MoASpec) -> list[_Group]:
    def boxes(members: Sequence[Member]) -> list[_Box]:
        return [_Box(member.id, _kind(spec, member)) for member in members]

    layers = [
        _Group(_layer_title(spec, number, layer), boxes(spec.members(layer)))
        for number, layer in enumerate(spec.layers, 1)
    ]
    sources = [_Box(name, spec.retrievers[name].retriever) for name in spec.retrieve]
    shared = [_Group("retrieve", sources)] if sources else []
    words = reduce_words(spec.aggregator)
    how = manner_words(spec.aggregator.references)
    final = _Group(_title("aggregator", how, words), _final_boxes(spec, boxes(spec.aggregators())))
    return [*shared, *layers, final]


def _final_boxes(spec: MoASpec, asked: Sequence[_Box]) -> list[_Box]:
    """Return the aggregator and its fallbacks; a vote asks nobody."""
    if spec.aggregator.reduce == "vote":
        return [_Box("vote", "no model is asked")]
    first, *fallbacks = asked
    return [first, *(_Box(f"fallback: {box.title}", box.model) for box in fallbacks)]


def _kind(spec: MoASpec, member: Member) -> str:
    """Say what a member is, the tools of an agent, and the retrievers that it alone asks."""
    parts = [spec.requested(member)]
    if member.spec is not None:
        parts.append(f"{member.spec.depth} × {max((layer.width for layer in member.spec.layers), default=0)}")
    if member.tools:
        parts.append(f"tools: {', '.join(member.tools)}")
    if member.retrieve:
        parts.append(f"retrieve: {', '.join(member.retrieve)}")
    return ", ".join(parts)


def _layer_title(spec: MoASpec, number: int, layer: LayerSpec) -> str:
    quorum = f"quorum {layer.quorum}" if layer.quorum > 1 else ""
    stop = spec.stop
    until = ""
    if (
        stop is not None
        and stop.by == "agreement"
        and stop.min_layers <= number
        and layer.width >= (stop.agree or 0)
    ):
        until = f"until {stop.agree} agree"
    return _title(layer.name, quorum, manner_words(layer.references), until, layer_words(layer))


def _title(name: str, *words: str) -> str:
    said = "; ".join(filter(None, words))
    return f"{name} ({said})" if said else name


def _stops(spec: MoASpec) -> list[int]:
    """Return the places among the groups after which the aggregator may come next, and layers be left out.

    From the last layer it comes next in any case.
    """
    stop = spec.stop
    if stop is None:
        return []
    widths = [layer.width for layer in spec.layers]
    residuals = [layer.residual is not None for layer in spec.layers]
    may = may_stop_after(stop.by, stop.layers, stop.agree or 0, widths, residuals)
    most = stop.max_layers or len(widths)  # from there it comes next in any case
    numbers = [n for n in range(stop.min_layers, min(most + 1, len(widths))) if n in may or n == most]
    return [_first_layer(spec) + number - 1 for number in numbers]


def _first_layer(spec: MoASpec) -> int:
    """Return the place of the first layer among the groups."""
    return 1 if spec.retrieve else 0


def _reads(spec: MoASpec) -> dict[int, dict[int, str]]:
    """Return for each group that may see proposals whose it sees, and what of them; all by their places."""
    names = [layer.name for layer in spec.layers]
    first = _first_layer(spec)
    readers = [*(layer.references for layer in spec.layers), spec.aggregator.references]
    return {
        first + number: {
            first + names.index(layer): words
            for layer, words in layers_read(references, names[:number]).items()
        }
        for number, references in enumerate(readers)
        if number
    }


def mermaid(spec: MoASpec) -> str:
    """Return a Mermaid flowchart: a subgraph per layer with its proposers in it, the aggregator last.

    Retrievers whose passages all see stand before the first layer. An arrow leads to a step from each layer
    whose proposals it sees; a dashed one to a step that sees nothing of the step before it, and to the
    aggregator from each layer after which it may be enough.
    """
    lines = ["flowchart TD", "    question([question])"]
    previous, groups, reads = "question", _groups(spec), _reads(spec)
    for number, group in enumerate(groups, 1):
        name = f"layer{number}"
        lines.append(f'    subgraph {name}["{_mermaid_text(group.title)}"]')
        for place, box in enumerate(group.boxes, 1):
            label = f"{_mermaid_text(box.title)}<br/>{_mermaid_text(box.model)}"
            lines.append(f'        {name}_{place}["{label}"]')
        lines.append("    end")
        lines += _mermaid_arrows(previous, name, number - 1, reads.get(number - 1))
        previous = name
    if spec.stop is not None:
        label = _mermaid_text(f"stop: {stop_words(spec.stop)}")
        lines += [f'    layer{place + 1} -. "{label}" .-> layer{len(groups)}' for place in _stops(spec)]
    return "\n".join([*lines, "    answer([answer])", f"    {previous} --> answer", ""])


def _mermaid_arrows(previous: str, name: str, place: int, seen: dict[int, str] | None) -> Iterator[str]:
    """Yield the arrows to a step; `seen` is what it sees of which places, None for what sees no proposals."""
    if seen is None:
        yield f"    {previous} --> {name}"
        return
    if place - 1 not in seen:
        yield f'    {previous} -. "then" .-> {name}'
    for source, words in sorted(seen.items()):
        label = f' -- "{_mermaid_text(words)}"' if words else ""
        yield f"    layer{source + 1}{label} --> {name}"


def _mermaid_text(text: str) -> str:
    """Return text that means nothing to Mermaid: all but letters, digits and harmless signs by its number."""
    return "".join(
        character if character.isalnum() or character in " .,:/_-()" else f"#{ord(character)};"
        for character in text
    )


_BOX_WIDTH, _BOX_HEIGHT, _GAP, _PADDING = 204, 52, 14, 16
_TITLE_HEIGHT, _ARROW, _PILL_WIDTH, _PILL_HEIGHT, _MARGIN = 26, 36, 116, 34, 24
_DETOUR, _TITLE_CHARACTER, _LANE, _OUT, _LINE = 27, 9, 18, 60, 13
_BOXES_PER_ROW = 6
_CHARACTERS = 27
"""As many as fit into a box in the widest of the usual fonts."""

_STYLE = """\
    text { font-family: Inter, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif; }
    text { fill: #1f2937; text-anchor: middle; }
    .group { fill: #f5f7fb; stroke: #c9d2e3; }
    .box { fill: #ffffff; stroke: #5b7bb4; }
    .final { fill: #fff8e8; stroke: #c08a1e; }
    .pill { fill: #2f4a7d; }
    .pill-text { fill: #ffffff; font-size: 13px; }
    .title { text-anchor: start; font-size: 13px; font-weight: 600; fill: #4b5b78; }
    .name { font-size: 13px; font-weight: 600; }
    .model { font-size: 11px; fill: #5f6b80; }
    .arrow, .stop { stroke: #7c8aa5; stroke-width: 1.6; fill: none; marker-end: url(#head); }
    .stop { stroke-dasharray: 5 4; }
    .stop-text, .sight { font-size: 11px; fill: #5f6b80; }
    .sight { paint-order: stroke; stroke: #ffffff; stroke-width: 3px; }"""


def svg(spec: MoASpec) -> str:
    """Return a self-contained SVG: rows of boxes, a frame per layer, arrows from layer to layer.

    On the left an arrow leads to a step from each layer before the last one whose proposals it sees; one that
    sees nothing of the step before has a dashed arrow from there. Arrows say what of them is seen, where that
    is not all. On the right dashed arrows lead to the
    aggregator from each layer after which it may be enough.
    """
    groups, stops, reads = _groups(spec), _stops(spec), _reads(spec)
    farther = {
        place: far
        for place, seen in reads.items()
        if (far := {each: words for each, words in sorted(seen.items()) if each < place - 1})
    }
    left = _LANE * len(farther)
    width = max(_frame(group).width for group in groups) + 2 * _MARGIN + left
    middle, top = (width + left) / 2, float(_MARGIN)
    parts = list(_pill("question", middle, top))
    top += _PILL_HEIGHT
    tops = []
    for place, group in enumerate(groups):
        parts += _arrow(middle, top, reads.get(place, {place - 1: ""}).get(place - 1))
        top += _ARROW
        tops.append(top)
        parts += _drawn(group, middle, top, final=group is groups[-1])
        top += _frame(group).height
    parts += [*_arrow(middle, top, ""), *_pill("answer", middle, top + _ARROW)]
    starts = [(middle - _frame(group).width / 2, y) for group, y in zip(groups, tops, strict=True)]
    for lane, (place, far) in enumerate(farther.items()):
        ways = [(starts[each], words) for each, words in far.items()]
        parts += _lane(ways, starts[place], _MARGIN / 2 + _LANE * lane)
    if spec.stop is not None and stops:
        ends = [(middle + _frame(group).width / 2, y) for group, y in zip(groups, tops, strict=True)]
        lines = f"stop: {stop_words(spec.stop)}".split(", ")
        parts += _detour([ends[place] for place in stops], ends[-1], width, lines)
        width += _DETOUR + _LINE * len(lines)
    height = top + _ARROW + _PILL_HEIGHT + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img">\n'
        f"  <title>{_xml(spec.name)}</title>\n"
        f"  <style>\n{_STYLE}\n  </style>\n"
        '  <defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#7c8aa5"/></marker></defs>\n'
        f'  <rect width="{width:g}" height="{height:g}" fill="#ffffff"/>\n'
    )
    return head + "".join(f"  {part}\n" for part in parts) + "</svg>\n"


def png(spec: MoASpec) -> bytes:
    """Return the SVG as a PNG of twice its size, in the fonts of this machine.

    Raises MoAError when the extra `png` is not installed.
    """
    try:
        import resvg_py  # noqa: PLC0415 -- an extra
    except ImportError as error:
        hint = "Install it with: pip install 'moa-graph[png]'. SVG and Mermaid work without it."
        raise MoAError("PNG pictures need the package resvg_py", hint=hint) from error
    return bytes(resvg_py.svg_to_bytes(svg_string=svg(spec), zoom=2))


@dataclass(frozen=True)
class _Frame:
    """Measure the frame of a group, in pixels."""

    columns: int
    width: int
    height: int


def _frame(group: _Group) -> _Frame:
    columns = min(len(group.boxes), _BOXES_PER_ROW)
    rows = -(-len(group.boxes) // _BOXES_PER_ROW)
    inner_width = max(columns * (_BOX_WIDTH + _GAP) - _GAP, len(_clip_title(group)) * _TITLE_CHARACTER)
    inner_height = rows * (_BOX_HEIGHT + _GAP) - _GAP
    return _Frame(columns, inner_width + 2 * _PADDING, _TITLE_HEIGHT + inner_height + _PADDING)


def _drawn(group: _Group, middle: float, top: float, *, final: bool) -> Iterator[str]:
    frame = _frame(group)
    left = middle - frame.width / 2
    size = f'width="{frame.width}" height="{frame.height}"'
    yield f'<rect class="group" x="{left:g}" y="{top:g}" {size} rx="12"/>'
    yield f'<text class="title" x="{left + _PADDING:g}" y="{top + 18:g}">{_xml(_clip_title(group))}</text>'
    for start in range(0, len(group.boxes), _BOXES_PER_ROW):
        row = group.boxes[start : start + _BOXES_PER_ROW]
        row_width = len(row) * (_BOX_WIDTH + _GAP) - _GAP
        y = top + _TITLE_HEIGHT + (start // _BOXES_PER_ROW) * (_BOX_HEIGHT + _GAP)
        for place, box in enumerate(row):
            style = "final" if final and start + place == 0 else "box"
            yield _box(box, middle - row_width / 2 + place * (_BOX_WIDTH + _GAP), y, style)


def _box(box: _Box, x: float, y: float, style: str) -> str:
    center = x + _BOX_WIDTH / 2
    return (
        f"<g><title>{_xml(box.title)}: {_xml(box.model)}</title>"
        f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="8"/>'
        f'<text class="name" x="{center:g}" y="{y + 22:g}">{_xml(_clip(box.title, 3))}</text>'
        f'<text class="model" x="{center:g}" y="{y + 39:g}">{_xml(_clip(box.model))}</text>'
        "</g>"
    )


def _pill(text: str, middle: float, top: float) -> Iterator[str]:
    left = middle - _PILL_WIDTH / 2
    yield (
        f'<rect class="pill" x="{left:g}" y="{top:g}" width="{_PILL_WIDTH}" height="{_PILL_HEIGHT}" '
        f'rx="{_PILL_HEIGHT / 2:g}"/>'
    )
    yield f'<text class="pill-text" x="{middle:g}" y="{top + 22:g}">{text}</text>'


def _arrow(middle: float, top: float, words: str | None) -> Iterator[str]:
    """Yield an arrow down to a step, and what of the step before it sees; None for nothing."""
    style = ' style="stroke-dasharray: 5 4"' if words is None else ""
    yield f'<path class="arrow" d="M{middle:g} {top + 3:g} V{top + _ARROW - 3:g}"{style}/>'
    if said := "then" if words is None else words:
        place = f'x="{middle + 9:g}" y="{top + _ARROW / 2 + 2:g}" style="text-anchor: start"'
        yield f'<text class="sight" {place}>{_xml(said)}</text>'


_Corner = tuple[float, float]


def _lane(ways: Sequence[tuple[_Corner, str]], end: _Corner, x: float) -> Iterator[str]:
    """Yield lines along the left side from frames to the one at `end`, each with what of theirs is seen.

    `ways` are the upper left corners of the frames from top to bottom, with the words.
    """
    bottom = end[1] + _TITLE_HEIGHT
    joins = [*(top + _OUT for (_, top), _ in ways[1:]), bottom]
    for (left, top), _ in ways:
        yield f'<path class="arrow" d="M{left - 3:g} {top + _OUT:g} H{x:g} V{bottom:g} H{end[0] - 3:g}"/>'
    # Beside the part of the line that is this frame's alone: the next one's joins it below.
    for ((_, top), words), join in zip(ways, joins, strict=True):
        if words:
            yield _turned(words, "sight", x + 12, (top + _OUT + join) / 2, -90)


def _turned(text: str, style: str, x: float, y: float, degrees: int) -> str:
    turn = f'transform="rotate({degrees} {x:g} {y:g})"'
    return f'<text class="{style}" x="{x:g}" y="{y:g}" {turn}>{_xml(text)}</text>'


def _detour(starts: Sequence[_Corner], end: _Corner, x: float, lines: Sequence[str]) -> Iterator[str]:
    """Yield dashed lines along the right side from the frames that begin at `starts` to the one at `end`."""
    down = _TITLE_HEIGHT + _BOX_HEIGHT / 2
    first, *others = starts
    line = f"M{first[0] + 3:g} {first[1] + down:g} H{x:g} V{end[1] + down:g} H{end[0] + 3:g}"
    yield f'<path class="stop" d="{line}"/>'
    for right, top in others:  # joins the first line
        yield f'<path class="stop" d="M{right + 3:g} {top + down:g} H{x:g}" style="marker-end: none"/>'
    y = (starts[0][1] + end[1]) / 2 + down
    yield f"<g><title>{_xml(', '.join(lines))}</title>"
    for number, line in enumerate(reversed(lines)):
        yield _turned(_clip(line, -8), "stop-text", x + 8 + _LINE * number, y, 90)
    yield "</g>"


def _clip_title(group: _Group) -> str:
    return _clip(group.title, -60)


def _clip(text: str, less: int = 0) -> str:
    limit = _CHARACTERS - less  # bold letters are wider
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _xml(text: str) -> str:
    return escape("".join(character if character.isprintable() else "\ufffd" for character in text))
