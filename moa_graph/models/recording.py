"""Record the answers of a run, to give them again with `replay:FILE`."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from typing_extensions import Self

from moa_graph.models.replay import Record, RecordedUsage, call_id, hash_of, question_of

__all__ = ["Recorder"]


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
            "model": (metadata or {}).get("moa_model"),
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


def _message(generations: Sequence[Sequence[Any]]) -> AIMessage | None:
    first = generations[0][0] if generations and generations[0] else None
    message = first.message if isinstance(first, ChatGeneration) else None
    return message if isinstance(message, AIMessage) else None


def _line(asked: dict[str, Any], message: AIMessage) -> str:
    metadata = message.response_metadata
    reported = message.usage_metadata
    record = Record(
        **{name: _clean(value) for name, value in asked.items()},
        text=_clean(str(message.text)),
        reasoning=_clean(str(message.additional_kwargs.get("reasoning_content") or "")),
        usage=_usage(reported) if reported else None,
        finish_reason=str(metadata.get("finish_reason") or "stop"),
    )
    return record.model_dump_json(exclude_defaults=False) + "\n"
