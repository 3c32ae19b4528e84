"""What may be written and read: nothing of a foreign class, and with a key nothing that was not encrypted."""

from __future__ import annotations

import builtins
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde import _msgpack
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.types import Overwrite

from moa_graph.errors import MoAError, StoreError
from moa_graph.runs import serializer as module
from moa_graph.runs.serializer import make_serializer

KEY = "0123456789abcdef"
VALUES: list[Any] = [
    None,
    b"bytes",
    "text",
    {"a": [1, 2.5, True, None, "ä\0"], 3: "number"},
    [
        HumanMessage("question", id="1"),
        SystemMessage("system"),
        AIMessage("answer", response_metadata={"moa": {}}),
    ],
    AIMessage("", tool_calls=[{"name": "look", "args": {"x": 1}, "id": "7"}]),
    AIMessageChunk("part"),
    ToolMessage("found", tool_call_id="7"),
    RemoveMessage(id="1"),
    Overwrite({"draft/a": {"text": "new"}}),
    _DeltaSnapshot([HumanMessage("question", id="1")]),
    {"channel_values": {"messages": _DeltaSnapshot([])}},
]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_KEY", KEY)


@pytest.mark.parametrize("key_env", [None, "STORE_KEY"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_a_state_holds_is_read_as_it_was_written(value: Any, key_env: str | None) -> None:
    serializer = make_serializer(key_env)
    again = serializer.loads_typed(serializer.dumps_typed(value))
    assert again == value
    assert type(again) is type(value)


def test_a_bytearray_stays_one() -> None:
    serializer = make_serializer(None)
    assert type(serializer.loads_typed(serializer.dumps_typed(bytearray(b"bytes")))) is bytearray


def pack(value: Any) -> bytes:
    return ormsgpack.packb(value, option=ormsgpack.OPT_NON_STR_KEYS)


def extension(code: int, *parts: Any) -> bytes:
    return pack(ormsgpack.Ext(code, pack(parts)))


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what a row could set off: imports by name, and calls of os.system."""
    calls: Counter[str] = Counter()
    real = builtins.__import__

    def watch(name: str, *args: Any, **kwargs: Any) -> Any:
        calls[f"import {name}"] += name in {"antigravity", "numpy"}
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", watch)
    monkeypatch.setattr("importlib.import_module", lambda name, *_: calls.update([f"import {name}"]))
    monkeypatch.setattr(os, "system", lambda command: calls.update([f"system {command}"]))
    return calls


NAMES = [("os", "system"), ("builtins", "eval"), ("antigravity", "x"), ("re", "compile"), ("pathlib", "Path")]


@pytest.mark.parametrize("strict", ["", "true"])
@pytest.mark.parametrize("names", NAMES, ids=".".join)
@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 8, 127])
def test_a_foreign_class_is_neither_imported_nor_called(
    code: int, names: tuple[str, str], strict: str, touched: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_msgpack, "STRICT_MSGPACK_ENABLED", bool(strict))
    payloads: list[Any] = ["touch x", ["touch x"], {"command": "touch x"}]
    for payload in payloads:
        for row in (
            extension(code, *names, payload, "fromisoformat"),
            pack({"channel_values": {"messages": ormsgpack.Ext(code, pack([*names, payload, "read"]))}}),
            pack(ormsgpack.Ext(7, extension(code, *names, payload))),
        ):
            with pytest.raises(StoreError, match="cannot be trusted"):
                make_serializer(None).loads_typed(("msgpack", row))
    assert +touched == Counter()


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"\xc1",
        pack([1, 2])[:-1],
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5000,
        pack(ormsgpack.Ext(5, b"")),
        pack(ormsgpack.Ext(5, pack(7))),
        pack(ormsgpack.Ext(5, pack(["langchain_core.messages.ai"]))),
        extension(5, ["os"], {"a": 1}, {}),
        extension(5, "langchain_core.messages.ai", "AIMessage", None),
        extension(5, "langchain_core.messages.ai", "AIMessage", {"content": 7}),
        extension(5, "langchain_core.messages.ai", "AIMessage", {"type": "human"}),
        extension(2, "langgraph.types", "Overwrite", {"other": 1}),
        extension(1, "langgraph.types", "Overwrite", [1]),
        extension(6, "<f8", [1], "C", b"12345678"),
    ],
    ids=repr,
)
def test_a_malformed_row_is_refused(row: bytes) -> None:
    with pytest.raises(StoreError, match="cannot be trusted"):
        make_serializer(None).loads_typed(("msgpack", row))


def test_endless_nesting_is_refused() -> None:
    row = b"\xc0"
    for _ in range(3000):
        row = pack(ormsgpack.Ext(7, row))
    with pytest.raises(StoreError, match="cannot be trusted"):
        make_serializer(None).loads_typed(("msgpack", row))


@pytest.mark.parametrize("tag", ["json", "pickle", "msgpack+aes", "", "empty", None, 7])
def test_another_type_of_row_is_refused(tag: Any) -> None:
    with pytest.raises(StoreError, match="cannot be trusted"):
        make_serializer(None).loads_typed((tag, b"\xc0"))


@pytest.mark.parametrize("content", [None, "text", 7])
def test_a_row_that_holds_no_bytes_is_refused(content: Any) -> None:
    with pytest.raises(StoreError, match="cannot be trusted"):
        make_serializer(None).loads_typed(("msgpack", content))


def test_the_refusal_names_the_class_and_says_what_to_do() -> None:
    with pytest.raises(StoreError, match=r"names 'os\.system'") as caught:
        make_serializer(None).loads_typed(("msgpack", extension(0, "os", "system", "true")))
    assert "Restore the store" in caught.value.hint


class Foreign:
    pass


@pytest.mark.parametrize("key_env", [None, "STORE_KEY"])
@pytest.mark.parametrize(
    ("value", "named"),
    [(UUID(int=1), "UUID"), (Foreign(), "Foreign"), ({1, 2}, "builtins.set"), (2**70, "64")],
)
def test_what_could_not_be_read_again_is_not_written(value: Any, named: str, key_env: str | None) -> None:
    with pytest.raises(StoreError, match=f"cannot be kept: .*{named}") as caught:
        make_serializer(key_env).dumps_typed(value)
    assert "plain data" in caught.value.hint


@pytest.mark.parametrize(
    "value", [UUID(int=1), Foreign(), {1, 2}, 2**70], ids=["uuid", "object", "set", "integer"]
)
def test_a_message_that_could_not_be_read_again_is_not_written(value: Any) -> None:
    state = {"messages": [HumanMessage("question", additional_kwargs={"extra": value})]}
    with pytest.raises(StoreError, match="cannot be kept"):
        make_serializer(None).dumps_typed(state)


@given(st.binary(max_size=200), st.sampled_from(["msgpack", "bytes", "null", "json", "msgpack+aes"]))
def test_any_bytes_give_a_value_or_a_store_error(content: bytes, tag: str) -> None:
    # Whatever else is raised fails the test.
    with suppress(StoreError):
        make_serializer(None).loads_typed((tag, content))


# --- with a key


def test_an_encrypted_row_shows_nothing_of_its_text() -> None:
    tag, content = make_serializer("STORE_KEY").dumps_typed({"text": "the secret question"})
    assert tag == "msgpack+aes"
    assert b"secret" not in content


def test_two_rows_of_one_value_differ() -> None:
    serializer = make_serializer("STORE_KEY")
    assert serializer.dumps_typed("same")[1] != serializer.dumps_typed("same")[1]


@pytest.mark.parametrize("value", [None, b"x", "text"])
def test_a_plain_row_is_refused_where_rows_are_encrypted(value: Any) -> None:
    with pytest.raises(StoreError, match="not encrypted"):
        make_serializer("STORE_KEY").loads_typed(make_serializer(None).dumps_typed(value))


def test_an_encrypted_row_is_refused_where_rows_are_plain() -> None:
    with pytest.raises(StoreError, match="cannot be trusted"):
        make_serializer(None).loads_typed(make_serializer("STORE_KEY").dumps_typed("text"))


def test_another_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    row = make_serializer("STORE_KEY").dumps_typed("text")
    monkeypatch.setenv("STORE_KEY", "another key here" * 2)
    with pytest.raises(StoreError, match="another key"):
        make_serializer("STORE_KEY").loads_typed(row)


@pytest.mark.parametrize("tag", ["null+aes", "bytes+aes", "json+aes", "msgpack+other", "msgpack", None])
def test_the_tag_of_an_encrypted_row_cannot_be_exchanged(tag: Any) -> None:
    serializer = make_serializer("STORE_KEY")
    with pytest.raises(StoreError, match="not encrypted"):
        serializer.loads_typed((tag, serializer.dumps_typed("text")[1]))


@given(st.data())
def test_every_flipped_bit_of_an_encrypted_row_is_noticed(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORE_KEY", KEY)
        serializer = make_serializer("STORE_KEY")
    tag, content = serializer.dumps_typed({"text": "question"})
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(StoreError, match="changed"):
        serializer.loads_typed((tag, bytes(changed)))


def test_what_an_encrypted_row_names_is_refused_too() -> None:
    serializer = make_serializer("STORE_KEY")
    outside = module.EncryptedSerializer.from_pycryptodome_aes(JsonPlusSerializer(), key=KEY.encode())
    with pytest.raises(StoreError, match=r"uuid\.UUID"):
        serializer.loads_typed(outside.dumps_typed([UUID(int=1)]))


@pytest.mark.parametrize(
    ("value", "told"), [(None, "is not set"), ("", "is not set"), ("canary", "has 6 bytes"), ("ä" * 16, None)]
)
def test_a_key_that_cannot_be_used_is_told_without_showing_it(
    value: str | None, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORE_KEY") if value is None else monkeypatch.setenv("STORE_KEY", value)
    if told is None:
        make_serializer("STORE_KEY")
        return
    with pytest.raises(MoAError, match=told) as caught:
        make_serializer("STORE_KEY")
    assert "STORE_KEY" in caught.value.message
    assert "16, 24 or 32" in caught.value.hint
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("mistake", ["canary-4711 with spaces", "a1b2c3d4e5f60718", ""])
def test_a_key_in_place_of_its_variable_is_not_repeated(mistake: str) -> None:
    with pytest.raises(MoAError, match="no name of a variable") as caught:
        make_serializer(mistake)
    assert not mistake or mistake not in str(caught.value)


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "Crypto.Cipher", None)
    with pytest.raises(MoAError, match="pycryptodome") as caught:
        make_serializer("STORE_KEY")
    assert caught.value.hint == "pip install 'moa-graph[encryption]'"
    assert KEY not in str(caught.value)


# --- LangGraph's own list


@pytest.mark.parametrize("key_env", [None, "STORE_KEY"])
def test_langgraph_cannot_widen_the_list(key_env: str | None, caplog: pytest.LogCaptureFixture) -> None:
    saver = InMemorySaver(serde=make_serializer(key_env))
    derived = saver.with_allowlist({("os", "system"), ("uuid", "UUID")})
    assert derived.serde is saver.serde
    assert caplog.records == []


@pytest.mark.parametrize("strict", ["", "true"])
def test_a_thread_is_kept_whether_langgraph_is_strict_or_not(
    strict: str, run_python: Callable[..., str]
) -> None:
    script = """
        import asyncio
        from moa_graph.runs.stores import open_store
        from tests.fakes.mixture import mixture
        from tests.fakes.models import ScriptedChatModel as Model

        async def main():
            config = {"configurable": {"thread_id": "t"}}
            async with open_store("memory:") as store:
                graph = mixture({"draft": {"a": Model(script=["x"])}}, {"z": Model(script=["answer"])})
                graph = graph.compile(checkpointer=store.saver())
                await graph.ainvoke({"messages": [("user", "hi")]}, config, durability="sync")
                state = await graph.aget_state(config)
                print(state.values["messages"][-1].text, list(state.values["proposals"]))

        asyncio.run(main())
        """
    assert run_python(script, LANGGRAPH_STRICT_MSGPACK=strict) == "answer ['draft/a']\n"
