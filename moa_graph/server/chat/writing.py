"""Answers as OpenAI's chat completions: whole, and chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import ToolCallChunk

from moa_graph.errors import RunError
from moa_graph.server.cutting import cut_short
from moa_graph.server.messages import calls_in, reasoning_of
from moa_graph.server.streaming import event

__all__ = ["Chunks", "completion", "cut_answer"]

_LONG = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "recitation", "refusal"})

_CUT = {"truncated": "length", "filtered": "content_filter"}

Delta = dict[str, Any]


def completion(id_: str, model: str, message: AIMessage, moa: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a `chat.completion`; `usage` is the whole run's, `moa` the extension where it is wanted."""
    calls = _whole_calls(message, id_)
    text, reasoning = str(message.text), reasoning_of(message)
    said: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if reasoning:
        said["reasoning_content"] = reasoning
    if calls:
        said["tool_calls"] = calls
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": _finish_reason(message)}
    whole = {
        "id": id_,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": _usage(message),
    }
    return whole if moa is None else {**whole, "moa": moa}


def cut_answer(error: RunError) -> AIMessage | None:
    """Return what there is of an answer that was cut short, with the reason; None for other errors."""
    cut = cut_short(error)
    if cut is None:
        return None
    read, written = error.usage.get("input_tokens", 0), error.usage.get("output_tokens", 0)
    answered_by = error.proposals[-1]["proposer"]
    return AIMessage(
        cut[1],
        response_metadata={
            "finish_reason": _CUT[cut[0]],
            "moa": {"answered_by": answered_by, "cost": error.cost, "calls": error.calls},
        },
        usage_metadata={"input_tokens": read, "output_tokens": written, "total_tokens": read + written},
    )


class Chunks:
    """Write one answer as server-sent events of `chat.completion.chunk`.

    What was not streamed by the end is said whole. With `usage` the last chunk has the whole run's usage.
    """

    def __init__(self, id_: str, model: str, *, usage: bool) -> None:
        self._id, self._usage = id_, usage
        self._base = {
            "id": id_,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        if usage:
            self._base["usage"] = None
        self._calls = _Calls(id_)
        self._said: set[str] = set()

    def beginning(self) -> str:
        """Return the first chunk, which says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def aside(self, line: str) -> str:
        """Return a line about the run as reasoning."""
        return self._chunk({"reasoning_content": f"{line}\n"})

    def piece(self, chunk: AIMessageChunk) -> Iterator[str]:
        """Yield what a piece of the answer gives."""
        if reasoning := reasoning_of(chunk):
            yield self._saying("reasoning_content", reasoning)
        if text := str(chunk.text):
            yield self._saying("content", text)
        if calls := [delta for each in chunk.tool_call_chunks if (delta := self._calls.delta(each))]:
            yield self._saying("tool_calls", calls)

    def ending(self, message: AIMessage, moa: Mapping[str, Any] | None) -> Iterator[str]:
        """Yield the rest of the answer and how it ended; `moa` stands beside that."""
        whole = {
            "reasoning_content": reasoning_of(message),
            "content": str(message.text),
            "tool_calls": [
                {"index": index, **call} for index, call in enumerate(_whole_calls(message, self._id))
            ],
        }
        for name, value in whole.items():
            if value and name not in self._said:
                yield self._chunk({name: value})
        yield self._chunk({}, _finish_reason(message), {} if moa is None else {"moa": moa})
        if self._usage:
            yield event({**self._base, "choices": [], "usage": _usage(message)})

    def _saying(self, name: str, value: object) -> str:
        self._said.add(name)
        return self._chunk({name: value})

    def _chunk(self, delta: Delta, finish: str | None = None, more: Mapping[str, Any] | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**self._base, "choices": [choice], **(more or {})})


class _Calls:
    """Number the calls of tools from 0 in the order in which they begin.

    Providers number blocks of an answer, or every call as 0, or nothing; the id tells calls apart.
    """

    def __init__(self, id_: str) -> None:
        self._unnamed = id_
        self._by_id: dict[str, int] = {}
        self._by_index: dict[object, int] = {}
        self._named: set[int] = set()
        self._count = 0

    def delta(self, chunk: ToolCallChunk) -> Delta | None:
        """Return what a piece of a call adds, None for nothing."""
        id_, index = chunk["id"], chunk["index"]
        number = self._by_id.get(id_) if id_ else self._by_index.get(index)
        if number is None and not id_ and index is None and self._count:
            number = self._count - 1
        function: dict[str, str] = {}
        delta: Delta = {}
        if number is None:
            number, self._count = self._count, self._count + 1
            id_ = id_ or _call_id(self._unnamed, number)
            self._by_id[id_] = number
            delta |= {"id": id_, "type": "function"}
            function["arguments"] = ""
        self._by_index[index] = number
        if chunk["name"] and number not in self._named:
            self._named.add(number)
            function["name"] = chunk["name"]
        if chunk["args"]:
            function["arguments"] = chunk["args"]
        return {"index": number, **delta, "function": function} if function else None


def _call_id(id_: str, number: int) -> str:
    return f"call_{id_.rpartition('-')[2][:16]}_{number}"


def _whole_calls(message: AIMessage, id_: str) -> list[dict[str, Any]]:
    return [
        {
            "id": call_id or _call_id(id_, number),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for number, (call_id, name, arguments) in enumerate(calls_in(message))
    ]


def _finish_reason(message: AIMessage) -> str:
    if message.tool_calls or message.invalid_tool_calls:
        return "tool_calls"
    reason = str(message.response_metadata.get("finish_reason") or "").lower()
    if reason in _LONG:
        return "length"
    return "content_filter" if reason in _FILTERED else "stop"


def _usage(message: AIMessage) -> dict[str, int]:
    usage = message.usage_metadata
    read, written = (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
