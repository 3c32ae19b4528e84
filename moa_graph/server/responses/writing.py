"""Response objects of OpenAI's API, built from an answer, from an error, or from a turn that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage

from moa_graph import errors
from moa_graph.errors import MoAError, RunError, SpecError
from moa_graph.runs.run import Run
from moa_graph.server.cutting import cut_short
from moa_graph.server.faults import Refused, fault_of
from moa_graph.server.messages import calls_in, reasoning_of
from moa_graph.server.responses.ids import ResponseId
from moa_graph.server.responses.requests import ResponsesRequest

__all__ = [
    "Frame",
    "Json",
    "calls_of",
    "echo_of",
    "output_of",
    "text_part",
    "usage_of",
]

Json = dict[str, Any]

_CUT: Mapping[str, str] = {"truncated": "max_output_tokens", "filtered": "content_filter"}
"""Failures of an aggregator that OpenAI calls an incomplete response, and their names there."""

_GO_ON = "ask again under the same Idempotency-Key, and what was paid for is used"


@dataclass(frozen=True)
class Frame:
    """Hold what of a response is known before there is an answer: its id, its time, what was asked."""

    id: ResponseId
    created: int
    echo: Mapping[str, Any]

    @classmethod
    def of(cls, id_: ResponseId, notes: Mapping[str, Any]) -> Frame:
        """Return the frame that was noted with a turn."""
        return cls(id_, notes["created"], notes["request"])

    def response(
        self,
        status: str,
        output: Sequence[Json] = (),
        *,
        usage: Mapping[str, Any] | None = None,
        error: Json | None = None,
        incomplete: str | None = None,
        moa: Json | None = None,
    ) -> Json:
        """Return the Response as it stands; `moa` is the extension where it is wanted."""
        response: Json = {
            "id": str(self.id),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": error,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "output": list(output),
            "usage": None if usage is None else usage_of(usage),
            **self.echo,
        }
        return response if moa is None else {**response, "moa": moa}

    def completed(self, message: AIMessage, moa: Json | None = None) -> Json:
        """Return the Response with its answer."""
        usage: Any = message.usage_metadata
        return self.response("completed", output_of(self.id, message), usage=usage or _NOTHING, moa=moa)

    def failed(self, error: Exception, output: Sequence[Json] | None = None) -> Json:
        """Return the Response of a run that gave no answer; `output` is what a stream has told of it.

        Where the answer was cut at its token limit, the Response is incomplete, and has what came of it.
        """
        usage = (error.usage or _NOTHING) if isinstance(error, RunError) else None
        if (cut := cut_short(error)) is not None:
            kind, text = cut
            said = [_message(self.id, 0, text, "incomplete")] if text else []
            said = said if output is None else list(output)
            return self.response("incomplete", said, usage=usage, incomplete=_CUT[kind])
        told = {"code": "server_error", "message": fault_of(error).message}
        return self.response("failed", output or (), usage=usage, error=told)

    def standing(self, run: Run, moa: Json | None = None) -> Json:
        """Return the Response of a turn that is kept, as it stands."""
        if run.message is not None:
            return self.completed(run.message, moa)
        if run.status == "failed":
            return self.failed(_error_of(run))
        if run.notes.get("cancelled"):
            return self.response("cancelled", usage=run.usage)
        if run.status == "running":
            return self.response("in_progress")
        if self.echo["background"]:
            return self.response("queued" if run.reason == "queued" else "in_progress")
        told = {"code": "server_error", "message": f"the run was interrupted: {_GO_ON}"}
        return self.response("failed", usage=run.usage, error=told)


def echo_of(request: ResponsesRequest) -> Json:
    """Return what a Response repeats of its request."""
    text = request.text.model_dump(by_alias=True, exclude_none=True) if request.text else {}
    choice = request.tool_choice or "auto"
    return {
        "background": bool(request.background),
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "model": request.model,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "reasoning": {"effort": request.reasoning.effort if request.reasoning else None, "summary": None},
        "service_tier": "default",
        "store": request.kept,
        "temperature": request.temperature,
        "text": {**text, "format": text.get("format", {"type": "text"})},
        "tool_choice": choice if isinstance(choice, str) else choice.model_dump(exclude_none=True),
        "tools": [
            {"description": None, "parameters": None, "strict": None, **tool.model_dump(exclude_none=True)}
            for tool in request.tools or []
        ],
        "top_logprobs": 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "user": request.user,
    }


def output_of(id_: ResponseId, message: AIMessage) -> list[Json]:
    """Return an answer as output items: what was thought, said and called, in this order."""
    output: list[Json] = []
    if reasoning := reasoning_of(message):
        summary = [{"type": "summary_text", "text": reasoning}]
        output.append({"id": id_.of("rs", 0), "type": "reasoning", "summary": summary})
    calls = calls_of(id_, message)
    if (text := str(message.text)) or not calls:
        output.append(_message(id_, 0, text, "completed"))
    return output + calls


def calls_of(id_: ResponseId, message: AIMessage) -> list[Json]:
    """Return the calls of functions."""
    return [
        {
            "id": id_.of("fc", number),
            "type": "function_call",
            "status": "completed",
            "call_id": call_id or id_.of("call", number),
            "name": name,
            "arguments": arguments,
        }
        for number, (call_id, name, arguments) in enumerate(calls_in(message))
    ]


def text_part(text: str) -> Json:
    """Return the content of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def usage_of(usage: Mapping[str, Any]) -> Json:
    """Return the whole run's tokens; cached and reasoned ones are not told apart, and count as none."""
    read, written = usage["input_tokens"], usage["output_tokens"]
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


_NOTHING = {"input_tokens": 0, "output_tokens": 0}


def _message(id_: ResponseId, number: int, text: str, status: str) -> Json:
    return {
        "id": id_.of("msg", number),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [text_part(text)],
    }


def _error_of(run: Run) -> Exception:
    """Return the error that a turn failed with, as its record tells; others than ours are not told."""
    name, _, message = run.reason.partition(": ")
    if name == Refused.__name__:
        return Refused(403, message)
    kind = getattr(errors, name, None) if name in errors.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, MoAError)) or issubclass(kind, SpecError):
        return Exception(message)
    if not issubclass(kind, RunError):
        return kind(message)
    records: list[Any] = [*run.proposals, *run.aides, *run.aggregators]
    return kind(message, proposals=records, usage=run.usage, cost=run.cost, calls=run.calls)
