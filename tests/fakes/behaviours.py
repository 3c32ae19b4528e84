"""What the fake server answers: one function per behaviour, chosen by the model's name of a request.

A model's name is `behaviour` or `behaviour@anything`: `ok@a` and `ok@b` are two models that behave alike.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

__all__ = ["BEHAVIOURS", "Call", "Reply", "behave", "digest", "text_of"]

CREATED = 1_700_000_000
JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"


class Rendezvous(Protocol):
    """What a reply may wait for: a test that opens a gate, or other requests."""

    def gate(self, model: str) -> Awaitable[Any]: ...
    def meeting(self, name: str, size: int) -> Awaitable[Any]: ...
    def never(self) -> Awaitable[Any]: ...


@dataclass(slots=True)
class Call:
    """One request as a behaviour sees it; `number` counts the requests of this model from 1."""

    model: str
    body: dict[str, Any]
    number: int
    rendezvous: Rendezvous
    origin: str = ""

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))


@dataclass(slots=True)
class Reply:
    """One response.

    `body`: bytes go out with a Content-Length (`declared` overrides it), a list or an iterator in chunks.
    `before`: seconds, or what to await, before the first byte. `pace`: seconds between chunks.
    `ending`: what follows the body; "cut" closes without ending the chunks, "stall" is silent for ever.
    """

    body: bytes | list[bytes] | Iterator[bytes]
    status: int = 200
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    before: float | Callable[[], Awaitable[Any]] | None = None
    pace: float = 0.0
    declared: int | None = None
    ending: Literal["keep", "cut", "reset", "stall"] = "keep"


Behaviour = Callable[..., Reply]
BEHAVIOURS: dict[str, tuple[re.Pattern[str], Behaviour]] = {}


def named(*patterns: str) -> Callable[[Behaviour], Behaviour]:
    """Register a behaviour under patterns of names; the groups of a pattern become its arguments."""

    def register(behaviour: Behaviour) -> Behaviour:
        for pattern in patterns:
            if pattern in BEHAVIOURS:
                raise ValueError(f"another behaviour is named {pattern!r}")
            BEHAVIOURS[pattern] = (re.compile(pattern, re.DOTALL), behaviour)
        return behaviour

    return register


@functools.lru_cache(maxsize=4096)
def _find(name: str) -> Callable[[Call], Reply] | None:
    for pattern, behaviour in BEHAVIOURS.values():
        match = pattern.fullmatch(name)
        if match:
            groups = match.groups()
            return lambda call: behaviour(call, *groups)
    return None


def behave(call: Call, name: str | None = None) -> Reply:
    """Return the reply to a call; an unknown behaviour is a 404, as an unknown model would be."""
    behaviour = _find((name or call.model).partition("@")[0])
    if behaviour is None:
        return error(
            404, f"The fake server knows no behaviour for the model {call.model!r}.", "unknown_behaviour"
        )
    return behaviour(call)


# --- building blocks ------------------------------------------------------------------------------


def dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def digest(messages: list[dict[str, Any]]) -> str:
    """Return the SHA-256 of messages as canonical JSON, in hex; the key order does not matter."""
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


def text_of(model: str, messages: list[dict[str, Any]]) -> str:
    """Return what a model named `ok…` answers: its name and the first 12 digits of the messages' digest."""
    return f"Answer of {model} to {digest(messages)[:12]}."


def size_of(messages: list[dict[str, Any]]) -> int:
    """Return the number of characters in all text parts of messages."""
    size = 0
    for message in messages:
        content = message.get("content") or ""
        if isinstance(content, str):
            size += len(content)
        else:
            size += sum(len(part.get("text", "")) for part in content)
    return size


def usage_of(call: Call, text: str) -> dict[str, Any]:
    prompt, completion = -(-size_of(call.messages) // 4), max(1, len(text.split()))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def envelope(call: Call, *, chunk: bool, **fields: Any) -> dict[str, Any]:
    kind = "chat.completion.chunk" if chunk else "chat.completion"
    head = {
        "id": f"chatcmpl-{call.number}",
        "object": kind,
        "created": CREATED,
        "model": f"{call.model}-2024",
    }
    return head | fields


def event(value: Any) -> bytes:
    return b"data: " + dump(value) + b"\n\n"


def delta(call: Call, change: Any, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": change, "logprobs": None, "finish_reason": finish}
    return event(envelope(call, chunk=True, choices=[choice]))


def words(text: str) -> list[str]:
    """Split a text into at most a hundred or so pieces that join to the same text."""
    if len(text) > 1000:
        step = max(1000, len(text) // 100)
        return [text[start : start + step] for start in range(0, len(text), step)]
    return re.findall(r"\s*\S+\s*$|\s*\S+", text) or ([text] if text else [])


def deltas(call: Call, message: dict[str, Any]) -> Iterator[bytes]:
    yield delta(call, {"role": "assistant", "content": "" if message.get("content") is not None else None})
    for piece in words(message.get("reasoning_content") or ""):
        yield delta(call, {"reasoning_content": piece})
    for piece in words(message.get("content") or ""):
        yield delta(call, {"content": piece})
    for piece in words(message.get("refusal") or ""):
        yield delta(call, {"refusal": piece})
    for index, tool_call in enumerate(message.get("tool_calls") or []):
        yield delta(call, {"tool_calls": [{"index": index} | tool_call]})


_UNSET: Any = object()


def message_reply(
    call: Call, message: dict[str, Any], finish: str | None = "stop", usage: Any = _UNSET
) -> Reply:
    """Answer with a message, streaming where the request asks for it; `usage=None` leaves the usage out."""
    if usage is _UNSET:
        usage = usage_of(call, message.get("content") or message.get("reasoning_content") or "")
    if not call.stream:
        whole = {"role": "assistant", "refusal": None, "content": None} | message
        choice = {"index": 0, "message": whole, "logprobs": None, "finish_reason": finish}
        fields = {"choices": [choice]} | ({} if usage is None else {"usage": usage})
        return Reply(dump(envelope(call, chunk=False, **fields)))
    pieces = [*deltas(call, message)]
    if finish is not None:
        pieces.append(delta(call, {}, finish))
    if usage is not None and (call.body.get("stream_options") or {}).get("include_usage"):
        pieces.append(event(envelope(call, chunk=True, choices=[], usage=usage)))
    return Reply([*pieces, DONE], content_type=SSE)


def text_reply(call: Call, text: str, finish: str | None = "stop", usage: Any = _UNSET) -> Reply:
    return message_reply(call, {"content": text}, finish, usage)


def error_body(message: str, code: Any = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def error(status: int, message: str, code: Any = None, kind: str = "invalid_request_error") -> Reply:
    return Reply(dump(error_body(message, code, kind)), status=status)


# --- answers --------------------------------------------------------------------------------------


@named("ok")
def ok(call: Call) -> Reply:
    return text_reply(call, text_of(call.model, call.messages))


@named(r"ok-slow-([\d.]+)")
def ok_slow(call: Call, seconds: str) -> Reply:
    return replace(ok(call), before=float(seconds))


@named(r"after-([\d.]+)-(.+)")
def after(call: Call, seconds: str, then: str) -> Reply:
    """Behave as `then`, but later."""
    return replace(behave(call, then), before=float(seconds))


@named(r"fail-(\d+)-then-(.+)")
def fail_then(call: Call, times: str, then: str) -> Reply:
    return behave(call, "500" if call.number <= int(times) else then)


@named(r"(.+?)-then-(.+)")
def first_then(call: Call, first: str, then: str) -> Reply:
    """Behave as `first` on the first request of this model, as `then` on all others."""
    return behave(call, first if call.number == 1 else then)


@named("gate")
def gate(call: Call) -> Reply:
    """Answer when the test calls `server.release(model)`."""
    return replace(ok(call), before=lambda: call.rendezvous.gate(call.model))


@named(r"meet-(\d+)")
def meet(call: Call, size: str) -> Reply:
    """Answer when as many requests of this behaviour are waiting at once: parallelism without a clock."""
    return replace(ok(call), before=lambda: call.rendezvous.meeting(f"meet-{size}", int(size)))


@named(r"says-(.+)")
def says(call: Call, text: str) -> Reply:
    """Answer with a text, in which "_" stands for a space."""
    return text_reply(call, text.replace("_", " "))


@named("echo-hash")
def echo_hash(call: Call) -> Reply:
    return text_reply(call, digest(call.messages))


@named(r"long-(\d+)")
def long(call: Call, size: str) -> Reply:
    return text_reply(call, ("A long answer. " * (int(size) // 15 + 1))[: int(size)])


@named(r"paced-(\d+)-([\d.]+)")
def paced(call: Call, count: str, seconds: str) -> Reply:
    """Stream `count` words, `seconds` apart."""
    return replace(text_reply(call, " ".join(f"word{i}" for i in range(int(count)))), pace=float(seconds))


@named(r"usage-(\d+)-(\d+)")
def with_usage(call: Call, prompt: str, completion: str) -> Reply:
    total = int(prompt) + int(completion)
    usage = {"prompt_tokens": int(prompt), "completion_tokens": int(completion), "total_tokens": total}
    return text_reply(call, text_of(call.model, call.messages), usage=usage)


@named("no-usage")
def no_usage(call: Call) -> Reply:
    return text_reply(call, text_of(call.model, call.messages), usage=None)


@named("bad-usage")
def bad_usage(call: Call) -> Reply:
    usage = {"prompt_tokens": "many", "completion_tokens": -5, "total_tokens": None}
    return text_reply(call, text_of(call.model, call.messages), usage=usage)


@named("nul")
def nul(call: Call) -> Reply:
    return text_reply(call, "before\x00between\ud800after")


@named("reasoning")
def reasoning(call: Call) -> Reply:
    content = text_of(call.model, call.messages)
    return message_reply(call, {"reasoning_content": "Private reasoning.", "content": content})


@named("reasoning-only")
def reasoning_only(call: Call) -> Reply:
    return message_reply(call, {"reasoning_content": "Private reasoning and nothing else."})


@named("think")
def think(call: Call) -> Reply:
    return text_reply(call, f"<think>Private reasoning.</think>{text_of(call.model, call.messages)}")


@named("think-unopened")
def think_unopened(call: Call) -> Reply:
    """Some chat templates put the opening tag into the prompt, so that only the closing one arrives."""
    return text_reply(call, f"Private reasoning.</think>{text_of(call.model, call.messages)}")


@named("think-unclosed")
def think_unclosed(call: Call) -> Reply:
    return text_reply(call, "<think>Private reasoning without an end.")


# --- no text, or not the text that was asked for --------------------------------------------------


@named("empty")
def empty(call: Call) -> Reply:
    return text_reply(call, "")


@named("blank")
def blank(call: Call) -> Reply:
    return text_reply(call, " \n\t ")


@named("null-content")
def null_content(call: Call) -> Reply:
    return message_reply(call, {"content": None})


@named("refusal")
def refusal(call: Call) -> Reply:
    return message_reply(call, {"refusal": "I cannot help with that."})


@named("filter")
def content_filter(call: Call) -> Reply:
    return text_reply(call, "A text that the filter cut", "content_filter")


@named("length")
def length(call: Call) -> Reply:
    return text_reply(call, "A text that met its token", "length")


_TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "search", "arguments": '{"query":"moa"}'},
}


@named("tool-call")
def tool_call(call: Call) -> Reply:
    return message_reply(call, {"tool_calls": [_TOOL_CALL]}, "tool_calls")


@named("tool-call-with-text")
def tool_call_with_text(call: Call) -> Reply:
    return message_reply(call, {"content": "Let me search.", "tool_calls": [_TOOL_CALL]}, "tool_calls")


_CALLS = {
    "broken": '{"query":"delete /srv/data/old',
    "cut-word": '{"query": tru',
    "array": '["moa"]',
    "good": '{"query":"moa"}',
    "empty": "",
    "newline": '{"query":"one\ntwo"}',
}
"""Arguments of calls as a model may write them, by what is the matter with them."""


@named(r"tool-calls-(.+?)(?:-and-(.+))?")
def tool_calls(call: Call, *kinds: str | None) -> Reply:
    """Call a tool with arguments of one or two kinds, which a stream gives in two pieces."""
    calls = [
        {"id": f"call_{i}", "type": "function", "function": {"name": "search", "arguments": _CALLS[kind]}}
        for i, kind in enumerate(filter(None, kinds), 1)
    ]
    whole = message_reply(call, {"tool_calls": calls}, "tool_calls")
    if not isinstance(whole.body, list):
        return whole
    pieces = [
        delta(call, {"tool_calls": [piece]}) for i, each in enumerate(calls) for piece in _halves(i, each)
    ]
    return replace(whole, body=[whole.body[0], *pieces, *whole.body[1 + len(calls) :]])


@named("split-pair")
def split_pair(call: Call) -> Reply:
    """Answer with an emoji in reasoning, text and a call, in two halves of each where it streams."""
    arguments = '{"query":"\U0001f600"}'
    function = {"name": "search", "arguments": arguments}
    made = {"id": "call_1", "type": "function", "function": function}
    if not call.stream:
        said = {"reasoning_content": "r\U0001f600", "content": "a\U0001f600b", "tool_calls": [made]}
        return message_reply(call, said, "tool_calls")
    head, tail = '{"query":"\ud83d', '\ude00"}'
    changes: list[dict[str, Any]] = [
        {"role": "assistant", "reasoning_content": "r\ud83d"},
        {"reasoning_content": "\ude00"},
        {"content": "a\ud83d"},
        {"content": "\ude00b"},
        {"tool_calls": [{**made, "index": 0, "function": {**function, "arguments": head}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": tail}}]},
    ]
    body = [*(delta(call, change) for change in changes), delta(call, {}, "tool_calls"), DONE]
    return Reply(body, content_type=SSE)


def _halves(index: int, made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    function = made["function"]
    half = len(function["arguments"]) // 2
    yield {**made, "index": index, "function": {**function, "arguments": function["arguments"][:half]}}
    yield {"index": index, "function": {"arguments": function["arguments"][half:]}}


# --- bodies that break the protocol ---------------------------------------------------------------


_STRANGE_CHOICES: dict[str, dict[str, Any]] = {"no": {}, "empty": {"choices": []}, "null": {"choices": None}}


@named("(no|empty|null)-choices")
def strange_choices(call: Call, kind: str) -> Reply:
    strange = _STRANGE_CHOICES[kind]
    if call.stream:
        return Reply([event(envelope(call, chunk=True, **strange)), DONE], content_type=SSE)
    return Reply(dump(envelope(call, chunk=False, **strange, usage=usage_of(call, ""))))


@named("null-message")
def null_message(call: Call) -> Reply:
    if call.stream:
        return Reply([delta(call, None), delta(call, None, "stop"), DONE], content_type=SSE)
    choice = {"index": 0, "message": None, "finish_reason": "stop"}
    return Reply(dump(envelope(call, chunk=False, choices=[choice])))


@named("html-200")
def html_200(call: Call) -> Reply:
    return Reply(b"<!DOCTYPE html><html><body>Sign in</body></html>", content_type="text/html")


@named("bad-json")
def bad_json(call: Call) -> Reply:
    return Reply(b'{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"mess')


@named("bad-chunk")
def bad_chunk(call: Call) -> Reply:
    if not call.stream:
        return bad_json(call)
    return Reply(
        [delta(call, {"content": "Half a "}), b'data: {"id":"chatcmpl-1","cho\n\n', DONE], content_type=SSE
    )


@named(r"error-200(?:-(\d+))?")
def error_200(call: Call, code: str | None) -> Reply:
    body = error_body("Upstream failed.", int(code) if code else None, "upstream_error")
    return Reply([event(body), DONE], content_type=SSE) if call.stream else Reply(dump(body))


@named("stream-error")
def stream_error(call: Call) -> Reply:
    if not call.stream:
        return error_200(call, None)
    body = error_body("The model crashed.", None, "server_error")
    return Reply([delta(call, {"content": "Half a "}), event(body), DONE], content_type=SSE)


@named("cut-clean")
def cut_clean(call: Call) -> Reply:
    """End the stream as if all were said: no finish_reason, no [DONE]."""
    reply = text_reply(call, "A third of the", None, None)
    return replace(reply, body=reply.body[:-1]) if isinstance(reply.body, list) else reply


@named("no-done")
def no_done(call: Call) -> Reply:
    reply = ok(call)
    return replace(reply, body=reply.body[:-1]) if isinstance(reply.body, list) else reply


@named("cut-dirty")
def cut_dirty(call: Call) -> Reply:
    reply = ok(call)
    half = reply.body[: len(reply.body) // 2]  # type: ignore[index, arg-type]
    return replace(reply, body=half, declared=len(reply.body), ending="cut")  # type: ignore[arg-type]


@named("reset")
def reset(call: Call) -> Reply:
    return Reply(b"", ending="reset")


@named("redirect")
def redirect(call: Call) -> Reply:
    return Reply(b"", status=307, headers=(("Location", f"{call.origin}/elsewhere/v1/chat/completions"),))


# --- no end ---------------------------------------------------------------------------------------


@named("hang")
def hang(call: Call) -> Reply:
    return Reply(b"", before=call.rendezvous.never)


@named("stall")
def stall(call: Call) -> Reply:
    """Begin to answer, then fall silent."""
    body = [delta(call, {"content": "Half a "})] if call.stream else [b'{"id":"chatcmpl-1",']
    return Reply(body, content_type=SSE if call.stream else JSON, ending="stall")


@named(r"drip(?:-([\d.]+))?")
def drip(call: Call, seconds: str | None) -> Reply:
    """Give a token (or a byte) now and then, for ever: no single read ever times out."""
    one = delta(call, {"content": "drip "}) if call.stream else b" "
    return Reply(
        itertools.repeat(one), content_type=SSE if call.stream else JSON, pace=float(seconds or 0.02)
    )


@named("endless")
def endless(call: Call) -> Reply:
    """Give text without end, as fast as it is read."""
    if call.stream:
        return Reply(itertools.repeat(delta(call, {"content": "word " * 200})), content_type=SSE)
    start = (
        dump(envelope(call, chunk=False))[:-1]
        + b',"choices":[{"index":0,"message":{"role":"assistant","content":"'
    )
    return Reply(itertools.chain([start], itertools.repeat(b"word " * 2000)))


@named("gzip")
def gzipped(call: Call) -> Reply:
    reply = ok(call)
    packer = zlib.compressobj(wbits=31)
    parts = reply.body if isinstance(reply.body, list) else [reply.body]
    body = b"".join([*(packer.compress(part) for part in parts), packer.flush()])  # type: ignore[arg-type]
    return replace(reply, body=body, headers=(("Content-Encoding", "gzip"),))


@named(r"gzip-bomb(?:-(\d+))?")
def gzip_bomb(call: Call, megabytes: str | None) -> Reply:
    """Answer with a correct body of a few hundred kB that unpacks to 256 MB (or as many as asked for)."""
    whole = message_reply(call, {"content": "BOMB"})
    parts = whole.body if isinstance(whole.body, list) else [whole.body]
    before, after_ = b"".join(parts).split(b"BOMB")  # type: ignore[arg-type]
    body = _bomb(before, after_, int(megabytes or 256))
    return replace(whole, body=body, headers=(("Content-Encoding", "gzip"),))


@functools.lru_cache(maxsize=4)
def _bomb(before: bytes, after_: bytes, megabytes: int) -> bytes:
    block = b"x" * (1 << 20)
    packer = zlib.compressobj(level=9, wbits=-15)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    # A full flush makes the packed block independent of what precedes it, so it can simply be repeated.
    middle = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    tail = packer.compress(after_) + packer.flush()
    check = zlib.crc32(before)
    for _ in range(megabytes):
        check = zlib.crc32(block, check)
    check = zlib.crc32(after_, check)
    size = (len(before) + megabytes * len(block) + len(after_)) & 0xFFFFFFFF
    trailer = check.to_bytes(4, "little") + size.to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + head + middle * megabytes + tail + trailer


# --- HTTP errors ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Status:
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


_STATUSES = {
    400: _Status("Invalid value: 'nonsense'.", code="invalid_value"),
    401: _Status("Incorrect API key provided.", code="invalid_api_key"),
    403: _Status("You are not allowed to use this model.", "permission_error", "permission_denied"),
    404: _Status("The model does not exist or you do not have access to it.", code="model_not_found"),
    408: _Status("The request took too long to arrive.", "timeout"),
    409: _Status("The request conflicts with another one.", "conflict"),
    422: _Status("The request was well-formed and cannot be processed.", "unprocessable_entity"),
    429: _Status("Rate limit reached for requests per minute.", "requests", "rate_limit_exceeded"),
    500: _Status("The server had an error while processing your request.", "server_error"),
}


@named(r"([45]\d\d)(?:-retry-after-(.+))?")
def status_error(call: Call, status: str, retry_after: str | None) -> Reply:
    fault = _STATUSES.get(int(status)) or _Status(f"The server answered {status}.", "server_error")
    reply = error(int(status), fault.message, fault.code, fault.kind)
    headers = (("Retry-After", retry_after),) if retry_after else ()
    return replace(reply, headers=headers)


@named(r"([45]\d\d)-html")
def status_html(call: Call, status: str) -> Reply:
    return Reply(b"<html><body><h1>Bad gateway</h1></body></html>", int(status), "text/html")


@named("400-with-question")
def question_error(call: Call) -> Reply:
    """Refuse the request in words that repeat the last message."""
    return error(400, f"Cannot read: {call.messages[-1]['content']}")


@named("quota")
def quota(call: Call) -> Reply:
    message = "You exceeded your current quota, please check your plan and billing details."
    return error(429, message, "insufficient_quota", "insufficient_quota")


@named("context-openai")
def context_openai(call: Call) -> Reply:
    message = (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."
    )
    return error(400, message, "context_length_exceeded")


_VLLM = (
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
    "(4488 in the messages, 512 in the completion). Please reduce the length of the messages or completion."
)


@named("context-vllm")
def context_vllm(call: Call) -> Reply:
    return error(400, _VLLM, 400, "BadRequestError")


@named("context-vllm-flat")
def context_vllm_flat(call: Call) -> Reply:
    """As older vLLM servers say it: no `error` round the fields."""
    body = {"object": "error", "message": _VLLM, "type": "BadRequestError", "param": None, "code": 400}
    return Reply(dump(body), status=400)


@named(r"overflow-above-(\d+)")
def overflow_above(call: Call, limit: str) -> Reply:
    return context_openai(call) if size_of(call.messages) > int(limit) else ok(call)


def names() -> Iterable[str]:
    """Yield the patterns of all behaviours."""
    return BEHAVIOURS.keys()
