"""A thread's export tells all of it, nothing secret, and makes the same thread elsewhere."""

from __future__ import annotations

import json
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from moa_graph.errors import MoAError, RunError, StoreError, ThreadBusy, ThreadError
from moa_graph.runs.portable import dump_line
from moa_graph.runs.records import key_of
from moa_graph.runs.redacting import Redactor
from moa_graph.runs.threads import Runs
from moa_graph.spec.loading import dump_spec, spec_hash
from moa_graph.spec.schema import MoASpec
from tests.fakes.models import ScriptedChatModel

Lines = list[dict[str, Any]]
SLOTS = ("a", "b", "c", "z")


def spec_of(
    layers: dict[str, str] | None = None, *, quorums: dict[str, int] | None = None, **slot: Any
) -> MoASpec:
    return MoASpec.model_validate(
        {
            "moa": 1,
            "name": "test",
            "models": {
                name: {"model": f"openai:{name}" if slot else f"host:{name}", **slot} for name in SLOTS
            },
            "defaults": {"attempts": 1},
            "layers": [
                {
                    "name": name,
                    "quorum": (quorums or {}).get(name, 1),
                    "proposers": [{"model": id_, "id": id_} for id_ in members],
                }
                for name, members in ({"draft": "ab", "refine": "bc"} if layers is None else layers).items()
            ],
            "aggregator": {"model": "z"},
        }
    )


def models_of(**scripts: Any) -> dict[str, ScriptedChatModel]:
    return {
        name: ScriptedChatModel(
            *scripts.get(name, [lambda messages, name=name: f"{name} of {len(messages)}"])
        )
        for name in SLOTS
    }


def calls_of(models: dict[str, ScriptedChatModel]) -> int:
    return sum(len(model.calls) for model in models.values())


def pack(lines: Lines) -> bytes:
    return "".join(map(dump_line, lines)).encode()


@pytest.fixture
async def runs() -> AsyncIterator[Runs]:
    async with Runs.open("memory:", spec_of(), models=models_of()) as opened:
        yield opened


async def copy(runs: Runs, thread: str = "t", *, to: str = "copy") -> Lines:
    """Export and import a thread, and check that the copy is told by the same lines; return them."""
    lines = await runs.export(thread)
    await runs.import_(pack(lines), to=to)
    again = await runs.export(to)
    assert again[0] == lines[0] | {"thread": to}
    assert again[1:] == lines[1:]
    return lines


async def same(runs: Runs, thread: str = "t", to: str = "copy") -> None:
    """Check that two threads look the same, at the end and at each checkpoint."""
    first, second = await runs.status(thread), await runs.status(to)
    for name in vars(first).keys() - {"thread", "checkpoint"}:
        assert getattr(first, name) == getattr(second, name), name
    ours, theirs = await runs.history(thread), await runs.history(to)
    assert [vars(one) | {"id": ""} for one in ours] == [vars(one) | {"id": ""} for one in theirs]
    for one in ours:
        shown = await runs.show(thread, checkpoint=one.number)
        other = await runs.show(to, checkpoint=one.number)
        assert (shown.question, shown.answer) == (other.question, other.answer)
        if one is not ours[-1]:
            assert shown.proposals == other.proposals


def kinds(lines: Lines) -> list[str]:
    return [line["type"] for line in lines]


async def test_an_answered_thread_is_told_line_by_line(runs: Runs) -> None:
    await runs.start("why?", thread="t")
    lines = await copy(runs)
    assert kinds(lines) == [
        *["thread", "turn", "question", "layer", "layer", "answer", "status", "end"],
    ]
    assert lines[0]["spec"] == dump_spec(spec_of())
    assert lines[0]["spec_hash"] == spec_hash(spec_of())
    assert lines[1]["messages"][0]["data"]["content"] == "why?"
    assert [record["id"] for record in lines[3]["proposals"]] == ["draft/a", "draft/b"]
    assert lines[5]["message"]["data"]["content"] == (await runs.status("t")).answer
    assert lines[-1]["lines"] == len(lines) - 1
    await same(runs)


async def test_prompts_of_the_copy_are_those_that_were_sent(runs: Runs) -> None:
    await runs.start("why?", thread="t")
    await copy(runs)
    for call in ("draft/a", "refine/c", "aggregator/z"):
        assert await runs.prompt("copy", call) == await runs.prompt("t", call)


async def test_several_turns_go_along(runs: Runs) -> None:
    for question in ("one?", "two?", "three?"):
        await runs.start(question, thread="t", turn=question)
    await copy(runs)
    await same(runs)
    assert (await runs.start("one?", thread="copy", turn="one?")).answer
    assert [point.turn for point in await runs.history("copy")][::4] == ["one?", "two?", "three?"]
    await runs.start("four?", thread="copy")
    await runs.start("four?", thread="t")
    ours, theirs = await runs.prompt("t", "draft/a"), await runs.prompt("copy", "draft/a")
    assert [message.text for message in ours] == [message.text for message in theirs]


async def test_edits_go_along_with_who_and_when(runs: Runs) -> None:
    await runs.start("why?", thread="t", breakpoints=["refine"])
    await runs.edit("t", "draft/a", text="mine", who="ada")
    await runs.edit("t", "draft/b", drop=True, who="bob")
    await runs.edit("t", "draft/own", text="added", add=True, who="ada")
    await runs.approve("t", who="cyd")
    lines = await copy(runs)
    edits = [line for line in lines if line["type"] == "edit"]
    assert [(edit["by"], edit["what"]) for edit in edits] == [
        ("ada", "edited draft/a"),
        ("bob", "dropped draft/b"),
        ("ada", "added draft/own"),
        ("cyd", "approved draft"),
    ]
    assert edits[0]["proposals"][0]["text"] == "mine"
    assert edits[3]["proposals"] == []
    await same(runs)
    await runs.resume("copy")
    await runs.resume("t")
    prompt = (await runs.prompt("copy", "refine/b"))[0].text
    assert "mine" in prompt
    assert "added" in prompt
    assert (await runs.status("copy")).proposals[0]["text"] == "mine"


async def test_an_edit_of_the_copy_works(runs: Runs) -> None:
    await runs.start("why?", thread="t", breakpoints=["refine"])
    await copy(runs)
    await runs.edit("copy", "draft/a", text="changed there")
    assert (await runs.resume("copy")).status == "answered"


async def test_a_copy_is_resumed_without_a_repeated_call() -> None:
    models = models_of(c=[RuntimeError("broken"), "mended"])
    spec = spec_of(quorums={"refine": 2})
    async with Runs.open("memory:", spec, models=models) as runs:
        with pytest.raises(RunError):
            await runs.start("why?", thread="t")
        lines = await copy(runs)
        assert kinds(lines)[-5:] == ["layer", "finished", "failure", "status", "end"]
        await same(runs)
        before = calls_of(models)
        run = await runs.resume("copy")
        assert calls_of(models) == before + 2
        assert run.status == "answered"
        assert run.calls == 6


async def test_a_fork_of_a_fork_of_an_unfinished_layer_goes_along() -> None:
    models = models_of(b=[RuntimeError("broken"), "mended"])
    spec = spec_of(quorums={"draft": 2})
    async with Runs.open("memory:", spec, models=models) as runs:
        with pytest.raises(RunError):
            await runs.start("why?", thread="t")
        await runs.fork("t")
        lines = await copy(runs, "t~1")
        assert lines[0]["origin"]["thread"] == "t"
        assert kinds(lines) == ["thread", "turn", "fork", "finished", "status", "end"]
        await same(runs, "t~1")
        assert (await runs.resume("copy")).status == "answered"
        assert len(models["a"].calls) == 1
        await copy(runs, to="third")
        await copy(runs, "copy", to="fourth")
        await same(runs, "copy", "fourth")


@pytest.mark.parametrize("before", ["draft", "refine", "aggregator", None])
async def test_forks_go_along(runs: Runs, before: str | None) -> None:
    await runs.start("one?", thread="t")
    await runs.start("two?", thread="t")
    await runs.fork("t", to="f", before=before)
    await copy(runs, "f")
    await same(runs, "f")
    one, other = await runs.resume("f"), await runs.resume("copy")
    assert (one.answer, one.calls) == (other.answer, other.calls)
    await runs.start("three?", thread="f")
    await copy(runs, "f", to="later")
    await same(runs, "f", "later")


async def test_a_copy_can_be_forked(runs: Runs) -> None:
    await runs.start("why?", thread="t")
    await copy(runs)
    ours, theirs = await runs.fork("t", before="aggregator"), await runs.fork("copy", before="aggregator")
    assert ours.calls_left == theirs.calls_left == 1
    changed = spec_of({"draft": "ab", "refine": "ab"})
    assert (await runs.fork("copy", spec=changed)).calls_left == 2


async def test_a_question_that_was_given_up_stays_out_of_the_copy_too() -> None:
    models = models_of(a=[RuntimeError("broken"), "fine"], b=[RuntimeError("broken"), "fine"])
    async with Runs.open("memory:", spec_of(), models=models) as runs:
        with pytest.raises(RunError):
            await runs.start("lost?", thread="t")
        await runs.start("kept?", thread="t", abandon=True)
        await copy(runs)
        await same(runs)
        await runs.start("next?", thread="copy")
        prompt = " ".join(message.text for message in await runs.prompt("copy", "draft/a"))
    assert "kept?" in prompt
    assert "lost?" not in prompt


async def test_a_turn_that_never_began_begins_in_the_copy() -> None:
    models = models_of()
    spec = spec_of()
    async with Runs.open("memory:", spec, models={"a": models["a"]}) as runs:
        with pytest.raises(MoAError):
            await runs.start("why?", thread="t")
        lines = await copy(runs)
        content = pack([line for line in lines if line["type"] != "question"][:-1])
        content += dump_line({"type": "end", "lines": content.count(b"\n")}).encode()
    async with Runs.open("memory:", models=models) as runs:
        assert (await runs.import_(content)).checkpoint is None
        assert (await runs.resume("t")).status == "answered"


async def test_a_mixture_without_layers_goes_along() -> None:
    async with Runs.open("memory:", spec_of({}), models=models_of()) as runs:
        await runs.start("why?", thread="t")
        await runs.start("and?", thread="t")
        await copy(runs)
        await same(runs)
        await runs.fork("t")
        await copy(runs, "t~1", to="forked")


async def test_a_running_thread_is_exported_as_it_stands(runs: Runs) -> None:
    await runs.start("why?", thread="t", breakpoints=["refine"])
    store: Any = runs._store
    record = await store.read("t")
    await store.write("t", record | {"turns": [record["turns"][0] | {"status": "running"}]})
    async with store.lease("t"):
        [status] = [line for line in await runs.export("t") if line["type"] == "status"]
    assert (status["status"], status["reason"]) == ("interrupted", "it was running when it was exported")
    assert (await copy(runs))[-2]["reason"] == "its process ended without a word"


async def test_a_fork_that_was_not_completed_is_refused(runs: Runs) -> None:
    await runs.start("why?", thread="t")
    await runs.fork("t")
    store: Any = runs._store
    await store.saver().adelete_thread(key_of("t~1"))
    with pytest.raises(ThreadError, match="not completed"):
        await runs.export("t~1")


async def test_an_id_that_is_taken_is_refused_and_left_alone(runs: Runs) -> None:
    await runs.start("why?", thread="t")
    content = pack(await runs.export("t"))
    with pytest.raises(ThreadError, match="already"):
        await runs.import_(content)
    store: Any = runs._store
    async with store.lease("other"):
        with pytest.raises(ThreadBusy):
            await runs.import_(content, to="other")
    assert (await runs.status("t")).status == "answered"
    assert [summary.thread for summary in await runs.threads()] == ["t"]


async def test_checkpoints_of_somebody_else_are_refused_and_stay(runs: Runs) -> None:
    await runs.start("why?", thread="t")
    content = pack(await runs.export("t"))
    store: Any = runs._store
    del store._records["t"]
    with pytest.raises(ThreadError, match="threads did not write"):
        await runs.import_(content)
    assert await store.saver().aget_tuple({"configurable": {"thread_id": "t"}})
    assert await runs.threads() == []


async def test_an_import_that_fails_leaves_nothing(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    await runs.start("why?", thread="t")
    content = pack(await runs.export("t"))
    store: Any = runs._store
    saver = store.saver()
    put, seen = saver.aput, []

    async def fail_once(*arguments: Any) -> Any:
        seen.append(arguments)
        if len(seen) == 3:
            raise StoreError("full")
        return await put(*arguments)

    monkeypatch.setattr(saver, "aput", fail_once)
    monkeypatch.setattr(type(saver), "aput", lambda _, *arguments: fail_once(*arguments))
    with pytest.raises(StoreError, match="full"):
        await runs.import_(content, to="copy")
    assert [summary.thread for summary in await runs.threads()] == ["t"]
    assert await saver.aget_tuple({"configurable": {"thread_id": "copy"}}) is None


# What must not leave the machine.

CANARY = "canary-4711-of-the-mine"


async def test_keys_are_nowhere_in_an_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE", CANARY)  # named by the spec alone
    monkeypatch.setenv("GITHUB_TOKEN", "hidden-in-a-token")
    monkeypatch.setenv("HARMLESS", "sk-live1234567890abcdef")
    monkeypatch.setenv("SHORT_SECRET", "x")
    formed = "sk-proj1234567890abcdefgh"
    bearer = "Authorization: Bearer abcdef1234567890"
    models = models_of(
        a=[f"I saw {CANARY}. and hidden-in-a-token"],
        b=[RuntimeError(f"refused: {CANARY}, {bearer}")],
        z=[AIMessage(f"{CANARY} {formed}", response_metadata={"model_name": CANARY})],
    )
    spec = spec_of(api_key_env="MY_SERVICE")
    async with Runs.open("memory:", spec, models=models) as runs:
        await runs.start(f"{CANARY} sk-live1234567890abcdef x?", thread=CANARY, breakpoints=["refine"])
        await runs.edit(CANARY, "draft/a", text=f"by hand {CANARY}", who=CANARY)
        await runs.resume(CANARY)
        content = pack(await runs.export(CANARY)).decode()
        for secret in (CANARY, "hidden-in", "sk-live", "sk-proj", "abcdef1234567890"):
            assert secret not in content
        assert "x?" in content
        await runs.import_(content.encode(), to="copy")
        assert pack((await runs.export("copy"))[1:]).decode() == content.partition("\n")[2]


async def test_names_of_hosts_and_stores_are_nowhere_in_an_export(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "athena.example.org")
    url = f"sqlite:///{tmp_path}/own.db"
    texts = f"on Athena, athena.example.org:80, {tmp_path}/own.db and {url}; athenaeum"
    spec = spec_of(base_url="http://athena:8000/v1", api_key_env="none")
    async with Runs.open(url, spec, models=models_of(a=[texts])) as runs:
        await runs.start("why?", thread="t")
        lines = await runs.export("t")
        content = pack(lines).decode()
        assert "athena" not in content.lower().replace("athenaeum", "")
        assert str(tmp_path) not in content
        assert "on this-host, this-host:80, [store] and [store]; athenaeum" in content
        assert "http://this-host:8000/v1" in lines[0]["spec"]
        await runs.import_(content.encode(), to="copy")


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        ("postgresql://me@db.intern:5432/moa", "server at db.intern failed", "server at store-host failed"),
        ("postgresql://me@127.0.0.1/moa", "server at 127.0.0.1", "server at 127.0.0.1"),
        ("postgresql://me@localhost/moa", "server at localhost", "server at localhost"),
        ("memory:", "in memory: all", "in memory: all"),
    ],
)
def test_the_host_of_a_store_is_taken_out(url: str, text: str, shown: str) -> None:
    assert Redactor(spec_of(), url).text(text) == shown


def test_a_machine_called_like_a_word_of_the_format_does_not_spoil_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "failed")
    redact = Redactor(spec_of(), "memory:")
    record = {"status": "failed", "text": "it failed", "api_key": "abc", "calls": 1}
    assert redact(record) == {
        "status": "failed",
        "text": "it this-host",
        "api_key": "[redacted]",
        "calls": 1,
    }


async def test_a_spec_that_holds_a_key_is_exported_but_not_imported(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "aggregator:")
    await runs.start("why?", thread="t")
    content = pack(await runs.export("t"))
    assert b"aggregator:" not in content
    with pytest.raises(MoAError, match="spec cannot be read"):
        await runs.import_(content, to="copy")


async def test_without_texts_lengths_are_left() -> None:
    models = models_of(a=["hush"], b=[RuntimeError("why")], z=[AIMessage("secret answer")])
    async with Runs.open("memory:", spec_of(), models=models) as runs:
        question = [("user", [{"type": "text", "text": "private"}, "more", {"type": "image"}])]
        await runs.start(question, thread="t", breakpoints=["refine"])
        await runs.edit("t", "draft/a", text="quiet words")
        await runs.resume("t")
        lines = await runs.export("t", texts=False)
        content = pack(lines)
        for text in (b"hush", b"private", b"more", b"quiet words", b"secret answer", b"b of"):
            assert text not in content
        assert lines[1]["messages"][0]["data"]["content"] == 11
        assert lines[3]["proposals"][0]["text"] == 4
        assert next(line for line in lines if line["type"] == "answer")["message"]["data"]["content"] == 13
        with pytest.raises(MoAError, match="<export>:1: this was exported without its texts"):
            await runs.import_(content, to="copy")


def test_a_line_is_safe_on_a_terminal() -> None:
    line = dump_line({"text": "\x1b[31m\x9b31m\u202e\u2028\x7fé"})
    assert line == '{"text":"\\u001b[31m\\u009b31m\\u202e\\u2028\\u007fé"}\n'


# What is no export.

Change = Callable[[Lines], Any]


def at(place: int, **changes: Any) -> Change:
    return lambda lines: lines[place].update(changes)


def put(place: int, line: dict[str, Any]) -> Change:
    return lambda lines: lines.insert(place, line)


def twin(place: int) -> Change:
    return lambda lines: lines.insert(place, lines[place])


def drop(*places: int) -> Change:
    def change(lines: Lines) -> None:
        for place in sorted(places, reverse=True):
            del lines[place]

    return change


def deep(place: int, *path: Any, value: Any) -> Change:
    def change(lines: Lines) -> None:
        part: Any = lines[place]
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value

    return change


SECOND = {
    "type": "turn",
    "turn": "2",
    "began": "2026-01-01T00:00:00+00:00",
    "messages": [{"type": "human", "data": {"content": "again?"}}],
}
STATUS = {"type": "status", "status": "interrupted", "reason": "", "ended": None, "seconds": 0.0}
# thread turn question layer layer answer status end
FAULTS: dict[str, tuple[int, str, Change]] = {
    "no-header": (1, "begins with a line of type thread", drop(0)),
    "two-headers": (2, "second line of type thread", twin(0)),
    "other-format": (1, "no format that can be read here", at(0, format=2)),
    "spec-of-another-hash": (1, "does not have the hash", at(0, spec_hash="sha256:0")),
    "spec-unreadable": (1, "spec cannot be read", at(0, spec="moa: [")),
    "spec-no-text": (1, "spec: Input should be a valid string", at(0, spec=1)),
    "created-no-time": (1, "created", at(0, created="yesterday")),
    "time-without-zone": (3, "a time needs its zone", at(2, when="2026-01-01T00:00:00")),
    "origin-without-fork": (3, "a fork has an origin", at(0, origin={"thread": "t", "checkpoint": None})),
    "origin-without-steps": (
        3,
        "a fork begins with a line of type fork",
        lambda lines: (
            at(0, origin={"thread": "t", "checkpoint": None})(lines),
            drop(2, 3, 4, 5)(lines),
            at(2, status="failed")(lines),
        ),
    ),
    "no-turn": (2, "belongs to a turn", drop(1)),
    "turn-without-question": (3, "a turn begins with one line", drop(2)),
    "two-questions": (4, "a turn begins with one line", twin(2)),
    "turn-in-a-turn": (4, "no line of type status", put(3, SECOND)),
    "turn-twice": (8, "a turn of that id", lambda lines: lines.insert(7, lines[1])),
    "no-messages": (2, "messages", at(1, messages=[])),
    "no-message": (2, "this is no message", at(1, messages=[{"type": "human", "data": 7}])),
    "removal": (2, "this is no message", at(1, messages=[{"type": "remove", "data": {"id": "x"}}])),
    "layer-left-out": (4, "comes next is draft", drop(3)),
    "layer-twice": (5, "comes next is refine", twin(3)),
    "layer-after-the-answer": (7, "comes next is none", lambda lines: lines.insert(6, lines[3])),
    "proposal-of-another-layer": (
        4,
        "is none of layer draft",
        deep(3, "proposals", 0, "layer", value="refine"),
    ),
    "proposal-of-another-id": (4, "is the id of no call", deep(3, "proposals", 0, "id", value="draft/zz")),
    "proposal-not-asked-for": (
        4,
        "the spec asks for no 'draft/zz'",
        lambda lines: lines[3]["proposals"][0].update(id="draft/zz", proposer="zz"),
    ),
    "proposal-twice": (
        4,
        "stands there twice",
        lambda lines: lines[3]["proposals"].append(lines[3]["proposals"][0]),
    ),
    "proposal-broken": (4, "proposals.0.attempts", deep(3, "proposals", 0, "attempts", value="2")),
    "reference-to-nothing": (
        5,
        "refers to a proposal",
        deep(4, "proposals", 0, "references", value=["draft/q"]),
    ),
    "answer-of-a-human": (
        6,
        "is a message of type ai",
        at(5, message={"type": "human", "data": {"content": "x", "id": "q"}}),
    ),
    "answer-without-summary": (6, "message", deep(5, "message", "data", "response_metadata", value={})),
    "answer-without-id": (6, "a message has no id", deep(5, "message", "data", "id", value=None)),
    "edit-of-nothing": (
        4,
        "no layer whose proposals",
        put(3, {"type": "edit", "when": SECOND["began"], "what": "", "by": "", "proposals": []}),
    ),
    "finished-too-late": (
        7,
        "belongs to the layer that comes next",
        lambda lines: lines.insert(6, {"type": "finished", "proposal": lines[3]["proposals"][0]}),
    ),
    "status-without-answer": (6, "is not answered", drop(5)),
    "status-unknown": (7, "status", at(6, status="running")),
    "status-left-out": (7, "ends within a turn", drop(6)),
    "end-left-out": (7, "ends too early", drop(7)),
    "end-counts-others": (8, "9 lines were written, 7 are there", at(7, lines=9)),
    "end-without-turns": (2, "ends within a turn", drop(1, 2, 3, 4, 5, 6)),
    "more-after-the-end": (9, "nothing may follow", put(8, SECOND)),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_told_with_its_line_and_nothing_is_written(runs: Runs, name: str) -> None:
    line, words, change = FAULTS[name]
    await runs.start("why?", thread="t")
    lines = json.loads(json.dumps(await runs.export("t")))
    change(lines)
    with pytest.raises(MoAError) as caught:
        await runs.import_(pack(lines), to="copy", file="some.jsonl")
    assert f"some.jsonl:{line}: " in caught.value.message
    assert words in caught.value.message
    assert caught.value.hint
    assert [summary.thread for summary in await runs.threads()] == ["t"]


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "x:1: the file ends too early"),
    "garbage": (b"\x80\x81\n", "x:1: this is not UTF-8"),
    "no-json": (b"{\n", "x:1: this is no JSON"),
    "no-object": (b"[]\n", 'x:1: a line is a JSON object with a "type"'),
    "no-type": (b'{"type":1}\n', 'x:1: a line is a JSON object with a "type"'),
    "blank-line": (b"\n{}", "x:1: this is no JSON"),
    "key-twice": (b'{"type":"thread","type":"turn"}', "x:1: the key 'type' stands there twice"),
    "nan": (b'{"type":"thread","format":NaN}', "NaN is no number"),
    "large-number": (b'{"type":"thread","format":' + b"9" * 9999 + b"}", "a number is too large"),
    "large-float": (b'{"type":"thread","format":1e999}', "a number is too large"),
    "nul": (b'{"type":"thread","format":"\\u0000"}', "NUL or half a surrogate"),
    "surrogate": (b'{"type":"thread","\\ud800":1}', "NUL or half a surrogate"),
    "deep": (b'{"type":"thread","format":' + b"[" * 90 + b"]" * 90 + b"}", "nested too deeply"),
    "very-deep": (b'{"type":"thread","format":' + b"[" * 900_000, "nested too deeply"),
    "huge": (b"x" * 33_000_000, "x: too large"),
    "many-values": (b"[" * 2_000_001, "x: too large"),
    "many-lines": (b"\n" * 20_002, "x: too large"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_content_is_refused(runs: Runs, name: str) -> None:
    content, words = HOSTILE[name]
    with pytest.raises(MoAError) as caught:
        await runs.import_(content, file="x")
    assert words in caught.value.message
    assert len(caught.value.message) < 300
    assert await runs.threads() == []


FORK_FAULTS: dict[str, tuple[str, Change]] = {
    "unknown-step": ("no step of the name", at(2, after="other")),
    "answer-too-early": ("holds an answer if", at(2, after="aggregator")),
    "more-proposals": ("layers that had not ended", at(2, after=None)),
    "message-twice": (
        "another message's",
        lambda lines: lines[2]["conversation"].append(lines[1]["messages"][0]),
    ),
    "finished-twice": (
        "stands there twice",
        lambda lines: lines[3:3].extend([{"type": "finished", "proposal": lines[2]["proposals"][2]}] * 2),
    ),
}


@pytest.mark.parametrize("name", ["unknown-step", "answer-too-early", "more-proposals", "message-twice"])
async def test_a_fault_of_a_fork_is_told(runs: Runs, name: str) -> None:
    words, change = FORK_FAULTS[name]
    await runs.start("why?", thread="t")
    await runs.fork("t", to="f", before="refine")
    lines = json.loads(json.dumps(await runs.export("f")))
    change(lines)
    with pytest.raises(MoAError, match=f"^<export>:3: .*{words}"):
        await runs.import_(pack(lines), to="copy")


async def test_a_finished_proposal_stands_there_once() -> None:
    spec = spec_of(quorums={"refine": 2})
    async with Runs.open("memory:", spec, models=models_of(c=[RuntimeError("broken")])) as runs:
        with pytest.raises(RunError):
            await runs.start("why?", thread="t")
        lines = await runs.export("t")
        with pytest.raises(MoAError, match="stands there twice"):
            await runs.import_(pack([*lines[:5], lines[4], *lines[5:]]), to="copy")


async def test_what_a_later_version_adds_is_passed_over(runs: Runs) -> None:
    await runs.start("why?", thread="t")
    lines = await runs.export("t")
    newer = [line | {"novelty": [1]} for line in lines]
    newer.insert(4, {"type": "thought", "text": "hm"})
    newer[-1]["lines"] += 1
    await runs.import_(pack(newer), to="copy")
    await same(runs)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.binary(max_size=3))
async def test_truncated_and_garbled_files_never_make_half_a_thread(place: float, noise: bytes) -> None:
    async with Runs.open("memory:", spec_of(), models=models_of()) as runs:
        await runs.start("why?", thread="t")
        content = pack(await runs.export("t"))
        cut = int(place * (len(content) - 2))
        garbled = content[:cut] + (noise + content[cut + 1 :] if noise else b"")
        try:
            await runs.import_(garbled, to="copy")
        except MoAError:
            assert [summary.thread for summary in await runs.threads()] == ["t"]
        else:
            assert noise
            assert len(await runs.history("copy")) == 4


ACTIONS = st.lists(
    st.sampled_from(["start", "step", "resume", "edit", "add", "drop", "approve", "break", "mend", "fork"]),
    max_size=12,
)


async def act(runs: Runs, thread: str, action: str, number: int) -> str:
    """Do something to a thread; return the thread to go on with."""
    edits: dict[str, tuple[str, dict[str, Any]]] = {
        "edit": ("draft/a", {"text": f"text {number}"}),
        "add": (f"draft/own-{number}", {"text": "own", "add": True}),
        "drop": ("draft/b", {"drop": True}),
    }
    match action:
        case "start":
            await runs.start(f"{number}?", thread=thread, abandon=number % 2 == 0)
        case "step":
            await runs.step(thread)
        case "resume":
            await runs.resume(thread)
        case "approve":
            await runs.approve(thread, who="ada")
        case "fork":
            return (await runs.fork(thread)).thread
        case _:
            proposal, options = edits[action]
            await runs.edit(thread, proposal, who="ada", **options)
    return thread


@settings(max_examples=25, deadline=None)
@given(ACTIONS)
async def test_any_story_survives_the_journey(actions: list[str]) -> None:
    broken: set[str] = set()

    def speak(name: str) -> Callable[[Any], str]:
        def reply(messages: Any) -> str:
            if name in broken:
                raise RuntimeError(f"{name} is broken")
            return f"{name}: {len(messages)}"

        return reply

    models = models_of(**{name: [speak(name)] for name in SLOTS})
    async with Runs.open("memory:", spec_of(quorums={"refine": 2}), models=models) as runs:
        await runs.start("first?", thread="t", breakpoints="all")
        current = "t"
        for number, action in enumerate(actions):
            if action == "break":
                broken.add("bcz"[number % 3])
            elif action == "mend":
                broken.clear()
            else:
                with suppress(ThreadError, RunError):
                    current = await act(runs, current, action, number)
        await copy(runs, current)
        await same(runs, current)
        broken.clear()
        before = calls_of(models)
        ours = await runs.resume(current)
        between = calls_of(models)
        theirs = await runs.resume("copy")
        assert theirs.status == ours.status == "answered"
        assert calls_of(models) - between == between - before
        assert [record["id"] for record in theirs.proposals] == [record["id"] for record in ours.proposals]
