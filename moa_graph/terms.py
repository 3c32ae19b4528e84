"""On what terms a run takes place: what its caller says beside the conversation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from typing_extensions import TypedDict

from moa_graph.advising import Carried, carried, last_said
from moa_graph.errors import MoAError
from moa_graph.events import Emit
from moa_graph.proposers.relay import Relay
from moa_graph.spec.schema import LimitsSpec, MoASpec
from moa_graph.spec.writing import spec_hash
from moa_graph.state import Proposal
from moa_graph.usage import estimate_tokens

__all__ = [
    "TERMS",
    "Cadence",
    "Terms",
    "given_terms",
    "going_on",
    "going_on_at",
    "lowered",
    "tokens_of",
    "without_terms",
]

Cadence = Literal["user_turn", "every_call"]

TERMS = "moa"
"""The key of `config["configurable"]` that holds a run's terms."""


class Terms(TypedDict, total=False):
    """Say on what terms a run takes place; all may be left out.

    `acting` are arguments of the aggregator's call alone, such as `tools`, `tool_choice`, `stop`. `fan_out`
    overrides the spec's. `limits` lower the spec's, by the names that they have there (`deadline` in seconds,
    `max_cost` in USD, `max_calls`, `max_concurrency`, `max_output_chars`). `relay` gets the answer's tokens,
    `listen` all events instead of LangGraph's custom stream. `paid` are the records of calls of this turn
    that failed earlier: they gave nothing, but count against the limits and in the sums. `made` are those
    that succeeded in the step that comes next, by id, and `answer` is what the aggregator gave, where a
    process ended before its step did.
    """

    acting: Mapping[str, Any]
    fan_out: Cadence
    limits: Mapping[str, float]
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


def lowered(limits: LimitsSpec, given: Mapping[str, float] | None) -> LimitsSpec:
    """Return limits with those that a run's terms set lower; what is higher there changes nothing.

    Raises MoAError for a name that is no limit's, and for what is no number above zero.
    """
    found: dict[str, float] = {}
    for name, value in (given or {}).items():
        if name not in LimitsSpec.model_fields:
            known = ", ".join(LimitsSpec.model_fields)
            raise MoAError(f"there is no limit {str(name)[:80]!r}", hint=f"There are: {known}.")
        whole = name not in _MEASURED
        if not _is_above_zero(value) or (whole and value != math.inf and value != int(value)):
            hint = f"Give a {'whole ' * whole}number above zero."
            raise MoAError(f"the limit {name} cannot be {repr(value)[:80]}", hint=hint)
        own = getattr(limits, name)
        if value < (math.inf if own is None else own):
            found[name] = int(value) if whole else value
    return limits.model_copy(update=found)


_MEASURED = frozenset({"deadline", "max_cost"})
"""Limits that need not be whole numbers."""


def tokens_of(messages: Sequence[BaseMessage], acting: Mapping[str, Any] | None) -> int:
    """Return about how many tokens a conversation puts into a prompt, with what may be acted with."""
    shown = [_json(acting[name]) for name in _SHOWN if acting.get(name)] if acting else []
    return sum(map(estimate_tokens, [*map(_said, messages), *shown]))


_SHOWN = ("tools", "response_format")
"""Arguments of the aggregator's call that providers count among its input."""


def _said(message: BaseMessage) -> str:
    """Return all that a message puts into a prompt: also its calls, and its pictures as they are sent."""
    content = message.content if isinstance(message.content, str) else _json(message.content)
    calls = [*message.tool_calls, *message.invalid_tool_calls] if isinstance(message, AIMessage) else []
    return content + (_json(calls) if calls else "")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_above_zero(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def going_on(
    spec: MoASpec, messages: Sequence[BaseMessage], config: RunnableConfig | None = None
) -> Carried | None:
    """Return what the aggregator goes on with, alone, after tools it called; None: all are to be asked.

    `config` is that of the run where it is not the one that is under way.
    """
    return going_on_at(given_terms(config).get("fan_out") or spec.fan_out, spec, messages)


def going_on_at(cadence: str, spec: MoASpec, messages: Sequence[BaseMessage]) -> Carried | None:
    """Return what `going_on` does, for a run of this `fan_out`."""
    if cadence not in get_args(Cadence):
        raise MoAError(f"there is no fan_out {cadence!r}", hint=f"There are: {', '.join(get_args(Cadence))}.")
    alone = not (spec.layers or spec.retrievers)  # then there is nobody who would be asked again
    if cadence == "every_call" or alone or not isinstance(last_said(messages), ToolMessage):
        return None
    turn = carried(messages, spec_hash(spec))
    return turn if turn is None or turn["references"] or not spec.layers else None
