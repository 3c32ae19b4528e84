"""Numbers about the runs of this process, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from moa_graph.events import Event
from moa_graph.state import Proposal, is_needless

__all__ = ["OTHER", "Metrics"]

OTHER = "other"
"""The label of whatever is none of those that were named at first: no request can make new ones."""
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)


class Metrics:
    """Count and measure; `models` are those that are served.

    Labels are taken from closed sets, never from what requests say.
    """

    def __init__(self, models: Collection[str]) -> None:
        self._models = frozenset(models)
        self._registry = CollectorRegistry()
        self._runs = self._counter("moa_runs", "Runs that ended.", "model", "status")
        self._calls = self._counter("moa_calls", "Calls of models that ended.", "model", "role", "status")
        self._failures = self._counter("moa_failures", "Attempts that failed.", "model", "kind")
        self._tokens = self._counter("moa_tokens", "Tokens of all calls.", "model", "direction")
        self._cost = self._counter("moa_cost_dollars", "USD of calls whose price is known.", "model")
        self._unknown = self._counter("moa_unknown_cost", "Calls whose price is not known.")
        self._requests = self._counter("moa_requests", "HTTP requests.", "path", "status")
        self._run_seconds = self._histogram("moa_run_seconds", "From admission to the end of a run.")
        self._first_seconds = self._histogram(
            "moa_first_token_seconds", "From admission to the first piece of the answer."
        )
        self._in_flight = Gauge("moa_runs_in_flight", "Runs under way.", ["model"], registry=self._registry)
        self._queue = Gauge("moa_queue_length", "Requests that wait for a place.", registry=self._registry)

    def began(self, model: str) -> None:
        """Count a run that is under way."""
        self._in_flight.labels(self._served(model)).inc()

    def heard(self, model: str, event: Event) -> None:
        """Count what an event tells; calls that were restored, and paid earlier, are not to be told."""
        model = self._served(model)
        match event["type"]:
            case "call.retried":
                self._failures.labels(model, event["failure"]["kind"]).inc()
            case "call.finished" | "call.failed":
                self._count(model, event["role"], event["proposal"])
            case "retrieval.failed":
                self._failures.labels(model, "retrieval").inc()

    def ended(
        self, model: str, status: str, seconds: float, first_token_seconds: float | None = None
    ) -> None:
        """Count a run that ended: "answered", "cancelled" or the error's class."""
        model = self._served(model)
        self._in_flight.labels(model).dec()
        self._runs.labels(model, status).inc()
        self._run_seconds.labels(model).observe(seconds)
        if first_token_seconds is not None:
            self._first_seconds.labels(model).observe(first_token_seconds)

    def requested(self, path: str | None, status: int) -> None:
        """Count a request by its route's template, None where there is no such route, and its status."""
        self._requests.labels(path or OTHER, str(status)).inc()

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Read the queue's length whenever somebody looks."""
        self._queue.set_function(length)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)

    def _served(self, model: str) -> str:
        return model if model in self._models else OTHER

    def _count(self, model: str, role: str, proposal: Proposal) -> None:
        if not proposal["attempts"]:
            return  # it was given up before anything was sent
        self._calls.labels(model, role, proposal["status"]).inc()
        if proposal["failure"] is not None and not is_needless(proposal):
            self._failures.labels(model, proposal["failure"]["kind"]).inc()
        if (usage := proposal["usage"]) is not None:
            self._tokens.labels(model, "input").inc(usage["input_tokens"])
            self._tokens.labels(model, "output").inc(usage["output_tokens"])
        if proposal["cost"] is not None:
            self._cost.labels(model).inc(proposal["cost"])
        elif usage is not None:
            self._unknown.inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, ("model",), buckets=_SECONDS, registry=self._registry)
