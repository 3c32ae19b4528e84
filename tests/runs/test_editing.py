"""Between two layers a proposal can be changed, dropped, added and approved; what was there stays."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.errors import AggregatorFailed, MoAError, QuorumNotMet, ThreadError
from moa_graph.runs import records
from moa_graph.runs.stores import Store
from moa_graph.runs.threads import Runs
from tests.runs.cast import THREE, TWO, Cast
from tests.runs.test_threads import interrupt


async def stopped(store: Store, cast: Cast, before: str = "refine") -> Runs:
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", breakpoints=[before])
    return runs


async def test_an_edited_text_is_what_later_prompts_hold(store: Store) -> None:
    cast = Cast(TWO)
    runs = await stopped(store, cast)
    run = await runs.edit("t", "draft/a", text="Better.\x00")
    assert [(record["text"], record["edited"]) for record in run.proposals] == [
        ("Better.\ufffd", True),
        ("b1", False),
    ]
    await runs.resume("t")
    for name in "cd":
        assert str(cast.seen(name)[0].text).endswith("\n1. Better.\ufffd\n2. b1")
    assert cast.sent == dict.fromkeys("abcdz", 1)


async def test_a_dropped_proposal_is_shown_to_nobody_and_can_be_brought_back(store: Store) -> None:
    cast = Cast(TWO)
    runs = await stopped(store, cast)
    run = await runs.edit("t", "draft/a", drop=True)
    assert [record["status"] for record in run.proposals] == ["dropped", "ok"]
    await runs.step("t")
    assert str(cast.seen("c")[0].text).endswith("\n1. b1")
    fork = await runs.fork("t", before="refine")
    await runs.edit(fork.thread, "draft/a", text="a1")
    await runs.step(fork.thread)
    assert str(cast.seen("c")[0].text).endswith("\n1. a1\n2. b1")


async def test_an_added_proposal_stands_last_and_is_part_of_the_record(store: Store) -> None:
    cast = Cast(TWO)
    runs = await stopped(store, cast)
    await runs.edit("t", "draft/me", text="Mine.", add=True)
    run = await runs.resume("t")
    assert str(cast.seen("c")[0].text).endswith("\n1. a1\n2. b1\n3. Mine.")
    assert [record["id"] for record in run.proposals] == [
        "draft/a",
        "draft/b",
        "draft/me",
        "refine/c",
        "refine/d",
    ]
    mine = run.proposals[2]
    assert (mine["requested_model"], mine["attempts"], mine["edited"]) == ("by hand", 0, True)
    assert run.calls == 5


async def test_edits_are_recorded_with_who_when_and_what_and_the_originals_stay(store: Store) -> None:
    cast = Cast(TWO)
    runs = await stopped(store, cast)
    await runs.edit("t", "draft/a", text="Better.", who="Ada\x00")
    await runs.edit("t", "draft/b", drop=True, who="Bob")
    await runs.edit("t", "draft/me", text="Mine.", add=True)
    await runs.approve("t", who="Eve")
    await runs.resume("t")
    history = await runs.history("t")
    assert [(point.event, point.by) for point in history] == [
        ("question", None),
        ("draft", None),
        ("edited draft/a", "Ada\ufffd"),
        ("dropped draft/b", "Bob"),
        ("added draft/me", records.whoami()),
        ("approved draft", "Eve"),
        ("refine", None),
        ("aggregator", None),
    ]
    assert [point.when for point in history] == sorted(point.when for point in history)
    assert [(point.ok, point.failed) for point in history[1:6]] == [(2, 0), (2, 0), (1, 1), (2, 1), (2, 1)]
    original = await runs.show("t", checkpoint=history[1].number)
    assert [(record["text"], record["status"]) for record in original.proposals] == [
        ("a1", "ok"),
        ("b1", "ok"),
    ]
    assert not any(record["edited"] for record in original.proposals)


async def test_an_edit_costs_nothing_and_moves_nothing(store: Store) -> None:
    cast = Cast(TWO)
    runs = await stopped(store, cast)
    before = await runs.status("t")
    run = await runs.approve("t")
    assert (run.calls, run.calls_left, run.next_layer) == (before.calls, before.calls_left, "refine")
    assert run.proposals == before.proposals
    assert cast.sent == {"a": 1, "b": 1}


async def test_a_failed_proposal_can_be_written_by_hand_and_is_counted_once(store: Store) -> None:
    cast = Cast(TWO)
    cast.fail("a")
    runs = await stopped(store, cast)
    run = await runs.edit("t", "draft/a", text="Mine.")
    assert run.calls == 2
    assert run.proposals[0]["failure"] is None
    assert (await runs.resume("t")).calls == 5
    assert str(cast.seen("c")[0].text).endswith("\n1. Mine.\n2. b1")


async def test_all_dropped_leaves_nothing_to_synthesize(store: Store) -> None:
    cast = Cast(THREE)
    runs = await stopped(store, cast, "aggregator")
    for id_ in ("draft/a", "draft/b", "draft/c"):
        await runs.edit("t", id_, drop=True)
    with pytest.raises(AggregatorFailed, match="left no proposal"):
        await runs.resume("t")
    assert "z" not in cast.sent
    await runs.edit("t", "draft/b", text="b1")
    assert (await runs.resume("t")).answer == "z1"


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"proposal": "draft/x", "text": "x"}, "there is no proposal 'draft/x'", "Did you mean draft/"),
    ({"proposal": "draft/" + 30 * "z", "text": "x"}, "there is no proposal", "There are: draft/a, draft/b"),
    ({"proposal": "drift/a", "text": "x"}, "there is no proposal 'drift/a'", "Did you mean draft/a?"),
    ({"proposal": "refine/c", "text": "x"}, "layer refine has not run yet", "proposals of draft"),
    ({"proposal": "aggregator/z", "text": "x"}, "layer aggregator has not run yet", "draft"),
    ({"proposal": "draft/a", "text": "x", "add": True}, "there is a proposal 'draft/a' already", "add"),
    ({"proposal": "draft/", "text": "x", "add": True}, "'draft/' is no proposal's id", "LAYER/NAME"),
    ({"proposal": "draft/me", "drop": True, "add": True}, "needs a text", "text="),
    ({"proposal": "draft/a"}, "needs either a text or drop", "drop=True"),
    ({"proposal": "draft/a", "text": "x", "drop": True}, "needs either a text or drop", "drop=True"),
    ({"proposal": "draft/a", "text": " \n"}, "cannot be blank", "Drop it"),
]


@pytest.mark.parametrize(("edit", "says", "hint"), REFUSED)
async def test_what_cannot_be_edited_is_refused_in_helpful_words(
    store: Store, edit: dict[str, Any], says: str, hint: str
) -> None:
    runs = await stopped(store, Cast(TWO))
    before = await runs.history("t")
    with pytest.raises(MoAError) as caught:
        await runs.edit("t", **edit)
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert await runs.history("t") == before


async def test_an_added_id_bears_no_lone_surrogate(store: Store) -> None:
    runs = await stopped(store, Cast(TWO))
    run = await runs.edit("t", "draft/\ud800", text="Mine.", add=True)
    assert run.proposals[2]["id"] == "draft/\ufffd"
    assert (await runs.edit("t", "draft/\ud800", drop=True)).proposals[2]["status"] == "dropped"


async def test_used_proposals_cannot_be_edited(store: Store) -> None:
    cast = Cast(TWO)
    runs = await stopped(store, cast, "aggregator")
    with pytest.raises(ThreadError, match="the proposals of draft have been used by refine") as caught:
        await runs.edit("t", "draft/a", text="x")
    assert "--before refine" in caught.value.hint
    await runs.resume("t")
    for attempt in (lambda: runs.edit("t", "refine/c", text="x"), lambda: runs.approve("t")):
        with pytest.raises(ThreadError, match="is answered") as caught:
            await attempt()
        assert "--before aggregator" in caught.value.hint


async def test_before_the_first_layer_there_is_nothing_to_edit(store: Store) -> None:
    cast = Cast(TWO, layer={"draft": {"quorum": 2}})
    runs = await stopped(store, cast, "draft")
    with pytest.raises(ThreadError, match="no layer of thread 't' has ended") as caught:
        await runs.edit("t", "draft/a", text="x")
    assert "moa step t" in caught.value.hint
    cast.fail("a")
    with pytest.raises(QuorumNotMet):
        await runs.resume("t")
    with pytest.raises(ThreadError, match="no layer of thread 't' has ended"):
        await runs.approve("t")


async def test_proposals_that_a_layer_is_being_made_from_cannot_be_edited(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    cast.hold("d")
    await interrupt(cast, runs)
    with pytest.raises(ThreadError, match="layer refine has begun: 1 of its proposals") as caught:
        await runs.edit("t", "draft/a", text="x")
    assert "--before refine" in caught.value.hint


async def test_a_second_turn_begins_without_edits_of_the_first(store: Store) -> None:
    cast = Cast(TWO)
    runs = await stopped(store, cast)
    await runs.edit("t", "draft/a", text="Better.")
    await runs.resume("t")
    stop = await runs.start("And then?", thread="t", breakpoints=["refine"])
    assert [record["text"] for record in stop.proposals] == ["a2", "b2"]
    with pytest.raises(ThreadError, match="no proposal 'draft/zzzzzzzzz'"):
        await runs.edit("t", "draft/zzzzzzzzz", drop=True)


def test_an_unknown_user_still_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(records.getpass, "getuser", unknown)
    assert records.whoami().startswith("user ")
    monkeypatch.delattr(records.os, "getuid")
    assert records.whoami() == "unknown"


async def test_an_answer_that_is_committed_but_not_written_down_is_not_put_at_risk(store: Store) -> None:
    cast = Cast(TWO)
    runs = await stopped(store, cast, "aggregator")
    loaded = await runs._load(await runs.record("t"))
    record = {**loaded.proposals["refine/c"], "id": "aggregator/z", "layer": "aggregator", "proposer": "z"}
    answer = {"proposal": record, "failures": [], "message_id": None, "metadata": {}}
    # As a process leaves it that dies between the commit of the answer and its node's end.
    await store.saver().aput_writes(loaded.snapshot.config, [("__return__", answer)], "a-task")
    run = await runs.status("t")
    assert (run.calls_left, run.cost_left, run.calls) == (0, 0.0, 5)
    with pytest.raises(ThreadError, match="is made, and only has to be written down"):
        await runs.edit("t", "refine/c", drop=True)
    with pytest.raises(ThreadError, match="is made, and only has to be written down"):
        await runs.fork("t")
    assert (await runs.fork("t", before="refine")).next_layer == "refine"


async def test_a_thread_whose_process_died_is_edited_as_an_interrupted_one(store: Store) -> None:
    cast = Cast(TWO)
    runs = await stopped(store, cast)
    record = await runs.record("t")
    record.turn.status, record.turn.reason = "running", ""
    await record.save(store)
    run = await runs.edit("t", "draft/a", drop=True)
    assert (run.status, run.reason) == ("interrupted", "its process ended without a word")
    assert (await runs.approve("t")).status == "interrupted"
