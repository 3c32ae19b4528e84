"""See a run as OpenTelemetry spans: the run, its layers, every call, every request to a model.

Use it to find out which proposer was slow, failed or dear, in the tracing system that you have already.
Needs the extra: pip install 'moa-graph[otel]'. Run it: python examples/opentelemetry_tracing.py
"""

from collections.abc import Iterable
from pathlib import Path

from moa_graph import build_graph, load_spec

try:
    from openinference.instrumentation.langchain import LangChainInstrumentor
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
except ImportError as missing:
    raise SystemExit(f"{missing}. Install what this example needs: pip install 'moa-graph[otel]'") from None

ROOT = Path(__file__).parents[1]
LANGGRAPHS_OWN = {"__start__", "enter"}
"""Spans of the way into the graph."""


def main() -> None:
    # Spans stay in memory here. In production: BatchSpanProcessor(OTLPSpanExporter()), to your collector.
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    LangChainInstrumentor().instrument(tracer_provider=provider)

    graph = build_graph(load_spec(ROOT / "graphs" / "quickstart.yaml")).compile()
    document = (ROOT / "examples" / "documents" / "mixture-of-agents.md").read_text(encoding="utf-8")
    question = "What is the largest drawback of a mixture?"
    graph.invoke({"messages": [("user", f"{document}\n\n{question}")]})

    show(exporter.get_finished_spans())


def show(spans: Iterable[ReadableSpan], parent: int | None = None, depth: int = 0) -> None:
    """Print the spans below a parent as a tree, in the order of their start."""
    below = [span for span in spans if (span.parent.span_id if span.parent else None) == parent]
    for span in sorted(below, key=lambda span: span.start_time or 0):
        if span.name in LANGGRAPHS_OWN:
            continue
        attributes = span.attributes or {}
        tokens = attributes.get("llm.token_count.total")
        about = f"  {attributes['llm.model_name']}, {tokens} tokens" if tokens else ""
        error = "" if span.status.is_ok else "  FAILED"
        print(f"{'  ' * depth}{span.name}{about}{error}")
        show(spans, span.context.span_id, depth + 1)


if __name__ == "__main__":
    main()
