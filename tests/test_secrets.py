"""No key leaves the place it was put into: canaries are looked for wherever a run writes or speaks."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from moa_graph.cli.main import app
from moa_graph.errors import MoAError, RunError, StoreError
from moa_graph.graph import build_graph
from moa_graph.runs import guard
from moa_graph.runs.stores import open_store
from moa_graph.runs.threads import Runs
from tests.fakes.behaviours import (
    BEHAVIOURS,
    SSE,
    Call,
    Reply,
    delta,
    dump,
    envelope,
    error,
    error_body,
    event,
    message_reply,
    ok,
)
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.specs import moa_spec, spec_document

KEY = "zq7canary9Zq7Canary8x"  # not the form of any provider's key: only where it comes from can betray it
STORE_KEY = "Vault7canary9Vau"  # 16 bytes
PASSWORD = "pw7Canary8word9"

LEAKS: dict[str, Callable[[Call], Reply]] = {
    "error-body-401": lambda _: error(401, f"Incorrect API key provided: {KEY}."),
    "error-body-400": lambda _: error(400, f"Bearer {KEY} may not", code=KEY, kind=KEY),
    "error-body-429": lambda _: error(429, f"Key {KEY} is limited."),
    "error-body-500": lambda _: error(500, f"Trace of {KEY}"),
    "error-html": lambda _: Reply(f"<html>{KEY}</html>".encode(), status=502, content_type="text/html"),
    "error-in-200": lambda _: Reply(dump(error_body(f"upstream said {KEY}", code=KEY))),
    "html-in-200": lambda _: Reply(f"<html>{KEY}</html>".encode(), content_type="text/html"),
    "bad-json": lambda _: Reply(f'{{"id": "{KEY}", "choices": [{{"mess'.encode()),
    "strange-json": lambda _: Reply(dump({KEY: KEY})),
    "strange-choices": lambda call: Reply(dump(envelope(call, chunk=False, choices=[{KEY: KEY}]))),
    "refusal": lambda call: message_reply(call, {"refusal": f"I know {KEY}"}),
    "truncated": lambda call: message_reply(call, {"content": f"Your key is {KEY} and"}, "length"),
    "stream-error": lambda call: Reply(
        [delta(call, {"content": "Half a "}), event(error_body(f"crashed with {KEY}"))]
        if call.stream
        else dump(error_body(f"crashed with {KEY}")),
        content_type=SSE if call.stream else "application/json",
    ),
    "header": lambda call: replace(ok(call), headers=(("x-echo", KEY), ("x-request-id", KEY))),
    "header-of-error": lambda _: replace(error(500, "Oh."), headers=(("x-echo", KEY), ("x-request-id", KEY))),
    "model-name": lambda call: _renamed(ok(call), call),
}


def _renamed(reply: Reply, call: Call) -> Reply:
    """Let a server call its model by the key."""
    old, new = f"{call.model}-2024".encode(), KEY.encode()
    if isinstance(reply.body, bytes):
        return replace(reply, body=reply.body.replace(old, new))
    return replace(reply, body=[piece.replace(old, new) for piece in reply.body])


@pytest.fixture(autouse=True)
def leaking(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, behaviour in LEAKS.items():
        monkeypatch.setitem(BEHAVIOURS, f"leak-{name}", (re.compile(f"leak-{name}"), behaviour))
    monkeypatch.setenv("CANARY_API_KEY", KEY)
    monkeypatch.setenv("STORE_VARIABLE", STORE_KEY)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Collect what is said; at the end, with all that was logged, nobody may have said a key."""
    names = ["", *logging.root.manager.loggerDict]
    for name in names:
        caplog.set_level(logging.DEBUG, name)
    pieces: list[str] = []
    yield pieces
    for record in caplog.records:
        pieces.append(f"{record.getMessage()} {record.args!r} {record.__dict__!r}")
        if record.exc_info and record.exc_info[0]:
            pieces.append("".join(traceback.format_exception(*record.exc_info)))
    for canary in (KEY, STORE_KEY, PASSWORD):
        assert [piece for piece in pieces if canary in piece] == []


def files(folder: Path) -> str:
    """Return every byte that was written, as text."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert any(path.name.endswith("-wal") for path in found)
    return "".join(path.read_bytes().decode("latin-1") + path.name for path in found)


def words(error: BaseException) -> str:
    chain = []
    seen: BaseException | None = error
    while isinstance(seen, MoAError):  # what the library raises, not what it was raised from
        chain += [str(seen), repr(seen), repr(vars(seen))]
        seen = seen.__cause__
    return "".join(chain)


def spec_of(server: FakeOpenAI, behaviour: str, **options: Any) -> Any:
    return moa_spec(
        server.base_url,
        [["ok@a", behaviour]],
        "ok@z",
        slot={"api_key_env": "CANARY_API_KEY"},
        defaults={"attempts": 1},
        **options,
    )


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("tokens", [False, True], ids=["whole", "streamed"])
async def test_a_proposers_key_is_nowhere(
    server: FakeOpenAI, tmp_path: Path, said: list[str], leak: str, tokens: bool
) -> None:
    async with Runs.open(f"sqlite:///{tmp_path}/moa.db", spec_of(server, f"leak-{leak}")) as runs:
        running = runs.start("Why?", thread="t")
        said += [
            repr(what) async for what in running.events(tokens=tokens) if what["type"] != "call.streamed"
        ]
        said += [repr(running.result), repr(await runs.history("t")), repr(await runs.threads())]
        said += [json.dumps(line) for line in await runs.export("t")]
        said += [repr(await runs.record("t")), repr(await runs.prompt("t", "layer-1/ok-a"))]
        said.append(files(tmp_path))
    assert server.requests
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("leak", [name for name in LEAKS if name not in {"header", "model-name"}])
async def test_an_aggregators_key_is_in_no_error(
    server: FakeOpenAI, tmp_path: Path, said: list[str], leak: str
) -> None:
    spec = moa_spec(
        server.base_url,
        [["ok@a"]],
        f"leak-{leak}",
        slot={"api_key_env": "CANARY_API_KEY"},
        defaults={"attempts": 1},
    )
    async with Runs.open(f"sqlite:///{tmp_path}/moa.db", spec) as runs:
        with pytest.raises(RunError) as caught:
            await runs.start("Why?", thread="t")
        said += [words(caught.value), repr(await runs.status("t")), repr(await runs.record("t"))]
        said += [json.dumps(line) for line in await runs.export("t")]
        said.append(files(tmp_path))
    with pytest.raises(RunError) as caught:  # and without a store
        await build_graph(spec).compile().ainvoke({"messages": [("user", "Why?")]})
    said.append(words(caught.value))


@pytest.mark.parametrize("leak", ["error-body-401", "truncated", "ok"])
def test_the_command_line_says_no_key(
    server: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], leak: str
) -> None:
    monkeypatch.chdir(tmp_path)
    behaviour = f"leak-{leak}" if leak != "ok" else "ok@b"
    document = spec_document(
        server.base_url, [["ok@a", behaviour]], "ok@z", slot={"api_key_env": "CANARY_API_KEY"}
    )
    (tmp_path / "spec.yaml").write_text(json.dumps(document))
    for arguments in (
        ["run", "spec.yaml", "Why?", "--json"],
        ["run", "spec.yaml", "Why?", "--show-proposals"],
        ["run", "spec.yaml", "Why?", "--thread", "t"],
        ["status", "t", "--json"],
        ["history", "t"],
        ["show", "t"],
        ["threads", "--json"],
        ["export", "t"],
        ["check", "spec.yaml"],
    ):
        result = CliRunner().invoke(app, arguments, prog_name="moa")
        assert result.exit_code == 0, (arguments, result.output)
        said += [result.stdout, result.stderr]
    assert KEY not in "".join(
        path.read_bytes().decode("latin-1") for path in tmp_path.iterdir() if path.is_file()
    )


async def test_the_key_of_an_encrypted_store_and_what_it_holds_are_nowhere(
    server: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    url = f"sqlite:///{tmp_path}/moa.db"
    async with Runs.open(url, spec_of(server, "ok@b"), key_env="STORE_VARIABLE") as runs:
        said.append(repr(await runs.start("Tell nobody of Waldo.", thread="t")))
        written = files(tmp_path)
        assert "Waldo" not in written
        said.append(written)
    monkeypatch.setenv("STORE_VARIABLE", STORE_KEY[::-1])
    async with Runs.open(url, key_env="STORE_VARIABLE") as runs:
        with pytest.raises(StoreError) as refused:
            await runs.resume("t")
        said += [words(refused.value), *(summary.reason for summary in await runs.threads())]
    assert STORE_KEY[::-1] not in "".join(said)
    monkeypatch.setenv("STORE_VARIABLE", f"{STORE_KEY}x")
    with pytest.raises(MoAError) as caught:
        open_store(url, key_env="STORE_VARIABLE")
    said.append(words(caught.value))
    with pytest.raises(MoAError) as caught:
        open_store(url, key_env=f"sk-{STORE_KEY}")
    said.append(words(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://moa:{PASSWORD}@127.0.0.1:1/moa",
        f"postgresql://127.0.0.1:1/moa?user=moa&password={PASSWORD}",
        f"postgres://moa:{PASSWORD}@[::1]:1/moa",
        f"mysql://moa:{PASSWORD}@127.0.0.1/moa",
        f"moa:{PASSWORD}@127.0.0.1",
        f"sqlite://moa:{PASSWORD}@host/moa.db",
    ],
)
async def test_a_stores_password_is_in_no_message(
    monkeypatch: pytest.MonkeyPatch, said: list[str], url: str
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.2)
    with pytest.raises(MoAError) as caught:
        async with open_store(url):
            pass
    said.append(words(caught.value))
