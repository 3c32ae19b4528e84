"""Pictures of a spec: Mermaid text, SVG and PNG; made here, nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.sax.saxutils import escape

from moa_graph.errors import MoAError
from moa_graph.spec.schema import LayerSpec, Member, MoASpec

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

    first, *fallbacks = boxes(spec.aggregators())
    final = [first, *(_Box(f"fallback: {box.title}", box.model) for box in fallbacks)]
    layers = [_Group(_layer_title(layer), boxes(spec.members(layer))) for layer in spec.layers]
    sources = [_Box(name, spec.retrievers[name].retriever) for name in spec.retrieve]
    shared = [_Group("retrieve", sources)] if sources else []
    return [*shared, *layers, _Group("aggregator", final)]


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


def _layer_title(layer: LayerSpec) -> str:
    return f"{layer.name} (quorum {layer.quorum})" if layer.quorum > 1 else layer.name


def mermaid(spec: MoASpec) -> str:
    """Return a Mermaid flowchart: a subgraph per layer with its proposers in it, the aggregator last.

    Retrievers whose passages all see stand before the first layer.
    """
    lines = ["flowchart TD", "    question([question])"]
    previous = "question"
    for number, group in enumerate(_groups(spec), 1):
        name = f"layer{number}"
        lines.append(f'    subgraph {name}["{_mermaid_text(group.title)}"]')
        for place, box in enumerate(group.boxes, 1):
            label = f"{_mermaid_text(box.title)}<br/>{_mermaid_text(box.model)}"
            lines.append(f'        {name}_{place}["{label}"]')
        lines += ["    end", f"    {previous} --> {name}"]
        previous = name
    return "\n".join([*lines, "    answer([answer])", f"    {previous} --> answer", ""])


def _mermaid_text(text: str) -> str:
    """Return text that means nothing to Mermaid: all but letters, digits and harmless signs by its number."""
    return "".join(
        character if character.isalnum() or character in " .,:/_-()" else f"#{ord(character)};"
        for character in text
    )


_BOX_WIDTH, _BOX_HEIGHT, _GAP, _PADDING = 204, 52, 14, 16
_TITLE_HEIGHT, _ARROW, _PILL_WIDTH, _PILL_HEIGHT, _MARGIN = 26, 36, 116, 34, 24
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
    .arrow { stroke: #7c8aa5; stroke-width: 1.6; fill: none; marker-end: url(#head); }"""


def svg(spec: MoASpec) -> str:
    """Return a self-contained SVG: rows of boxes, a frame per layer, arrows from layer to layer."""
    groups = _groups(spec)
    width = max(_frame(group).width for group in groups) + 2 * _MARGIN
    middle, top = width / 2, float(_MARGIN)
    parts = list(_pill("question", middle, top))
    top += _PILL_HEIGHT
    for group in groups:
        parts.append(_arrow(middle, top))
        top += _ARROW
        parts += _drawn(group, middle, top, final=group is groups[-1])
        top += _frame(group).height
    parts += [_arrow(middle, top), *_pill("answer", middle, top + _ARROW)]
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
    inner_width = columns * (_BOX_WIDTH + _GAP) - _GAP
    inner_height = rows * (_BOX_HEIGHT + _GAP) - _GAP
    return _Frame(columns, inner_width + 2 * _PADDING, _TITLE_HEIGHT + inner_height + _PADDING)


def _drawn(group: _Group, middle: float, top: float, *, final: bool) -> Iterator[str]:
    frame = _frame(group)
    left = middle - frame.width / 2
    size = f'width="{frame.width}" height="{frame.height}"'
    yield f'<rect class="group" x="{left:g}" y="{top:g}" {size} rx="12"/>'
    yield f'<text class="title" x="{left + _PADDING:g}" y="{top + 18:g}">{_xml(group.title)}</text>'
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


def _arrow(middle: float, top: float) -> str:
    return f'<path class="arrow" d="M{middle:g} {top + 3:g} V{top + _ARROW - 3:g}"/>'


def _clip(text: str, less: int = 0) -> str:
    limit = _CHARACTERS - less  # bold letters are wider
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _xml(text: str) -> str:
    return escape("".join(character if character.isprintable() else "\ufffd" for character in text))
