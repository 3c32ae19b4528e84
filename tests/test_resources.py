"""What a run needs ready: all that is missing is said at once, with its place and how to mend it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from moa_graph.errors import MoAError, ModelNotReady
from moa_graph.resources import Registered, Resources
from moa_graph.spec.schema import MoASpec
from tests.fakes.acting import ActingChatModel
from tests.fakes.models import ScriptedChatModel


@tool
def search(question: str) -> str:
    """Search."""
    return question


def spec_of(*proposers: Any) -> MoASpec:
    return MoASpec.model_validate(
        {
            "moa": 1,
            "name": "test",
            "models": {"a": {"model": "host:a"}},
            "layers": [{"name": "draft", "proposers": list(proposers)}],
            "aggregator": {"model": "a"},
        }
    )


SPEC = spec_of({"model": "a", "tools": ["search", "sums"]}, {"runnable": "team"})


def test_tools_runnables_and_models_that_nobody_registered_are_said_together() -> None:
    def lacking(where: str, kind: str, name: str) -> str:
        how = f"register one with build_graph(spec, {kind}s={{{name!r}: …}})."
        return f"{where}: no {kind} is registered under the name {name!r}; {how}"

    assert Resources(SPEC, Registered()).problems() == [
        lacking("models.a (host:a)", "model", "a"),
        lacking("draft/a", "tool", "search"),
        lacking("draft/a", "tool", "sums"),
        lacking("draft/team", "runnable", "team"),
    ]


def test_nothing_is_missing_where_all_is_registered() -> None:
    registered = Registered(
        models={"a": ActingChatModel()},
        tools={"search": search, "sums": search},
        runnables={"team": RunnableLambda(str)},
    )
    resources = Resources(SPEC, registered)
    assert resources.problems() == []
    resources.load()
    assert resources.loaded


def test_what_a_spec_inside_lacks_is_said_with_its_place() -> None:
    deeper = spec_of({"runnable": "team"})
    panel = spec_of({"model": "a", "tools": ["search"]}, {"spec": deeper, "id": "deeper", "samples": 2})
    resources = Resources(
        spec_of("a", {"spec": panel, "id": "panel"}), Registered(models={"a": ActingChatModel()})
    )
    problems = [problem.partition("; ")[0] for problem in resources.problems()]
    assert problems == [
        "draft/panel: draft/a: no tool is registered under the name 'search'",
        "draft/panel: draft/deeper-1: draft/team: no runnable is registered under the name 'team'",
    ]
    with pytest.raises(ModelNotReady, match="draft/panel: draft/deeper-1: draft/team: no runnable"):
        resources.load()
    assert not resources.loaded


def test_what_is_inside_is_made_ready_with_the_rest() -> None:
    outer = spec_of({"spec": spec_of("a"), "id": "panel"})
    resources = Resources(outer, Registered(models={"a": ScriptedChatModel()}))
    resources.load()
    assert resources.nested["draft/panel"].loaded


@pytest.mark.parametrize(
    ("kind", "value", "advice"),
    [
        ("models", "openai:gpt-4o", "init_chat_model"),
        ("retrievers", object(), "as_retriever"),
        ("tools", len, "@tool"),
        ("runnables", len, "RunnableLambda"),
    ],
)
def test_an_object_of_the_wrong_kind_is_refused_when_it_is_registered(
    kind: str, value: Any, advice: str
) -> None:
    with pytest.raises(MoAError, match=rf"{kind}\['x'\] is a") as caught:
        Registered(**{kind: {"x": value}})
    assert advice in caught.value.hint


def test_an_agent_needs_a_model_that_can_call_tools() -> None:
    spec = spec_of({"model": "a", "tools": ["search"]})
    registered = Registered(models={"a": ScriptedChatModel()}, tools={"search": search})
    assert Resources(spec, registered).problems() == [
        "draft/a: host:a cannot call tools; choose a model that can."
    ]
