"""Spans of OpenTelemetry as trees."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["Span", "trees"]

_LANGGRAPHS_OWN = {"__start__"}
"""What LangGraph does before the first step."""


@dataclass
class Span:
    """Hold a span, with those below it in the order of their start."""

    data: ReadableSpan
    children: list[Span] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def failed(self) -> bool:
        return not self.data.status.is_ok

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self.data.attributes or {})

    @property
    def kind(self) -> str:
        return str(self.attributes["openinference.span.kind"])

    @property
    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = json.loads(self.attributes["metadata"])
        return metadata

    def everything(self) -> Iterator[Span]:
        """Yield this span and all below it."""
        yield self
        for child in self.children:
            yield from child.everything()

    def tree(self) -> Any:
        """Return the names: a text for a leaf, {name: [below, sorted]} for the others."""
        below = sorted((child.tree() for child in self.children), key=str)
        return {self.name: below} if below else self.name

    def named(self, name: str, kind: str = "CHAIN") -> Span:
        """Return the only span of a name and kind in this tree."""
        [span] = [span for span in self.everything() if (span.name, span.kind) == (name, kind)]
        return span


def trees(finished: Sequence[ReadableSpan]) -> list[Span]:
    """Return the roots; every span's parent is there, in the same trace."""
    ordered = sorted(finished, key=lambda span: span.start_time or 0)
    spans = {span.context.span_id: Span(span) for span in ordered}
    assert len(spans) == len(finished)
    roots = []
    for span in spans.values():
        parent = span.data.parent
        if span.name not in _LANGGRAPHS_OWN:
            (spans[parent.span_id].children if parent else roots).append(span)
        assert parent is None or parent.trace_id == span.data.context.trace_id
    return roots
