"""Retrieval in threads: a step of its own, kept, shown, forked, exported, and never repeated without need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from moa_graph.errors import MoAError, RetrievalFailed, StoreError, ThreadError
from moa_graph.resources import Registered
from moa_graph.runs.portable import dump_line
from moa_graph.runs.stores import Store
from moa_graph.runs.threads import Runs
from moa_graph.spec.schema import MoASpec
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.retrievers import BEES, WASPS, Panel, passages

WIKI, OWN = passages("wiki", BEES), passages("own", WASPS)
ASKED = {"draft/a": "a", "draft/b": "b", "refine/c": "c", "aggregator/z": "z"}
QUESTION = "Who makes honey?"


def runs_of(panel: Panel, store: Store, spec: MoASpec | None = None) -> Runs:
    return Runs(store, spec or panel.spec, Registered(**panel.registered))


def retrieving(placement: str = "system", **parts: Any) -> Panel:
    """Return a panel of which all see "wiki", a and the aggregator "own" as well."""
    references = {"references": {"placement": placement}}
    panel = Panel().with_(
        retrieve="wiki",
        a={"retrieve": "own"},
        z={"retrieve": "own", "citations": "checked", **references},
        **parts,
    )
    panel.document["layers"][1].update(references)
    return panel


def exact(messages: list[BaseMessage]) -> list[tuple[str, Any]]:
    return [(message.type, message.content) for message in messages]


async def check_prompts(panel: Panel, runs: Runs, thread: str, calls: dict[str, str] | None = None) -> None:
    for id_, name in (calls or ASKED).items():
        assert exact(await runs.prompt(thread, id_)) == exact(panel.models[name].calls[-1]), id_


def pack(lines: list[dict[str, Any]]) -> bytes:
    return "".join(map(dump_line, lines)).encode()


@pytest.mark.parametrize("placement", ["system", "user"])
async def test_prompts_are_rebuilt_with_their_passages(store: Store, placement: str) -> None:
    panel = retrieving(placement)
    runs = runs_of(panel, store)
    await runs.start([("system", "Be brief."), ("user", QUESTION)], thread="t")
    await check_prompts(panel, runs, "t")
    panel.wiki.texts = {"hornets.md": "Hornets make nothing."}
    await runs.start("And hornets?", thread="t")
    await check_prompts(panel, runs, "t")


async def test_a_prompt_of_a_layer_that_has_not_ended_is_rebuilt_exactly(store: Store) -> None:
    panel = Panel(b=Model(ValueError("down"), "b says so.")).with_(a={"retrieve": "own"})
    panel.document["layers"][0]["quorum"] = 2
    runs = runs_of(panel, store)
    with pytest.raises(MoAError):
        await runs.start(QUESTION, thread="t")
    await check_prompts(panel, runs, "t", {"draft/a": "a"})
    await runs.resume("t")  # under another mark: a is not asked again
    assert len(panel.models["a"].calls) == 1
    await check_prompts(panel, runs, "t")


async def test_retrieval_is_a_step(store: Store) -> None:
    panel = retrieving()
    runs = runs_of(panel, store)
    run = await runs.start(QUESTION, thread="t", breakpoints="all")
    assert (run.next_layer, run.passages, panel.wiki.asked) == ("retrieve", [], [])
    run = await runs.step("t")
    assert (run.next_layer, run.passages, panel.calls) == ("draft", WIKI, [0] * 5)
    run = await runs.step("t")
    assert (run.next_layer, [record["id"] for record in run.proposals]) == ("refine", ["draft/a", "draft/b"])
    run = await runs.resume("t")
    assert run.status == "answered"
    assert [source["id"] for source in run.sources] == [WIKI[0]["id"], OWN[0]["id"]]
    assert panel.wiki.asked == [QUESTION]
    assert [point.event for point in await runs.history("t")] == [
        *["question", "retrieve", "draft", "refine", "aggregator"],
    ]
    assert (await runs.show("t", checkpoint=1)).passages == WIKI
    assert (await runs.show("t", checkpoint=0)).passages == []


async def test_there_is_nothing_to_edit_after_retrieval(store: Store) -> None:
    runs = runs_of(retrieving(), store)
    await runs.start(QUESTION, thread="t", breakpoints=["draft"])
    with pytest.raises(ThreadError, match="no layer of thread 't' has ended yet"):
        await runs.edit("t", "draft/a", text="Mine.")
    with pytest.raises(ThreadError, match="no layer of thread 't' has ended yet"):
        await runs.approve("t")


async def test_a_failure_of_retrieval_is_the_threads_and_resuming_retrieves_again(store: Store) -> None:
    panel = retrieving()
    panel.wiki.error = OSError("down")
    runs = runs_of(panel, store)
    with pytest.raises(RetrievalFailed):
        await runs.start(QUESTION, thread="t")
    run = await runs.status("t")
    assert (run.status, run.next_layer, run.calls) == ("failed", "retrieve", 0)
    assert "retriever wiki: OSError: down" in run.reason
    panel.wiki.error = None
    assert (await runs.resume("t")).passages == WIKI


async def test_another_process_goes_on_after_retrieval_without_retrieving(store: Store) -> None:
    panel = retrieving()
    await runs_of(panel, store).start(QUESTION, thread="t", breakpoints=["draft"])
    panel.wiki.texts = {}
    run = await runs_of(panel, store).resume("t")
    assert (run.status, run.passages, panel.wiki.asked) == ("answered", WIKI, [QUESTION])
    assert panel.shown("b") == WIKI


async def test_what_one_retriever_found_outlives_a_cancelled_run(store: Store) -> None:
    panel = Panel().with_(retrieve=["wiki", "own"])
    panel.own.held = asyncio.Event()
    runs = runs_of(panel, store)
    running = runs.start(QUESTION, thread="t")
    async for event in running:
        if event["type"] == "retrieval.finished":
            await _until_kept(runs, store)
            break
    panel.own.held.set()
    await runs_of(panel, store).resume("t")
    assert panel.wiki.asked == [QUESTION]
    assert panel.shown("a") == [*WIKI, *OWN]


async def _until_kept(runs: Runs, store: Store) -> None:
    """Wait until what a task gave is committed, which LangGraph does in the background."""
    for _ in range(200):
        found = await store.saver().aget_tuple({"configurable": {"thread_id": "t"}})
        if found and any(value == WIKI for _, _, value in found.pending_writes or []):
            return
        await asyncio.sleep(0)
    raise AssertionError("not kept")


async def test_warnings_of_retrieval_stay_with_the_turn(store: Store) -> None:
    panel = Panel().with_(retrieve="wiki", wiki={"on_error": "continue"})
    panel.wiki.error = OSError("down")
    runs = runs_of(panel, store)
    run = await runs.start(QUESTION, thread="t", breakpoints=["draft"])
    assert run.warnings == ["retriever wiki: OSError: down"]
    run = await runs_of(panel, store).resume("t")
    assert run.warnings == ["retriever wiki: OSError: down"]
    panel.wiki.error = None
    run = await runs.start("Again?", thread="t")
    assert (run.warnings, run.passages) == ([], WIKI)


def _a_text(passage: Any) -> Any:
    return "a passage"


def _without_its_id(passage: dict[str, Any]) -> Any:
    return {key: value for key, value in passage.items() if key != "id"}


@pytest.mark.parametrize("spoil", [_a_text, _without_its_id])
@pytest.mark.parametrize("ended", [True, False])
async def test_passages_of_another_shape_are_not_believed(store: Store, spoil: Any, *, ended: bool) -> None:
    panel = Panel().with_(retrieve=["wiki", "own"])
    panel.own.error = None if ended else OSError("down")
    runs = runs_of(panel, store)
    with pytest.raises(RetrievalFailed) if not ended else nullcontext():
        await runs.start(QUESTION, thread="t", breakpoints=["draft"])
    found = await store.saver().aget_tuple({"configurable": {"thread_id": "t"}})
    assert found is not None
    saver, spoiled = store.saver(), [spoil(WIKI[0])]
    if ended:
        await (
            runs_of(panel, store)
            ._mixture(await runs.record("t"))
            .graph(store)
            .aupdate_state(
                {"configurable": {"thread_id": "t"}, "metadata": dict(found.metadata)},
                {"passages": spoiled},
                as_node="retrieve",
            )
        )
    else:
        await saver.aput_writes(found.config, [("__return__", spoiled)], "another-task")
    with pytest.raises(StoreError, match=r"cannot be trusted|is not what a run writes|cannot be read"):
        await runs_of(panel, store).resume("t")
    assert panel.calls == [0] * 5


# -- forks -------------------------------------------------------------------------------------------------


async def test_a_fork_takes_the_passages_over(store: Store) -> None:
    panel = retrieving()
    runs = runs_of(panel, store)
    await runs.start(QUESTION, thread="t")
    asked = len(panel.own.asked)
    fork = await runs.fork("t", to="f", before="draft")
    assert (fork.next_layer, fork.passages, fork.proposals) == ("draft", WIKI, [])
    await runs.resume("f")
    assert panel.wiki.asked == [QUESTION]
    assert len(panel.own.asked) == asked + 2
    await check_prompts(panel, runs, "f")


async def test_a_fork_under_another_aggregator_keeps_proposals_and_passages(store: Store) -> None:
    panel = retrieving()
    runs = runs_of(panel, store)
    await runs.start(QUESTION, thread="t")
    panel.with_(z={"model": "y"})
    fork = await runs.fork("t", to="f", spec=panel.spec)
    assert (fork.next_layer, fork.passages) == ("aggregator", WIKI)
    run = await runs.resume("f")
    assert run.answered_by == "y"
    assert panel.shown("y") == [*WIKI, *OWN]
    assert panel.wiki.asked == [QUESTION]
    await check_prompts(panel, runs, "f", {"aggregator/y": "y"})


async def test_a_fork_that_retrieves_otherwise_begins_anew(store: Store) -> None:
    panel = retrieving()
    runs = runs_of(panel, store)
    await runs.start(QUESTION, thread="t", breakpoints=["aggregator"])
    panel.with_(retrieve="own")
    fork = await runs.fork("t", to="f", spec=panel.spec)
    assert (fork.next_layer, fork.passages, fork.proposals) == ("retrieve", [], [])
    run = await runs.resume("f")
    assert (run.status, run.passages) == ("answered", OWN)
    assert panel.wiki.asked == [QUESTION]


async def test_a_fork_without_retrieval_forgets_the_passages(store: Store) -> None:
    panel = retrieving()
    runs = runs_of(panel, store)
    await runs.start(QUESTION, thread="t", breakpoints=["draft"])
    panel.with_(retrieve=[])
    await runs.fork("t", to="f", spec=panel.spec)
    run = await runs.resume("f")
    assert (run.passages, panel.shown("b")) == ([], [])


async def test_a_fork_keeps_what_a_layer_had_made_from_the_passages(store: Store) -> None:
    panel = Panel(b=Model(ValueError("down"), "b says so.")).with_(retrieve="wiki")
    panel.document["layers"][0]["quorum"] = 2
    runs = runs_of(panel, store)
    with pytest.raises(MoAError):
        await runs.start(QUESTION, thread="t")
    fork = await runs.fork("t", to="f")
    assert (fork.next_layer, [record["id"] for record in fork.proposals]) == ("draft", ["draft/a"])
    await check_prompts(panel, runs, "f", {"draft/a": "a"})
    await runs.resume("f")
    assert (len(panel.models["a"].calls), panel.wiki.asked) == (1, [QUESTION])
    await check_prompts(panel, runs, "f")


# -- export and import -------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(panel: Panel) -> AsyncIterator[Runs]:
    async with Runs.open("memory:", panel.spec, **panel.registered) as runs:
        yield runs


async def copy(runs: Runs, thread: str = "t") -> list[dict[str, Any]]:
    """Export and import a thread as "copy"; the copy is told by the same lines."""
    lines = await runs.export(thread)
    await runs.import_(pack(lines), to="copy")
    assert (await runs.export("copy"))[1:] == lines[1:]
    return lines


async def test_passages_go_along_with_an_export() -> None:
    panel = retrieving("user")
    async with opened(panel) as runs:
        await runs.start(QUESTION, thread="t")
        await runs.start("And then?", thread="t")
        lines = await copy(runs)
        one = ["turn", "question", "retrieve", "layer", "layer", "answer", "status"]
        assert [line["type"] for line in lines] == ["thread", *one, *one, "end"]
        assert lines[3]["passages"] == WIKI
        assert {"nonce", "warnings"} <= lines[3].keys()
        assert "nonce" not in lines[4]
        await check_prompts(panel, runs, "copy")
        assert (await runs.status("copy")).sources == (await runs.status("t")).sources


async def test_a_thread_stopped_after_retrieval_goes_on_as_an_import() -> None:
    panel = Panel().with_(retrieve=["wiki", "own"], wiki={"on_error": "continue"})
    panel.wiki.error = OSError("down")
    async with opened(panel) as runs:
        await runs.start(QUESTION, thread="t", breakpoints=["draft"])
        await copy(runs)
        run = await runs.resume("copy")
        assert (run.passages, run.warnings) == (OWN, ["retriever wiki: OSError: down"])
        assert panel.own.asked == [QUESTION]


async def test_warnings_of_one_turn_are_not_those_of_the_next_in_an_import() -> None:
    panel = Panel().with_(retrieve=["wiki", "own"], wiki={"on_error": "continue"})
    panel.wiki.error = OSError("down")
    async with opened(panel) as runs:
        await runs.start(QUESTION, thread="t")
        panel.wiki.error = None
        await runs.start("Again?", thread="t", breakpoints=["draft"])
        await copy(runs)
        assert (await runs.status("copy")).warnings == []
        assert (await runs.resume("copy")).warnings == []


@pytest.mark.parametrize("before", ["draft", "aggregator", "retrieve"])
async def test_a_fork_with_passages_goes_along_with_an_export(before: str) -> None:
    panel = retrieving()
    async with opened(panel) as runs:
        await runs.start(QUESTION, thread="t")
        await runs.fork("t", to="f", before=before)
        lines = await copy(runs, "f")
        [fork] = [line for line in lines if line["type"] == "fork"]
        assert fork.get("passages") == (None if before == "retrieve" else WIKI)
        run = await runs.resume("copy")
        assert (run.status, run.passages) == ("answered", WIKI)
        assert len(panel.wiki.asked) == (2 if before == "retrieve" else 1)


async def test_an_export_without_texts_has_no_texts_of_passages() -> None:
    panel = retrieving()
    async with opened(panel) as runs:
        await runs.start(QUESTION, thread="t")
        told = pack(await runs.export("t", texts=False)).decode()
    assert "Bees make honey" not in told
    assert "Wasps make paper" not in told
    assert WIKI[0]["id"] in told


def _without_retrieval(lines: list[dict[str, Any]]) -> None:
    del lines[3]


def _retrieval_twice(lines: list[dict[str, Any]]) -> None:
    lines.insert(4, lines[3])


def _retrieval_as_a_layer(lines: list[dict[str, Any]]) -> None:
    lines[3] |= {"type": "layer", "layer": "retrieve", "proposals": []}


def _edit_after_retrieval(lines: list[dict[str, Any]]) -> None:
    edit = {"type": "edit", "when": lines[3]["when"], "what": "approved", "by": "me", "proposals": []}
    lines.insert(4, edit)


def _call_of_retrieval(lines: list[dict[str, Any]]) -> None:
    record = lines[4]["proposals"][0] | {"id": "retrieve/a", "layer": "retrieve"}
    lines.insert(-2, {"type": "failure", "proposal": record})


def _passage_without_id(lines: list[dict[str, Any]]) -> None:
    del lines[3]["passages"][0]["id"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without_retrieval, ":4: the step that comes next is retrieve"),
        (_retrieval_twice, ":5: the step that comes next is draft"),
        (_retrieval_as_a_layer, ":4: retrieve is no layer"),
        (_edit_after_retrieval, ":5: there is no layer whose proposals could be edited"),
        (_call_of_retrieval, ":8: 'retrieve/a' is the id of no call"),
        (_passage_without_id, ":4: retrieve.passages.0.id: Field required"),
    ],
)
async def test_an_export_that_tells_no_true_story_is_refused(change: Any, reason: str) -> None:
    async with opened(retrieving()) as runs:
        await runs.start(QUESTION, thread="t")
        lines = await runs.export("t")
        change(lines)
        with pytest.raises(MoAError) as caught:
            await runs.import_(pack(lines), to="copy")
        assert reason in caught.value.message
