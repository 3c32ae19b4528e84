"""Structured output: by a tool that has to be called, or by `response_format` as OpenAI's protocol has it."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.base import BaseOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from moa_graph.errors import MoAError

__all__ = ["Method", "with_response_format", "with_tool_call"]

Method = Literal["json_schema", "json_mode"]


def with_response_format(
    model: BaseChatModel,
    schema: dict[str, Any] | type,
    method: Method,
    *,
    include_raw: bool = False,
    strict: bool | None = None,
) -> Runnable[LanguageModelInput, Any]:
    """Return `model` with a response format, and a parser of its answers behind it.

    The parser gives an object of `schema` where that is a pydantic class, a dict otherwise; with
    `include_raw` a dict of `raw`, `parsed` and `parsing_error`. Raises MoAError for an unknown `method`.
    """
    function = convert_to_openai_tool(schema, strict=strict)["function"]
    if method == "json_mode":
        response_format: dict[str, Any] = {"type": "json_object"}
    elif method == "json_schema":
        described = {key: function[key] for key in ("name", "description", "strict") if key in function}
        response_format = {
            "type": "json_schema",
            "json_schema": {**described, "schema": function["parameters"]},
        }
    else:
        raise MoAError(
            f"there is no method {method!r} for structured output",
            hint="There are function_calling, json_schema and json_mode.",
        )
    bound = model.bind(response_format=response_format, ls_structured_output_format=_format(method, schema))
    parser: BaseOutputParser[Any] = JsonOutputParser()
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        parser = PydanticOutputParser(pydantic_object=schema)
    return _parsed(bound, parser, include_raw=include_raw)


def with_tool_call(
    model: BaseChatModel,
    schema: dict[str, Any] | type,
    *,
    include_raw: bool = False,
    strict: bool | None = None,
) -> Runnable[LanguageModelInput, Any]:
    """Return `model` made to call one tool of the form of `schema`, and a parser of the call behind it.

    LangChain's own way, which has no `strict`.
    """
    options: dict[str, Any] = {} if strict is None else {"strict": strict}
    marked = _format("function_calling", schema)
    bound = model.bind_tools([schema], tool_choice="any", ls_structured_output_format=marked, **options)
    parser: BaseOutputParser[Any]
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        parser = PydanticToolsParser(tools=[schema], first_tool_only=True)
    else:
        name = convert_to_openai_tool(schema)["function"]["name"]
        parser = JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
    return _parsed(bound, parser, include_raw=include_raw)


def _format(method: str, schema: dict[str, Any] | type) -> dict[str, Any]:
    """Return what tracers are told of the form."""
    return {"kwargs": {"method": method}, "schema": schema}


def _parsed(
    bound: Runnable[LanguageModelInput, Any], parser: BaseOutputParser[Any], *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    if not include_raw:
        return bound | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")
