"""On what terms a run takes place: what its caller says beside the conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from typing_extensions import TypedDict

from moa_graph.advising import Carried, carried
from moa_graph.errors import MoAError
from moa_graph.events import Emit
from moa_graph.proposers.relay import Relay
from moa_graph.spec.schema import MoASpec
from moa_graph.spec.writing import spec_hash
from moa_graph.state import Proposal

__all__ = ["TERMS", "Cadence", "Terms", "given_terms", "going_on", "without_terms"]

Cadence = Literal["user_turn", "every_call"]

TERMS = "moa"
"""The key of `config["configurable"]` that holds a run's terms."""


class Terms(TypedDict, total=False):
    """Say on what terms a run takes place; all may be left out.

    `acting` are arguments of the aggregator's call alone, such as `tools`, `tool_choice`, `stop`. `fan_out`
    overrides the spec's. `relay` gets the answer's tokens, `listen` all events instead of LangGraph's custom
    stream. `paid` are the records of calls of this turn that failed earlier: they gave nothing, but count
    against the limits and in the sums. `made` are those that succeeded in the step that comes next,
    by id, and `answer` is what the aggregator gave, where a process ended before its step did.
    """

    acting: Mapping[str, Any]
    fan_out: Cadence
    relay: Relay
    listen: Emit
    paid: Sequence[Proposal]
    made: Mapping[str, Proposal]
    answer: Any


def given_terms(config: RunnableConfig | None = None) -> Terms:
    """Return the terms of the run that is under way, or that a config is of."""
    config = get_config() if config is None else config
    return cast("Terms", config.get("configurable", {}).get(TERMS) or {})


def without_terms(config: RunnableConfig) -> RunnableConfig:
    """Return a config for something inside a run: the run's terms are not its own."""
    # Not taken out but overwritten, because LangGraph merges this into what surrounds the call.
    return {**config, "configurable": {**config.get("configurable", {}), TERMS: None}}


def going_on(
    spec: MoASpec, messages: Sequence[BaseMessage], config: RunnableConfig | None = None
) -> Carried | None:
    """Return what the aggregator goes on with, alone, after tools it called; None: all are to be asked.

    `config` is that of the run where it is not the one that is under way.
    """
    cadence = given_terms(config).get("fan_out") or spec.fan_out
    if cadence not in get_args(Cadence):
        raise MoAError(f"there is no fan_out {cadence!r}", hint=f"There are: {', '.join(get_args(Cadence))}.")
    alone = not (spec.layers or spec.retrievers)  # then there is nobody who would be asked again
    if cadence == "every_call" or alone or not messages or not isinstance(messages[-1], ToolMessage):
        return None
    turn = carried(messages, spec_hash(spec))
    return turn if turn is None or turn["references"] or not spec.layers else None
