"""A scripted chat model that can be an agent's: it takes tools and calls them as its script says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from tests.fakes.models import ScriptedChatModel

__all__ = ["ToolCaller"]


class ToolCaller(ScriptedChatModel):
    """Reply as a script says, never in pieces when it has tools; a function may return a message, too."""

    def __init__(self, *script: Any, **options: Any) -> None:
        super().__init__(*script, **{"disable_streaming": "tool_calling", **options})

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Take the tools as they are: the script decides which are called."""
        return self.bind(tools=tools, **kwargs)

    def _reply(self, messages: list[BaseMessage]) -> AIMessage:
        step = self.script[min(len(self._calls), len(self.script) - 1)]
        if callable(step):
            made = step(messages)
            if isinstance(made, AIMessage):
                self._calls.append(list(messages))
                return made
        return super()._reply(messages)

    @staticmethod
    def asking(*questions: str, tool: str = "second_opinion") -> AIMessage:
        """Return a message that calls a tool once for each question."""
        calls = [
            {"name": tool, "args": {"question": question}, "id": f"call-{number}", "type": "tool_call"}
            for number, question in enumerate(questions, 1)
        ]
        return AIMessage("", tool_calls=calls)
