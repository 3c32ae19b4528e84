"""A fork re-uses what is valid, asks for the rest only, says so before, and leaves its original alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moa_graph.errors import QuorumNotMet, SpecMismatch, StoreError, ThreadError
from moa_graph.runs.records import ThreadRecord
from moa_graph.runs.run import Run
from moa_graph.runs.stores import Store
from moa_graph.runs.threads import Runs
from tests.runs.cast import THREE, TWO, Cast
from tests.runs.test_threads import interrupt, texts

Change = Callable[[dict[str, Any]], Any]


async def rows(store: Store, thread: str = "t") -> Any:
    """Return all that a store holds of a thread."""
    items = [item async for item in store.saver().alist({"configurable": {"thread_id": thread}})]
    return repr(await store.read(thread)), repr(items)


async def resume(cast: Cast, runs: Runs, fork: Run) -> dict[str, int]:
    """Run a fork, and return whom it asked: as many as it had said."""
    before = cast.sent
    assert (await runs.resume(fork.thread)).status == "answered"
    asked = cast.since(before)
    assert sum(asked.values()) == fork.calls_left
    return asked


def set_aggregator(slot: str) -> Change:
    return lambda spec: spec["aggregator"].update(model=slot)


def set_proposer(layer: int, place: int, **parts: Any) -> Change:
    return lambda spec: spec["layers"][layer]["proposers"][place].update(parts)


def set_layer(layer: int, **parts: Any) -> Change:
    return lambda spec: spec["layers"][layer].update(parts)


async def test_an_unchanged_fork_of_an_answered_thread_costs_nothing(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    answered = await runs.start("Why?", thread="t")
    there = await rows(store)
    fork = await runs.fork("t")
    assert (fork.thread, fork.status, fork.answer, fork.calls_left, fork.cost_left) == (
        "t~1",
        "answered",
        "z1",
        0,
        0.0,
    )
    assert fork.proposals == answered.proposals
    assert await resume(cast, runs, fork) == {}
    assert await rows(store) == there


CHANGES: list[tuple[str, Change, dict[str, int]]] = [
    ("aggregator", set_aggregator("y"), {"y": 1}),
    ("fallback", lambda spec: spec["aggregator"].update(fallbacks=["y"]), {"z": 1}),
    ("aggregator's words", lambda spec: spec["aggregator"].update(system="Be brief."), {"z": 1}),
    (
        "aggregator's placement",
        lambda spec: spec["aggregator"].update(references={"placement": "user"}),
        {"z": 1},
    ),
    ("later proposer", set_proposer(1, 1, model="x"), {"x": 1, "z": 1}),
    ("later proposer's words", set_proposer(1, 0, system="Doubt."), {"c": 1, "z": 1}),
    ("later layer's placement", set_layer(1, references={"placement": "user"}), {"c": 1, "d": 1, "z": 1}),
    ("first proposer", set_proposer(0, 0, model="x", id="a"), {"x": 1, "c": 1, "d": 1, "z": 1}),
    (
        "temperature of a slot",
        lambda spec: spec["models"]["b"].update(temperature=0.1),
        {"b": 1, "c": 1, "d": 1, "z": 1},
    ),
    ("one more", lambda spec: spec["layers"][1]["proposers"].append({"model": "x"}), {"x": 1, "z": 1}),
    ("one less", lambda spec: spec["layers"][1]["proposers"].pop(), {"z": 1}),
    ("renamed", set_layer(1, name="other"), {"c": 1, "d": 1, "z": 1}),
    ("first renamed", set_layer(0, name="other"), {"a": 1, "b": 1, "c": 1, "d": 1, "z": 1}),
    (
        "one layer more",
        lambda spec: spec["layers"].append({"name": "third", "proposers": [{"model": "x"}]}),
        {"x": 1, "z": 1},
    ),
    ("one layer less", lambda spec: spec["layers"].pop(), {"z": 1}),
    (
        "patience",
        lambda spec: spec.update(defaults={"timeout": 9, "attempts": 2}, limits={"deadline": 99}),
        {},
    ),
    ("price", lambda spec: spec["models"]["a"].update(price={"input": 1, "output": 1}), {}),
    ("quorum that is there", set_layer(0, quorum=2), {}),
    ("description", lambda spec: spec.update(description="Another one."), {}),
]


@pytest.mark.parametrize(("change", "asked"), [pytest.param(*rest, id=name) for name, *rest in CHANGES])
async def test_a_changed_fork_asks_for_what_is_not_valid_any_more(
    store: Store, change: Change, asked: dict[str, int]
) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    there = await rows(store)
    fork = await runs.fork("t", spec=cast.changed(change))
    assert fork.calls_left == sum(asked.values())
    assert await resume(cast, runs, fork) == asked
    assert await rows(store) == there
    final = cast.seen("y" if "y" in asked else "z")
    assert texts(final)[-1][0] == "human"
    shown = [record for record in (await runs.show(fork.thread)).proposals if record["status"] == "ok"]
    last = [record["text"] for record in shown if record["layer"] == shown[-1]["layer"]]
    assert all(f"{text}" in str([message.text for message in final]) for text in last)


async def test_a_thread_of_the_same_runs_goes_on_under_either_spec(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", breakpoints=["aggregator"])
    await runs.fork("t", to="other", spec=cast.changed(set_aggregator("y")))
    assert (await runs.resume("other")).answer == "y1"
    assert (await runs.resume("t")).answer == "z1"
    with pytest.raises(SpecMismatch):  # another process knows its own spec only
        await cast.runs(store).start("And?", thread="other")


@pytest.mark.parametrize(("held", "kept"), [("b", ["a1"]), ("d", ["a1", "b1", "c1"])])
async def test_a_fork_keeps_what_finished_of_a_layer_that_did_not_end(
    store: Store, held: str, kept: list[str]
) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    cast.hold(held)
    await interrupt(cast, runs)
    there = await rows(store)
    fork = await runs.fork("t")
    assert [record["text"] for record in fork.proposals] == kept
    assert fork.calls == len(kept)
    again = await runs.fork(fork.thread, to="again")  # a fork of a fork keeps it, too
    assert [record["text"] for record in again.proposals] == kept
    left = {"b": 1, "c": 1, "d": 1, "z": 1} if held == "b" else {"d": 1, "z": 1}
    assert await resume(cast, runs, fork) == left
    done = await runs.status(fork.thread)
    assert [record["text"] for record in done.proposals][: len(kept)] == kept
    assert done.calls == 5
    assert await resume(cast, runs, again) == left
    assert await rows(store) == there


async def test_a_changed_sibling_of_a_layer_that_did_not_end(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    cast.hold("c")
    await interrupt(cast, runs)
    fork = await runs.fork("t", spec=cast.changed(set_proposer(0, 0, model="x", id="a")))
    assert [record["text"] for record in fork.proposals] == ["b1"]
    assert await resume(cast, runs, fork) == {"x": 1, "c": 1, "z": 1}
    ids = [record["id"] for record in (await runs.status(fork.thread)).proposals]
    assert ids == ["draft/a", "draft/b", "draft/c"]


async def test_a_raised_quorum_asks_again_for_what_failed(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    cast.fail("b")
    await runs.start("Why?", thread="t")
    cast.mend()
    fork = await runs.fork("t", spec=cast.changed(set_layer(0, quorum=3)))
    assert await resume(cast, runs, fork) == {"b": 1, "z": 1}


async def test_a_lowered_quorum_goes_on_with_what_is_there(store: Store) -> None:
    cast = Cast(TWO, layer={"draft": {"quorum": 2}})
    runs = cast.runs(store)
    cast.fail("a")
    with pytest.raises(QuorumNotMet):
        await runs.start("Why?", thread="t")
    cast.mend()
    fork = await runs.fork("t", spec=cast.changed(set_layer(0, quorum=1)))
    assert [record["status"] for record in fork.proposals] == ["failed", "ok"]
    assert fork.next_layer == "refine"
    assert await resume(cast, runs, fork) == {"c": 1, "d": 1, "z": 1}
    unchanged = await runs.fork("t")  # but under the old one what failed is tried again
    assert await resume(cast, runs, unchanged) == {"a": 1, "c": 1, "d": 1, "z": 1}


async def test_what_failed_once_and_then_succeeded_is_taken_as_it_ended(store: Store) -> None:
    cast = Cast(TWO, layer={"draft": {"quorum": 2}})
    runs = cast.runs(store)
    cast.fail("a")
    with pytest.raises(QuorumNotMet):
        await runs.start("Why?", thread="t")
    cast.mend()
    await runs.resume("t", breakpoints=["aggregator"])
    fork = await runs.fork("t")
    assert [record["status"] for record in fork.proposals] == ["ok"] * 4
    assert await resume(cast, runs, fork) == {"z": 1}


async def test_a_fork_from_a_checkpoint_by_number_by_id_and_before_a_step(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    history = await runs.history("t")
    asked = [{"c": 1, "d": 1, "z": 1}, {"z": 1}]
    for point, step, expected in zip(history[1:3], ["refine", "aggregator"], asked, strict=True):
        assert point.next_layer == step
        for place in (
            {"checkpoint": point.number},
            {"checkpoint": str(point.number)},
            {"checkpoint": point.id},
            {"before": step},
        ):
            fork = await runs.fork("t", **place)  # type: ignore[arg-type]
            assert await resume(cast, runs, fork) == expected
    fork = await runs.fork("t", before="draft")
    assert await resume(cast, runs, fork) == {"a": 1, "b": 1, "c": 1, "d": 1, "z": 1}
    assert fork.thread == "t~9"


async def test_a_fork_of_an_earlier_turn_goes_on_from_its_conversation(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    await runs.start("And then?", thread="t")
    first = next(point for point in await runs.history("t") if point.event == "aggregator")
    fork = await runs.fork("t", checkpoint=first.number)
    assert (fork.status, fork.answer, fork.question) == ("answered", "z1", "Why?")
    await runs.start("Instead?", thread=fork.thread)
    assert texts(cast.seen("a")) == [("human", "Why?"), ("ai", "z1"), ("human", "Instead?")]


async def test_a_fork_before_a_step_takes_nothing_of_it(store: Store) -> None:
    """Else the proposals that it is made for could not be edited."""
    cast = Cast(TWO)
    runs = cast.runs(store)
    cast.hold("d")
    await interrupt(cast, runs)
    carrying = await runs.fork("t")
    with pytest.raises(ThreadError, match="has begun") as caught:
        await runs.edit(carrying.thread, "draft/a", text="Better.")
    assert "--before refine" in caught.value.hint
    fork = await runs.fork(carrying.thread, before="refine")
    await runs.edit(fork.thread, "draft/a", text="Better.")
    assert sum((await resume(cast, runs, fork)).values()) == 3
    assert "\n1. Better.\n2. b1" in str(cast.seen("c")[0].text)


async def test_a_proposal_added_by_hand_comes_along(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", breakpoints=["aggregator"])
    await runs.edit("t", "draft/me", text="Mine.", add=True)
    fork = await runs.fork("t", spec=cast.changed(set_proposer(0, 1, model="x", id="b")))
    assert [record["text"] for record in fork.proposals] == ["a1", "c1", "Mine."]
    assert await resume(cast, runs, fork) == {"x": 1, "z": 1}
    assert str(cast.seen("z")[0].text).endswith("\n1. a1\n2. x1\n3. c1\n4. Mine.")


async def test_a_fork_that_is_refused(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    with pytest.raises(ThreadError, match="there is a thread 't' already"):
        await runs.fork("t", to="t")
    with pytest.raises(ThreadError, match="there is no step 'refin'") as caught:
        await runs.fork("t", before="refin")
    assert "draft, refine, aggregator" in caught.value.hint
    for place in (99, "1f000000-0000-6000-8000-000000000000", "x"):
        with pytest.raises(ThreadError, match="no checkpoint") as caught:
            await runs.fork("t", checkpoint=place)
        assert "moa history t" in caught.value.hint
    assert await store.keys() == ["t"]


async def test_a_fork_that_was_not_completed_says_so(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", breakpoints=["refine"])
    fork = await runs.fork("t")
    await store.saver().adelete_thread(fork.thread)
    with pytest.raises(ThreadError, match="was not completed") as caught:
        await runs.resume(fork.thread)
    assert "Delete it and fork again" in caught.value.hint
    await runs.delete(fork.thread)
    assert (await runs.fork("t")).thread == fork.thread


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the store fail right after a fork's record was written so many times, once."""
    save = ThreadRecord.save

    def die(after: int) -> None:
        written = 0

        async def saves(self: ThreadRecord, store: Store) -> None:
            nonlocal written
            await save(self, store)
            written += self.origin is not None
            if written == after:
                monkeypatch.setattr(ThreadRecord, "save", save)
                raise StoreError("the disk is full")

        monkeypatch.setattr(ThreadRecord, "save", saves)

    return die


@pytest.mark.parametrize("claimed", [False, True], ids=["now", "by an earlier version"])
async def test_nothing_is_asked_in_a_fork_that_was_not_completed(
    store: Store, dying: Callable[[int], None], claimed: bool
) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("My name is Ada.", thread="t", turn="1")
    dying(1)
    with pytest.raises(StoreError, match="disk is full"):
        await runs.fork("t", to="f")
    record = await runs.record("f")
    assert record.turn.status == "interrupted"
    if claimed:
        record.turn.status, record.turn.reason = "answered", ""
        await record.save(store)
    before, there = cast.sent, await store.read("f")
    for asking in (
        runs.start("What is my name?", thread="f", abandon=True),
        runs.start("My name is Ada.", thread="f", turn="1"),
        runs.submit("What is my name?", thread="f", abandon=True),
        runs.resume("f"),
    ):
        with pytest.raises(ThreadError, match="fork 'f' was not completed"):
            await asking
    with pytest.raises(ThreadError):
        await runs.start("What is my name?", thread="f", after="1")
    assert (cast.since(before), await store.read("f")) == ({}, there)


async def test_a_fork_that_was_not_completed_is_found_and_made_again(
    store: Store, dying: Callable[[int], None]
) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("My name is Ada.", thread="t", turn="1")
    dying(1)
    with pytest.raises(StoreError):
        await runs.fork("t", to="f", spec=cast.changed(set_aggregator("y")))
    assert (await runs.incomplete("f"), await runs.incomplete("t")) == (True, False)
    fork = await cast.runs(store).fork("t", to="f")
    assert (fork.status, fork.answer, await runs.incomplete("f")) == ("answered", "z1", False)
    await cast.runs(store).start("What is my name?", thread="f", after="1")
    assert [text for _, text in texts(cast.seen("a"))] == ["My name is Ada.", "z1", "What is my name?"]
    with pytest.raises(ThreadError, match="there is a thread 'f' already"):
        await runs.fork("t", to="f")
    with pytest.raises(ThreadError, match="there is no thread 'g'"):
        await runs.incomplete("g")


async def test_a_fork_in_which_a_question_waits_is_not_made_again(
    store: Store, dying: Callable[[int], None]
) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", turn="1")
    dying(1)
    with pytest.raises(StoreError):
        await runs.fork("t", to="f")
    record = await runs.record("f")  # as earlier versions left it
    record.turns.append(record.turn.model_copy(update={"id": "2"}))
    await record.save(store)
    with pytest.raises(ThreadError, match="there is a thread 'f' already"):
        await runs.fork("t", to="f")
    with pytest.raises(ThreadError, match="was not completed"):
        await runs.resume("f")


@pytest.mark.parametrize("claimed", [False, True], ids=["now", "by an earlier version"])
async def test_a_fork_that_died_before_its_answer_was_noted_goes_on_from_it(
    store: Store, dying: Callable[[int], None], claimed: bool
) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("My name is Ada.", thread="t", turn="1")
    dying(2)
    with pytest.raises(StoreError):
        await runs.fork("t", to="f")
    record = await runs.record("f")
    record.turn.status, record.turn.checkpoint = "answered" if claimed else "interrupted", None
    await record.save(store)
    assert (await runs.status("f")).status == "answered"
    await runs.start("What is my name?", thread="f", after="1")
    assert [text for _, text in texts(cast.seen("a"))] == ["My name is Ada.", "z1", "What is my name?"]


async def test_a_fork_under_its_own_spec_lets_no_other_thread_of_that_spec_run(store: Store) -> None:
    dear = Cast(THREE)
    cheap = dear.runs(store, dear.changed(set_aggregator("y")))
    await dear.runs(store).start("Why?", thread="t")
    await dear.runs(store).start("Why?", thread="u")
    await cheap.fork("t", to="f")
    before = dear.sent
    for thread in ("u", "f"):
        with pytest.raises(SpecMismatch):
            await cheap.start("And?", thread=thread)
    assert dear.since(before) == {}
    await dear.runs(store).start("And?", thread="f")


async def test_what_a_fork_left_behind_does_not_enter_the_next_turn(store: Store) -> None:
    cast = Cast(THREE, layer={"draft": {"quorum": 3}})
    runs = cast.runs(store)
    cast.hold("c")
    await interrupt(cast, runs)
    fork = await runs.fork("t")
    stop = await runs.start("Another?", thread=fork.thread, abandon=True, breakpoints="all")
    assert (stop.proposals, stop.calls, stop.calls_left) == ([], 0, 4)
    before = cast.sent
    assert (await runs.resume(fork.thread)).calls == 4
    assert cast.since(before) == {"a": 1, "b": 1, "c": 1, "z": 1}


async def test_cost_left_bounds_what_the_rest_costs(store: Store) -> None:
    price = {"price": {"input": 1.0, "output": 2.0}, "max_tokens": 50}
    cast = Cast(TWO, slot=price)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    forks = [await runs.fork("t", before=step) for step in ("draft", "refine", "aggregator")]
    left = [fork.cost_left for fork in forks]
    assert [bound is not None for bound in left] == [True] * 3
    assert left == sorted(left, key=lambda bound: -(bound or 0))
    for fork in forks:
        done = await runs.resume(fork.thread)
        assert done.cost is not None
        assert fork.cost is not None
        assert fork.cost_left is not None
        assert 0 < done.cost - fork.cost <= fork.cost_left
