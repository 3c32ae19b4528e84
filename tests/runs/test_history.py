"""What happened stays visible, and each prompt can be shown to the byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from moa_graph.errors import AggregatorFailed, ThreadError
from moa_graph.models.failures import ProviderError
from moa_graph.runs.stores import Store
from moa_graph.runs.threads import Runs
from tests.runs.cast import THREE, TWO, Cast
from tests.runs.test_threads import interrupt

PLACEMENTS = ["system", "user"]


def placed(placement: str, **options: Any) -> Cast:
    references = {"references": {"placement": placement}}
    return Cast(TWO, layer={"refine": references}, final=references, **options)


def exact(messages: list[BaseMessage]) -> list[tuple[str, Any]]:
    return [(message.type, message.content) for message in messages]


async def check_prompts(cast: Cast, runs: Runs, thread: str, last: Mapping[str, str]) -> None:
    """Compare what a thread says that models were shown with what they received last."""
    for id_, name in last.items():
        assert exact(await runs.prompt(thread, id_)) == exact(cast.seen(name)), id_


LAST = {"draft/a": "a", "draft/b": "b", "refine/c": "c", "refine/d": "d", "aggregator/z": "z"}


@pytest.mark.parametrize("placement", PLACEMENTS)
async def test_prompts_are_what_the_models_received(store: Store, placement: str) -> None:
    cast = placed(placement)
    cast.document["layers"][1]["proposers"][0]["system"] = "Doubt."
    runs = cast.runs(store)
    await runs.start([("system", "Be brief."), ("user", "Why?")], thread="t")
    await check_prompts(cast, runs, "t", LAST)
    first = {id_: exact(await runs.prompt("t", id_)) for id_ in LAST}
    await runs.start("And then?", thread="t")
    await check_prompts(cast, runs, "t", LAST)
    end = next(point for point in await runs.history("t") if point.event == "aggregator")
    for id_ in LAST:  # those of the first turn are still to be seen
        assert exact(await runs.prompt("t", id_, checkpoint=end.number)) == first[id_]


@pytest.mark.parametrize("placement", PLACEMENTS)
async def test_prompts_after_edits_and_in_forks(store: Store, placement: str) -> None:
    cast = placed(placement)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", breakpoints=["refine"])
    await runs.edit("t", "draft/a", text="Better.")
    await runs.edit("t", "draft/me", text="Mine.", add=True)
    await runs.step("t")
    await check_prompts(cast, runs, "t", dict(list(LAST.items())[:4]))
    await runs.resume("t")
    await check_prompts(cast, runs, "t", LAST)
    other = cast.changed(lambda spec: spec["aggregator"].update(model="y"))
    await runs.fork("t", to="fork", spec=other)
    await check_prompts(cast, runs, "fork", dict(list(LAST.items())[:4]))
    await runs.resume("fork")
    await check_prompts(cast, runs, "fork", dict(list(LAST.items())[:4]) | {"aggregator/y": "y"})
    with pytest.raises(ThreadError, match="'draft/me' was not asked"):
        await runs.prompt("t", "draft/me")


@pytest.mark.parametrize("placement", PLACEMENTS)
async def test_prompts_of_a_layer_that_a_fork_finished(store: Store, placement: str) -> None:
    cast = placed(placement)
    runs = cast.runs(store)
    cast.hold("d")
    await interrupt(cast, runs)
    await check_prompts(cast, runs, "t", {"refine/c": "c"})
    await runs.fork("t", to="fork")
    await check_prompts(cast, runs, "fork", {"draft/a": "a", "refine/c": "c"})
    await runs.resume("fork")
    await check_prompts(cast, runs, "fork", LAST)


@pytest.mark.parametrize("placement", PLACEMENTS)
async def test_prompts_after_a_context_overflow(store: Store, placement: str) -> None:
    cast = placed(placement)
    cast.fail("c", ProviderError("too long", code="context_length_exceeded", status_code=400))
    cast.fail("z", ProviderError("too long", code="context_length_exceeded", status_code=400))

    def one_reference(name: str) -> None:
        reply = cast.models[name].script[0]

        def script(messages: Any) -> str:
            if "b1" not in str([message.text for message in messages]):
                cast.failing.pop(name, None)
            return str(reply(messages))

        cast.models[name].script = [script]

    one_reference("c")
    one_reference("z")
    cast.document["layers"][0]["quorum"] = 1
    cast.document["layers"][1]["quorum"] = 1
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", breakpoints=["refine"])
    await runs.edit("t", "draft/b", text="b1 is the longest")
    run = await runs.step("t")
    assert any("left out" in warning for record in run.proposals for warning in record["warnings"])
    await check_prompts(cast, runs, "t", {"refine/c": "c", "refine/d": "d"})
    assert len(cast.models["c"].calls) == 2


async def test_prompts_of_failed_calls_and_of_a_failed_aggregator(store: Store) -> None:
    cast = Cast(THREE, "zy")
    runs = cast.runs(store)
    cast.fail("bzy")
    with pytest.raises(AggregatorFailed):
        await runs.start("Why?", thread="t")
    calls = {"draft/b": "b", "aggregator/z": "z", "aggregator/y": "y"}
    await check_prompts(cast, runs, "t", calls)
    cast.failing.pop("y")
    run = await runs.resume("t")
    assert run.answered_by == "y"
    await check_prompts(cast, runs, "t", calls)
    assert [record["id"] for record in run.aggregators] == ["aggregator/z", "aggregator/y"]


async def test_a_call_that_was_not_made_has_no_prompt(store: Store) -> None:
    cast = Cast(TWO)
    runs = cast.runs(store)
    await runs.start("Why?", thread="t", breakpoints=["refine"])
    for id_ in ("refine/c", "aggregator/z", "a", "draft/x"):
        with pytest.raises(ThreadError, match="was not asked") as caught:
            await runs.prompt("t", id_)
        assert caught.value.hint == "There are: draft/a, draft/b."


async def test_twelve_layers_have_a_line_each(store: Store) -> None:
    layers = {f"layer-{number}": "ab" for number in range(1, 13)}
    cast = Cast(layers)
    runs = cast.runs(store)
    run = await runs.start("Why?", thread="t")
    assert (run.calls, len(run.proposals)) == (25, 24)
    history = await runs.history("t")
    assert [point.event for point in history] == ["question", *layers, "aggregator"]
    assert [point.ok for point in history] == [*range(0, 26, 2), 24]
    assert [point.calls for point in history] == [*range(0, 26, 2), 25]
    assert [point.next_layer for point in history] == [*layers, "aggregator", None]
    assert [point.number for point in history] == sorted({point.number for point in history})
    assert len({point.id for point in history}) == len(history)
    fork = await runs.fork("t", before="layer-12")
    assert fork.calls_left == 3
    assert (await runs.resume(fork.thread)).calls == 25


async def test_failures_are_counted_in_the_history(store: Store) -> None:
    cast = Cast(THREE)
    cast.fail("b")
    runs = cast.runs(store)
    await runs.start("Why?", thread="t")
    assert [(point.ok, point.failed, point.calls) for point in await runs.history("t")] == [
        (0, 0, 0),
        (2, 1, 3),
        (2, 1, 4),
    ]
    assert all(point.cost is None or point.calls == 0 for point in await runs.history("t"))


async def test_what_is_left_costs_more_for_a_longer_question(store: Store) -> None:
    slot = {"max_tokens": 100, "price": {"input": 1.0, "output": 1.0}}
    costs = []
    for question in ("Why?", "Why? " * 10_000):
        cast = Cast(TWO, slot=slot)
        run = await cast.runs(store).start(question, breakpoints="all")
        assert run.cost_left is not None
        costs.append(run.cost_left)
    assert costs[1] - costs[0] == pytest.approx(5 * 12_499 / 1e6, rel=0.01)
