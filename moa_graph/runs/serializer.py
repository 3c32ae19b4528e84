"""How values become rows and rows become values: only kinds that are listed here, nothing by a row's word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import ormsgpack
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    FunctionMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_DELTA_SNAPSHOT,
    EXT_PYDANTIC_V2,
    JsonPlusSerializer,
)
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.types import Interrupt, Overwrite

from moa_graph.errors import MoAError, StoreError
from moa_graph.spec.secrets import is_secret_variable

__all__ = ["make_serializer", "untrusted"]

_MESSAGES = (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    FunctionMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)
_KINDS: dict[tuple[int, str, str], Callable[..., Any]] = {
    **{(EXT_CONSTRUCTOR_KW_ARGS, kind.__module__, kind.__name__): kind for kind in (Interrupt, Overwrite)},
    **{(EXT_PYDANTIC_V2, kind.__module__, kind.__name__): kind for kind in _MESSAGES},
}
"""All that a row may hold beside plain data, by LangGraph's extension code and the name it writes."""
_TAGS = frozenset({"null", "bytes", "bytearray", "msgpack"})
_KEY_SIZES = (16, 24, 32)


def untrusted(reason: str, what: str = "a row of the store") -> StoreError:
    """Return the error for what was damaged, changed by somebody, or written by another program."""
    return StoreError(
        f"{what} cannot be trusted: {reason}",
        hint="Nothing of it was used. Restore the store from a copy, or delete the thread.",
    )


def make_serializer(key_env: str | None) -> SerializerProtocol:
    """Return the serializer of a store; with `key_env`, one that encrypts and refuses plain rows.

    `key_env` names the environment variable with an AES key of 16, 24 or 32 bytes. Raises MoAError when
    there is no usable key or the package is missing.
    """
    if key_env is None:
        return _StrictSerializer()
    key = _key(key_env)
    try:
        return _SealedSerializer.from_pycryptodome_aes(_StrictSerializer(), key=key)
    except ImportError:
        raise MoAError(
            "an encrypted store needs the package pycryptodome", hint="pip install 'moa-graph[encryption]'"
        ) from None


def _key(name: str) -> bytes:
    hint = "Set it to a random key of 16, 24 or 32 bytes, such as the output of `openssl rand -hex 16`."
    if not name.isidentifier() or is_secret_variable(name):
        raise MoAError(
            "what should name the variable with the store's key is no name of a variable", hint=hint
        )
    key = os.fsencode(os.environ.get(name, ""))
    if not key:
        raise MoAError(f"the variable {name} with the store's key is not set", hint=hint)
    if len(key) not in _KEY_SIZES:
        raise MoAError(f"the key in {name} has {len(key)} bytes; expected 16, 24 or 32", hint=hint)
    return key


class _Reviver:
    """Rebuild what a row may hold; a name in a row is looked up in _KINDS and nowhere else."""

    def __init__(self) -> None:
        self.refused = ""
        """What was refused: ormsgpack swallows the exception that would say so."""

    def unpack(self, content: bytes) -> Any:
        return ormsgpack.unpackb(content, ext_hook=self, option=ormsgpack.OPT_NON_STR_KEYS)

    def __call__(self, code: int, content: bytes) -> Any:
        value = self.unpack(content)
        if code == EXT_DELTA_SNAPSHOT:
            return _DeltaSnapshot(value)
        module, name, parts, *_ = value
        kind = _KINDS.get((code, module, name))
        if kind is None:
            self.refused = self.refused or f"{module}.{name}"
            raise ValueError(self.refused)
        return kind(**parts)


class _StrictSerializer(JsonPlusSerializer):
    """Write LangGraph's format, but only what can be read again, and read only that."""

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> _StrictSerializer:
        """Return this serializer: what LangGraph derives from a graph's types adds nothing to the list."""
        del extra_allowlist
        return self

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        reviver = _Reviver()
        try:
            tag, content = super().dumps_typed(obj)
            if tag == "msgpack":
                reviver.unpack(content)
        except Exception as error:
            reason = reviver.refused or _line(error)
            raise StoreError(
                f"a value cannot be kept: {reason}",
                hint="Keep plain data and LangChain messages in the state.",
            ) from error
        return tag, content

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        tag, content = data
        if tag not in _TAGS or not isinstance(content, bytes | bytearray | memoryview):
            raise untrusted(f"its type is {str(tag)[:40]!r}")
        if tag != "msgpack":
            return super().loads_typed((tag, bytes(content)))
        reviver = _Reviver()
        try:
            return reviver.unpack(bytes(content))
        except Exception as error:
            named = reviver.refused and f"it names {reviver.refused[:80]!r}"
            raise untrusted(named or f"it is malformed ({_line(error)})") from error


class _SealedSerializer(EncryptedSerializer):
    """Encrypt each value, packed in a list: so all rows have one tag, and no other tag is believed."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return super().dumps_typed([obj])

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if data[0] != "msgpack+aes":
            raise untrusted("it is not encrypted")
        try:
            return super().loads_typed(data)[0]
        except StoreError:
            raise
        except Exception as error:
            raise untrusted("it was changed, or encrypted with another key") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
