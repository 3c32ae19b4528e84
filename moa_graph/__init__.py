"""Mixture-of-Agents as a LangGraph workflow: declarative, checkpointed, steppable, embeddable.

from moa_graph import build_graph, load_spec

graph = build_graph(load_spec("graphs/quickstart.yaml")).compile()
graph.invoke({"messages": [("user", "…")]})["messages"][-1].text
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moa_graph.chat_model import MoAChatModel
    from moa_graph.errors import (
        AggregatorFailed,
        BudgetExceeded,
        DeadlineExceeded,
        Fault,
        MoAError,
        ModelNotReady,
        QuorumNotMet,
        RetrievalFailed,
        RunError,
        SpecError,
        SpecMismatch,
        StoreError,
        ThreadBusy,
        ThreadError,
    )
    from moa_graph.graph import build_graph
    from moa_graph.runs.run import Run
    from moa_graph.runs.threads import Runs
    from moa_graph.spec.loading import dump_spec, json_schema, load_spec, parse_spec
    from moa_graph.spec.schema import MoASpec
    from moa_graph.state import Failure, MoAState, Proposal
    from moa_graph.tool import as_tool

_HOME = {
    "AggregatorFailed": "errors",
    "BudgetExceeded": "errors",
    "DeadlineExceeded": "errors",
    "Failure": "state",
    "Fault": "errors",
    "MoAChatModel": "chat_model",
    "MoAError": "errors",
    "MoASpec": "spec.schema",
    "MoAState": "state",
    "ModelNotReady": "errors",
    "Proposal": "state",
    "QuorumNotMet": "errors",
    "RetrievalFailed": "errors",
    "RunError": "errors",
    "Run": "runs.run",
    "Runs": "runs.threads",
    "SpecError": "errors",
    "SpecMismatch": "errors",
    "StoreError": "errors",
    "ThreadBusy": "errors",
    "ThreadError": "errors",
    "as_tool": "tool",
    "build_graph": "graph",
    "dump_spec": "spec.loading",
    "json_schema": "spec.loading",
    "load_spec": "spec.loading",
    "parse_spec": "spec.loading",
}
"""Where each public name lives; it is imported when first used, so that the command line starts at once."""

__all__ = [
    "AggregatorFailed",
    "BudgetExceeded",
    "DeadlineExceeded",
    "Failure",
    "Fault",
    "MoAChatModel",
    "MoAError",
    "MoASpec",
    "MoAState",
    "ModelNotReady",
    "Proposal",
    "QuorumNotMet",
    "RetrievalFailed",
    "Run",
    "RunError",
    "Runs",
    "SpecError",
    "SpecMismatch",
    "StoreError",
    "ThreadBusy",
    "ThreadError",
    "as_tool",
    "build_graph",
    "dump_spec",
    "json_schema",
    "load_spec",
    "parse_spec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
