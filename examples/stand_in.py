"""The model that calls tools in these examples: gpt-4o-mini with a key, a scripted stand-in without one.

Use it to try the examples before you have a key. The stand-in is no LLM and understands nothing: it calls
each tool once with what it finds in the question, and reports the results. The examples import it.
"""

import os
import re
from typing import Any

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool


def model_that_calls_tools() -> BaseChatModel:
    """Return a real model if there is a key for it, else the stand-in, and say so."""
    if os.environ.get("OPENAI_API_KEY"):
        return init_chat_model("openai:gpt-4o-mini")
    print("No OPENAI_API_KEY: a scripted stand-in (no LLM) calls the tools.")
    return StandIn()


class StandIn(BaseChatModel):
    """Call every tool once, then report what they returned. No LLM."""

    @property
    def _llm_type(self) -> str:
        return "stand-in"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """Offer tools, as create_agent does."""
        return self.bind(tools=[convert_to_openai_tool(tool)["function"] for tool in tools], **kwargs)

    def _generate(
        self,
        messages: Any,
        stop: Any = None,  # noqa: ARG002 - part of LangChain's signature
        run_manager: Any = None,  # noqa: ARG002 - likewise
        **kwargs: Any,
    ) -> ChatResult:
        asked = max(i for i, message in enumerate(messages) if isinstance(message, HumanMessage))
        results = [message for message in messages[asked:] if isinstance(message, ToolMessage)]
        todo = kwargs.get("tools", [])[len(results) :]
        if todo:
            answer = AIMessage("", tool_calls=[_call(todo[0], messages[asked].text, len(results))])
        else:
            answer = AIMessage(" ".join(result.text for result in results) or "I have no tools.")
        return ChatResult(generations=[ChatGeneration(message=answer)])


def _call(tool: dict[str, Any], question: str, number: int) -> ToolCall:
    """Fill a tool's parameters: "2 layers" gives layers=2; a text is what is quoted, or the question."""
    arguments: dict[str, Any] = {}
    for name, schema in tool["parameters"]["properties"].items():
        if schema.get("type") in {"integer", "number"}:
            found = re.search(rf"(\d+) {name}", question)
            arguments[name] = int(found[1]) if found else 1
        else:
            quoted = re.search(r'"(.+?)"', question.rpartition("\n\n")[2])
            arguments[name] = quoted[1] if quoted else question
    return ToolCall(name=tool["name"], args=arguments, id=f"call-{number}")
