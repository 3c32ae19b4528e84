"""A mixture as a LangChain tool, which an agent calls when it wants a second opinion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel, Field, SkipValidation
from typing_extensions import Unpack

from moa_graph.errors import MoAError, RunError
from moa_graph.graph import build_graph
from moa_graph.resources import Others
from moa_graph.spec.loading import Source
from moa_graph.terms import TERMS, Terms

__all__ = ["as_tool"]

_DESCRIPTION = (
    "Ask a panel of several models for a second opinion. They answer independently, see each other's "
    "answers, and one of them writes the answer that you get. It is slow and costs many calls: use it for "
    "a hard or important question, not for a simple one."
)


class _Question(BaseModel):
    """Hold what an agent asks the panel."""

    question: str = Field(
        min_length=1,
        description="The whole question with every fact, text and constraint that is needed to answer it: "
        "the panel sees nothing else of this conversation.",
    )


class _SecondOpinion(BaseTool):
    """Run the graph on a question of its own; called inside another graph it is a subgraph of that."""

    args_schema: type[BaseModel] = _Question
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    graph: SkipValidation[CompiledStateGraph[Any, Any, Any, Any]] = Field(exclude=True, repr=False)
    on_failure: Literal["tell", "raise"]
    terms: Terms = Field(default_factory=Terms, exclude=True, repr=False)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run as every tool does; a failed run is told to the agent, if there is one."""
        try:
            return super().run(*args, **kwargs)
        except MoAError as error:
            return self._failed(error, kwargs.get("tool_call_id"))

    async def arun(self, *args: Any, **kwargs: Any) -> Any:
        """Run as every tool does; a failed run is told to the agent, if there is one."""
        try:
            return await super().arun(*args, **kwargs)
        except MoAError as error:
            return self._failed(error, kwargs.get("tool_call_id"))

    def _run(self, question: str) -> tuple[str, dict[str, Any]]:
        return _answer(question, self.graph.invoke(_ask(question), self._config()))

    async def _arun(self, question: str) -> tuple[str, dict[str, Any]]:
        return _answer(question, await self.graph.ainvoke(_ask(question), self._config()))

    def _config(self) -> RunnableConfig:
        return {"configurable": {TERMS: self.terms}}

    def _failed(self, error: MoAError, tool_call_id: str | None) -> ToolMessage:
        # Not LangChain's ToolException: what it is turned into has no artifact, and would lose the proposals.
        if self.on_failure == "raise" or tool_call_id is None:
            raise error
        return ToolMessage(
            _told(error),
            artifact=_lost(error, self.graph.name),
            tool_call_id=tool_call_id,
            name=self.name,
            status="error",
        )


def as_tool(
    spec: Source,
    *,
    name: str = "second_opinion",
    description: str = _DESCRIPTION,
    models: Mapping[str, BaseChatModel] | None = None,
    on_failure: Literal["tell", "raise"] = "tell",
    **others: Unpack[Others],
) -> BaseTool:
    """Make a tool that asks the mixture of a spec one `question` and gives its answer.

    The answer's text is the content; the artifact holds `proposals` (records in spec order) and `summary`
    (who answered, usage, cost, calls). `models` and `others` are what `build_graph` takes.

    A run that fails gives an agent a tool message with status "error" and what was paid for in its artifact.
    With `on_failure="raise"`, and where no tool call asked, MoAError is raised: an agent with a checkpointer
    can then be resumed, and pays for what failed alone.
    """
    graph = build_graph(spec, models=models, **others).compile()
    return _SecondOpinion(name=name, description=description, graph=graph, on_failure=on_failure)


def _ask(question: str) -> dict[str, Any]:
    return {"messages": [("user", question)]}


def _answer(question: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    asked, answer = state["messages"][0], state["messages"][-1]
    if state.get("__interrupt__"):
        raise MoAError(
            "something inside asks for a person (interrupt), and there is nobody to answer",
            hint="Call the tool in an agent with a checkpointer.",
        )
    if asked.text != question:
        # LangGraph numbers the graphs that one node calls in the order in which they start; see the hint.
        raise MoAError(
            "a resumed run was given back to another question than its own",
            hint="Resume again, or let each tool call be a task of its own, as create_agent does.",
        )
    artifact = {
        "proposals": list(state["proposals"].values()),
        "summary": answer.response_metadata["moa"],
    }
    return answer.text, artifact


def _told(error: MoAError) -> str:
    """Say what an agent may read: our own words; what a provider said stays out of its prompt."""
    first = error.message.partition("\n")[0]
    lines = [f"There is no second opinion, the run failed: {type(error).__name__}: {first}", error.hint]
    if isinstance(error, RunError) and error.proposals:
        lines.append("The proposals that were made are in the artifact of this message.")
    return "\n".join(line for line in lines if line)


def _lost(error: MoAError, name: str) -> dict[str, Any]:
    run = error if isinstance(error, RunError) else RunError(error.message)
    return {
        "proposals": [dict(record) for record in run.proposals],
        "summary": {
            "name": name,
            "answered_by": None,
            "usage": run.usage,
            "cost": run.cost,
            "calls": run.calls,
            "error": {"type": type(error).__name__, "message": error.message, "hint": error.hint},
        },
    }
