from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moa_graph.errors import AggregatorFailed, ThreadBusy, ThreadError
from moa_graph.evaluation.dropping import Plan, carry_out, give_up, plan_without, without
from moa_graph.runs.stores import Store, open_store
from tests.runs.cast import THREE, TWO, Cast


def shown(cast: Cast, name: str, call: int = -1) -> str:
    """Return all that a model was shown; without ids, whose digits look like answers."""
    return "\n".join(str(message.text) for message in cast.seen(name, call))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{tmp_path}/moa.db") as opened:
        yield opened


async def test_only_what_comes_after_the_proposal_runs_again_without_it(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    before = cast.sent
    found = await without(runs, "t", "draft/b")
    assert found is not None
    assert cast.since(before) == {"z": 1}
    text = shown(cast, "z")
    assert ("a1" in text, "b1" in text, "c1" in text) == (True, False, True)
    assert (found.before, found.after, found.forks) == ("z1", "z2", ["t~1"])
    assert (found.similarity, found.control) == (0.0, None)
    assert found.diff == [("-", "z1"), ("+", "z2")]
    assert found.calls == 1


async def test_a_proposal_of_an_early_layer_reruns_all_later_ones(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    before = cast.sent
    found = await without(runs, "t", "draft/a")
    assert found is not None
    assert cast.since(before) == {"c": 1, "d": 1, "z": 1}
    assert found.calls == 3
    assert "a1" not in shown(cast, "c")


async def test_the_thread_itself_stays_as_it_is(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    before = await runs.show("t")
    await without(runs, "t", "draft/b")
    assert await runs.show("t") == before


async def test_the_control_asks_again_with_nothing_dropped(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    found = await without(runs, "t", "draft/b", control=True)
    assert found is not None
    assert (found.calls, found.control, found.forks) == (2, 0.0, ["t~1", "t~2"])
    assert ("b1" in shown(cast, "z", 1), "b1" in shown(cast, "z", 2)) == (False, True)


async def test_what_it_takes_is_told_before_anything_is_called(store: Store) -> None:
    cast = Cast(THREE, slot={"price": {"input": 1.0, "output": 2.0}, "max_tokens": 100})
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    before = cast.sent
    told: list[Plan] = []

    def agree(plan: Plan) -> bool:
        told.append(plan)
        return False

    assert await without(runs, "t", "draft/b", agree=agree, control=True) is None
    assert cast.sent == before
    assert told[0].calls == 2
    assert told[0].cost is not None
    assert told[0].cost > 0
    assert [summary.thread for summary in await runs.threads()] == ["t"]


async def test_an_unknown_cost_stays_unknown(store: Store) -> None:
    runs = Cast(THREE).runs(store)
    await runs.start("Why?", thread="t")
    plan = await plan_without(runs, "t", "draft/b")
    assert (plan.calls, plan.cost) == (1, None)


async def test_a_question_that_is_interrupted_leaves_nothing_behind(store: Store) -> None:
    runs = Cast(THREE).runs(store)
    await runs.start("Why?", thread="t")

    def interrupt(_: Plan) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await without(runs, "t", "draft/b", agree=interrupt)
    assert [summary.thread for summary in await runs.threads()] == ["t"]


async def test_a_plan_that_cannot_be_made_leaves_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Cast(THREE).runs(store)
    await runs.start("Why?", thread="t")

    async def busy(*_: object, **__: object) -> None:
        raise ThreadBusy("somebody else")

    monkeypatch.setattr(runs, "edit", busy)
    with pytest.raises(ThreadBusy):
        await plan_without(runs, "t", "draft/b")
    assert [summary.thread for summary in await runs.threads()] == ["t"]


async def test_a_rerun_that_fails_can_be_carried_out_later_and_pays_nothing_twice(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    plan = await plan_without(runs, "t", "draft/b")
    cast.fail("z")
    with pytest.raises(AggregatorFailed):
        await carry_out(runs, plan)
    cast.mend()
    before = cast.sent
    assert (await carry_out(runs, plan)).after.startswith("z")
    assert cast.since(before) == {"z": 1}


async def test_the_last_turn_of_a_conversation_is_meant(store: Store) -> None:
    cast = Cast(THREE)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    await runs.start("Why not?", thread="t")
    found = await without(runs, "t", "draft/c")
    assert found is not None
    assert (found.before, found.after) == ("z2", "z3")
    text = shown(cast, "z")
    assert "Why not?" in text
    assert ("b2" in text, "c2" in text) == (True, False)


async def test_a_thread_without_an_answer_is_refused(store: Store) -> None:
    runs = Cast(THREE).runs(store)
    await runs.start("Why?", thread="t", breakpoints=["aggregator"])
    with pytest.raises(ThreadError, match="has no answer yet"):
        await without(runs, "t", "draft/b")


@pytest.mark.parametrize("proposal", ["draft/x", "draft/a", "nonsense"])
async def test_a_proposal_that_nobody_saw_is_refused(store: Store, proposal: str) -> None:
    cast = Cast(THREE)
    cast.fail("a")
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    with pytest.raises(
        ThreadError, match=rf"nobody saw a proposal '{proposal}'\nThere are: draft/b, draft/c"
    ):
        await without(runs, "t", proposal)


async def test_the_list_of_what_can_be_dropped_holds_all_of_it_and_no_more(store: Store) -> None:
    final = {"window": 2, "references": {"payload": "summary", "summarizer": "m", "from": "all"}}
    cast = Cast({"one": "ab", "two": "abc"}, final=final)
    runs = cast.runs(store)
    run = await runs.start("Why?", thread="t")
    assert any("@window" in record["id"] for record in [*run.aides, *run.aggregators])
    assert any("@summary" in record["id"] for record in run.aides)
    with pytest.raises(ThreadError) as refused:
        await plan_without(runs, "t", "two/x")
    assert refused.value.hint == "There are: one/a, one/b, two/a, two/b, two/c."
    for proposal in refused.value.hint.removeprefix("There are: ").rstrip(".").split(", "):
        await give_up(runs, await plan_without(runs, "t", proposal))
    for aide in run.aides:
        with pytest.raises(ThreadError, match="nobody saw a proposal"):
            await plan_without(runs, "t", aide["id"])


async def test_the_only_proposal_of_a_layer_is_refused_before_anything_is_forked(store: Store) -> None:
    cast = Cast({"draft": "ab", "refine": "c"})
    cast.fail("a")
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    for proposal in ("draft/b", "refine/c"):
        with pytest.raises(ThreadError, match=f"'{proposal}' is the only proposal of its layer"):
            await plan_without(runs, "t", proposal, control=True)
    assert [summary.thread for summary in await runs.threads()] == ["t"]


async def test_a_thread_nobody_proposed_in_is_refused(store: Store) -> None:
    runs = Cast({}).runs(store)
    await runs.start("Why?", thread="t")
    with pytest.raises(ThreadError, match="There are: none"):
        await without(runs, "t", "draft/a")


async def test_who_never_saw_the_proposal_is_not_asked_again(store: Store) -> None:
    silent = {"deep": {"references": {"from": "none"}}}
    last = {"references": {"from": ["draft", "deep"]}}
    cast = Cast({"draft": "ab", "deep": "c"}, layer=silent, final=last)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    before = cast.sent
    found = await without(runs, "t", "draft/a", control=True)
    assert found is not None
    assert cast.since(before) == {"z": 2}
    assert ("a1" in shown(cast, "z", 1), "a1" in shown(cast, "z", 2)) == (False, True)


async def test_a_proposal_that_was_left_out_was_seen_by_nobody(store: Store) -> None:
    chosen = {"draft": {"select": {"by": "random", "keep": 2, "seed": 1}}}
    cast = Cast(THREE, layer=chosen)
    runs = cast.runs(store)
    run = await runs.start("Why?", thread="t")
    (left,) = [record["id"] for record in run.proposals if record.get("left_out")]
    with pytest.raises(ThreadError, match=f"nobody saw a proposal '{left}'"):
        await plan_without(runs, "t", left)


async def test_the_only_one_that_goes_on_cannot_be_dropped(store: Store) -> None:
    chosen = {"draft": {"select": {"by": "random", "keep": 1, "seed": 1}}}
    cast = Cast(THREE, layer=chosen)
    runs = cast.runs(store)
    run = await runs.start("Why?", thread="t")
    (kept,) = [record["id"] for record in run.proposals if not record.get("left_out")]
    with pytest.raises(ThreadError, match=f"'{kept}' is the only proposal of its layer that was shown"):
        await plan_without(runs, "t", kept)
    assert [summary.thread for summary in await runs.threads()] == ["t"]


async def test_a_proposal_that_a_vote_counted_can_be_dropped(store: Store) -> None:
    cast = Cast(THREE, final={"model": None, "fallbacks": [], "reduce": "vote", "extract": "last-line"})
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    found = await without(runs, "t", "draft/a")
    assert found is not None
    assert (found.before, found.after, found.calls) == ("a1", "b1", 0)
