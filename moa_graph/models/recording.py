"""Record the answers of a run, to give them again with `replay:FILE`."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, LLMResult

from moa_graph.models.replay import Record, RecordedUsage, call_id, hash_of, question_of

__all__ = ["Recorder"]

_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL and lone surrogates: not every reader of JSON takes them."""


class Recorder(BaseCallbackHandler):
    """Append one line to a replay file (see `moa_graph.models.replay.Record`) per successful model call.

    Use it as a context manager and pass it in `config["callbacks"]`. Only calls of a Mixture-of-Agents
    are recorded. The file is created readable by its owner alone: it holds what was asked.
    Raises OSError if the file cannot be opened.
    """

    run_inline = True
    """Keep to the order of events even in asynchronous runs: lines are written as calls end."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._asked: dict[UUID, dict[str, Any]] = {}
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - part of LangChain's signature
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        """Remember what a call of a Mixture-of-Agents was asked."""
        own_id = call_id(metadata)
        if own_id is None:
            return
        asked = {
            "id": own_id,
            "model": _model(metadata or {}),
            "hash": hash_of(messages[0]),
            "question": question_of(messages[0]),
        }
        with self._lock:
            self._asked[run_id] = asked

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_kwargs: Any) -> None:
        """Write the line of a call that gave a message."""
        with self._lock:
            asked = self._asked.pop(run_id, None)
            message = _message(response.generations)
            if asked is None or message is None or self._file is None:
                return
            self._file.write(_line(asked, message))
            self._file.flush()

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_kwargs: Any) -> None:  # noqa: ARG002 - likewise
        """Forget a call that failed."""
        with self._lock:
            self._asked.pop(run_id, None)


def _model(metadata: Mapping[str, Any]) -> str | None:
    provider, name = metadata.get("ls_provider"), metadata.get("ls_model_name")
    return f"{provider}:{name}" if provider and name else None


def _message(generations: Sequence[Sequence[Any]]) -> AIMessage | None:
    first = generations[0][0] if generations and generations[0] else None
    message = first.message if isinstance(first, ChatGeneration) else None
    return message if isinstance(message, AIMessage) else None


def _line(asked: dict[str, Any], message: AIMessage) -> str:
    record = Record(
        model=_clean(asked["model"]),
        id=_clean(asked["id"]),
        hash=asked["hash"],
        question=_clean(asked["question"]),
        text=_clean(str(message.text)) or "",
        reasoning=_clean(str(message.additional_kwargs.get("reasoning_content") or "")) or "",
        usage=_usage(message.usage_metadata),
        finish_reason=_clean(str(message.response_metadata.get("finish_reason") or "")) or "stop",
    )
    return record.model_dump_json(exclude_none=True) + "\n"


def _usage(reported: UsageMetadata | None) -> RecordedUsage | None:
    if reported is None or min(reported["input_tokens"], reported["output_tokens"]) < 0:
        return None
    return RecordedUsage(input_tokens=reported["input_tokens"], output_tokens=reported["output_tokens"])


def _clean(value: str | None) -> str | None:
    return None if value is None else _UNWRITABLE.sub("\ufffd", value)
