"""What is selected, judged, chosen and stopped is kept, stepped through, told and carried over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from moa_graph.errors import AggregatorFailed, MoAError, QuorumNotMet, ThreadError
from moa_graph.resources import Registered
from moa_graph.runs.run import Run
from moa_graph.runs.running import Running
from moa_graph.runs.stores import Store, open_store
from moa_graph.runs.threads import Runs
from moa_graph.spec.schema import MoASpec
from tests.fakes.models import ScriptedChatModel
from tests.runs.cast import refusal

DRAFT = {"name": "draft", "proposers": ["a", "b", "c"]}
DEEP = {"name": "deep", "proposers": ["a", "b"]}
SAYS = {
    "a": "I say 12",
    "b": "It is 12",
    "c": "No, 13",
    "r": "2 > 1 > 3",
    "j": "CONTINUE",
    "s": "In short: 12",
}

SHAPES: dict[str, dict[str, Any]] = {
    "rank": {"layers": [{**DRAFT, "select": {"by": "rank", "model": "r", "keep": 2}}, DEEP]},
    "pairwise": {"layers": [{**DRAFT, "select": {"by": "pairwise", "model": "p", "keep": 1}}, DEEP]},
    "cluster": {"layers": [{**DRAFT, "select": {"by": "cluster"}}]},
    "summary": {
        "layers": [DRAFT, {**DEEP, "references": {"payload": "summary", "summarizer": "s", "max_chars": 9}}],
    },
    "residual": {
        "layers": [DRAFT, {**DEEP, "residual": {"model": "s"}, "references": {"anonymous": False}}],
        "aggregator": {"model": "z", "references": {"placement": "user", "anonymous": False}},
    },
    "from all": {
        "layers": [DRAFT, {**DEEP, "references": {"order": "shuffled", "self": False}}],
        "aggregator": {"model": "z", "references": {"from": "all", "anonymous": False, "max_chars": 5}},
    },
    "named layers": {
        "layers": [DRAFT, {**DEEP, "references": {"from": "none"}}],
        "aggregator": {"model": "z", "references": {"from": ["draft"], "instruction": "Judge them."}},
    },
    "judge": {"layers": [DRAFT, DEEP], "stop": {"by": "judge", "model": "j"}},
    "stopped": {"layers": [DRAFT, DEEP], "stop": {"by": "agreement", "agree": 2, "extract": "number"}},
    "pick": {"layers": [DRAFT], "aggregator": {"model": "k", "reduce": "pick"}},
    "vote": {"layers": [DRAFT], "aggregator": {"reduce": "vote", "extract": "number"}},
    "window": {"layers": [DRAFT], "aggregator": {"model": "z", "window": 2}},
}


class Troupe:
    """Hold a spec of a shape and its models."""

    def __init__(self, shape: str) -> None:
        says = {**SAYS, "p": "1", "k": "2", "z": "The end."}
        self.models = {name: ScriptedChatModel(text) for name, text in says.items()}
        self.document = {
            "moa": 1,
            "name": "shape",
            "models": {name: {"model": f"host:{name}"} for name in says},
            "aggregator": {"model": "z"},
            **deepcopy(SHAPES[shape]),
        }

    @property
    def spec(self) -> MoASpec:
        return MoASpec.model_validate(self.document)

    def hold(self, name: str, times: int) -> None:
        """Let a model that was asked so often wait for `gate`."""
        self.gate = asyncio.Event()
        model = self.models[name]

        async def wait() -> None:
            if len(model.calls) >= times:
                await self.gate.wait()

        model.wait = wait

    @property
    def calls(self) -> int:
        return sum(len(model.calls) for model in self.models.values())

    def runs(self, store: Store) -> Runs:
        return Runs(store, self.spec, Registered(self.models))


def told(run: Run) -> Run:
    """Return what does not depend on the thread, and on how long it took."""
    return replace(run, thread="", seconds=0.0, checkpoint="", turn="")


def exact(messages: Sequence[BaseMessage]) -> list[tuple[str, str]]:
    return [(message.type, str(message.text)) for message in messages]


every_shape = pytest.mark.parametrize("shape", list(SHAPES))


@every_shape
async def test_each_call_can_be_shown_to_the_byte(store: Store, shape: str) -> None:
    troupe = Troupe(shape)
    runs = troupe.runs(store)
    run = await runs.start("What is it?", thread="t")
    received = [exact(call) for model in troupe.models.values() for call in model.calls]
    asked = [each for each in [*run.proposals, *run.aides, *run.aggregators] if each["attempts"]]
    shown = [exact(await runs.prompt("t", each["id"])) for each in asked]
    assert sorted(shown) == sorted(received)


@every_shape
async def test_stepping_asks_for_the_same_calls_as_running(store: Store, shape: str) -> None:
    whole, stepped = Troupe(shape), Troupe(shape)
    at_once = await whole.runs(store).start("What is it?", thread="whole")
    await stepped.runs(store).start("What is it?", thread="t", breakpoints="all")
    for _ in range(5):
        left = (await stepped.runs(store).status("t")).calls_left
        before = stepped.calls
        run = await stepped.runs(store).step("t")
        assert stepped.calls - before == left - run.calls_left or run.stopped
        if run.status == "answered":
            break
    assert told(run).answer == told(at_once).answer
    assert [each["id"] for each in run.aides] == [each["id"] for each in at_once.aides]
    assert stepped.calls == whole.calls == run.calls
    assert run.calls_left == 0


@every_shape
async def test_a_copy_tells_the_same_and_costs_nothing(store: Store, shape: str) -> None:
    troupe = Troupe(shape)
    runs = troupe.runs(store)
    run = await runs.start("What is it?", thread="t")
    spent = troupe.calls
    lines = await runs.export("t")
    copy = await runs.import_(pack(lines), to="copy")
    assert told(copy) == told(replace(run, turn="", thread=""))
    fork = await runs.fork("t", to="fork")
    assert told(fork).answer == run.answer
    assert fork.calls_left == 0
    assert (await runs.export("copy"))[1:] == lines[1:]
    assert troupe.calls == spent


def pack(lines: Sequence[Mapping[str, Any]]) -> bytes:
    import json  # noqa: PLC0415

    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@pytest.mark.parametrize("shape", ["rank", "pairwise", "summary", "residual", "judge", "window"])
async def test_who_was_asked_about_proposals_is_not_asked_again(store: Store, shape: str) -> None:
    troupe = Troupe(shape)
    troupe.models["z"].script[:] = [refusal()] if shape != "window" else ["first window", refusal()]
    with pytest.raises(AggregatorFailed) as failed:
        await troupe.runs(store).start("What is it?", thread="t")
    assert failed.value.calls == troupe.calls
    spent = troupe.calls
    status = await troupe.runs(store).status("t")
    assert status.calls_left == 1
    troupe.models["z"].script[:] = ["The end."]
    run = await troupe.runs(store).resume("t")
    assert run.answer == "The end."
    assert troupe.calls == spent + 1 == run.calls


@pytest.mark.parametrize("shape", ["rank", "pairwise", "summary", "residual", "judge", "stopped"])
@pytest.mark.parametrize("before", ["deep", "aggregator"])
async def test_a_fork_before_a_step_asks_only_for_the_rest(store: Store, shape: str, before: str) -> None:
    if shape == "stopped" and before == "deep":
        pytest.skip("that step is none of this turn")
    troupe = Troupe(shape)
    runs = troupe.runs(store)
    run = await runs.start("What is it?", thread="t")
    fork = await runs.fork("t", to="fork", before=before)
    spent = troupe.calls
    ended = await runs.resume("fork")
    assert troupe.calls - spent == fork.calls_left
    assert ended.answer == run.answer
    assert ended.stopped == run.stopped


async def test_layers_that_were_not_needed_are_no_steps_of_the_turn(store: Store) -> None:
    troupe = Troupe("stopped")
    runs = troupe.runs(store)
    run = await runs.start("What is it?", thread="t", breakpoints=["aggregator"])
    assert run.stopped == {"layer": "draft", "reason": "2 proposals agree on 12"}
    assert run.next_layer == "aggregator"
    assert run.calls_left == 1
    assert (await runs.resume("t")).status == "answered"
    assert [point.event for point in await runs.history("t")] == ["question", "draft", "aggregator"]


async def test_a_stop_holds_for_its_own_turn_only(store: Store) -> None:
    troupe = Troupe("stopped")
    runs = troupe.runs(store)
    await runs.start("What is it?", thread="t")
    for name, text in {"a": "1", "b": "2", "c": "3"}.items():
        troupe.models[name].script[:] = [text]
    run = await runs.start("And now?", thread="t")
    assert run.stopped is None
    assert [each["layer"] for each in run.proposals].count("deep") == 2


async def test_another_stop_rule_in_a_fork_settles_the_layer_anew(store: Store) -> None:
    troupe = Troupe("stopped")
    runs = troupe.runs(store)
    await runs.start("What is it?", thread="t")
    del troupe.document["stop"]
    fork = await runs.fork("t", to="fork", spec=troupe.spec)
    assert (fork.next_layer, fork.stopped) == ("deep", None)
    assert fork.calls_left == 3
    ended = await runs.resume("fork")
    assert [each["layer"] for each in ended.proposals].count("deep") == 2


async def test_another_selection_in_a_fork_shows_what_was_left_out(store: Store) -> None:
    troupe = Troupe("rank")
    runs = troupe.runs(store)
    run = await runs.start("What is it?", thread="t")
    assert [each.get("left_out") for each in run.proposals[:3]] == [None, None, "ranked 3 of 3"]
    troupe.document["layers"] = [DRAFT, DEEP]
    spent = troupe.calls
    await runs.fork("t", to="fork", spec=troupe.spec)
    ended = await runs.resume("fork")
    assert [each.get("left_out") for each in ended.proposals[:3]] == [None, None, None]
    assert troupe.calls - spent == 3


async def test_a_selection_can_be_overruled_by_hand(store: Store) -> None:
    troupe = Troupe("rank")
    runs = troupe.runs(store)
    await runs.start("What is it?", thread="t", breakpoints=["deep"])
    run = await runs.edit("t", "draft/c", text="Still 13.")
    assert not run.proposals[2].get("left_out")
    await runs.edit("t", "draft/a", drop=True)
    await runs.resume("t")
    assert "1. It is 12\n2. Still 13." in str(troupe.models["b"].calls[-1][0].text)


async def test_what_a_ranker_said_cannot_be_edited(store: Store) -> None:
    runs = Troupe("rank").runs(store)
    await runs.start("What is it?", thread="t", breakpoints=["deep"])
    with pytest.raises(ThreadError, match="says something about proposals"):
        await runs.edit("t", "draft/@ranker", text="3 > 2 > 1")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda layer: layer.update(stopped=7), "stopped"),
        (lambda layer: layer.update(layer="deep"), "the step that comes next is draft"),
    ],
    ids=["no text", "another layer"],
)
async def test_a_changed_file_is_refused(
    store: Store, harm: Callable[[dict[str, Any]], None], says: str
) -> None:
    runs = Troupe("stopped").runs(store)
    await runs.start("What is it?", thread="t")
    lines = await runs.export("t")
    harm(next(line for line in lines if line["type"] == "layer"))
    with pytest.raises(MoAError, match=says):
        await runs.import_(pack(lines), to="copy")


# -- crashes ---------------------------------------------------------------------------------------------


async def die_after(running: Running, count: int, *roles: str) -> list[str]:
    """Run until so many calls (of these roles) are told to be finished; return the ids of all that were."""
    told: list[str] = []
    async with contextlib.aclosing(running.events()) as events:
        async for event in events:
            if event["type"] == "call.finished":
                told.append(event["id"])
                count -= not roles or event["role"] in roles
            if not count:
                break
    return told


@asynccontextmanager
async def emptied() -> AsyncIterator[Store]:
    """Give a store in memory: these tests go through all points of a run."""
    async with open_store("memory:") as opened:
        yield opened


@every_shape
async def test_wherever_a_run_dies_it_goes_on_and_so_does_its_copy(shape: str) -> None:
    whole = Troupe(shape)
    async with emptied() as store:
        at_once = await whole.runs(store).start("What is it?")
    for count in range(1, whole.calls + 1):
        async with emptied() as store:
            troupe = Troupe(shape)
            runs = troupe.runs(store)
            told = await die_after(runs.start("What is it?", thread="t"), count)
            copy = await runs.import_(pack(await runs.export("t")), to="copy")
            fork = await runs.fork("t", to="fork") if "aggregator/z" not in told else None
            for thread, left in [("copy", copy.calls_left), ("fork", fork and fork.calls_left), ("t", None)]:
                spent = troupe.calls
                if thread == "fork" and left is None:
                    continue  # an answer that is there in the very moment of the crash is kept by `t` alone
                run = await runs.resume(thread)
                assert told_of(run) == told_of(at_once), (thread, count)
                assert run.calls == whole.calls
                asked = troupe.calls - spent
                assert left in (None, asked) or run.stopped
                assert asked <= whole.calls - len(told) + ("aggregator/z" in told and thread == "copy")


def told_of(run: Run) -> list[Any]:
    records = [*run.proposals, *run.aides]
    said = [(each["id"], each["status"], each["text"], each.get("left_out") or "") for each in records]
    return [run.answer, run.answered_by, run.decision, run.stopped, sorted(said)]


@pytest.mark.parametrize("reduce", ["pick", "window"])
async def test_a_fallback_that_has_spoken_is_neither_lost_nor_asked_again(store: Store, reduce: str) -> None:
    troupe = Troupe(reduce)
    first = troupe.document["aggregator"]["model"]
    troupe.document["aggregator"]["fallbacks"] = ["j"]
    troupe.models["j"].script[:] = ["3"]
    troupe.models[first].script[:] = [refusal()]
    troupe.hold(first, 1)
    role = "ranker" if reduce == "pick" else "synthesizer"
    told = await die_after(troupe.runs(store).start("What is it?", thread="t"), 1, role)
    troupe.gate.set()
    troupe.models[first].script[:] = ["1"]  # it would answer now
    spent = {name: len(model.calls) for name, model in troupe.models.items()}
    run = await troupe.runs(store).resume("t")
    assert [each["id"] for each in run.aides if each["status"] == "ok"] == told[3:]
    again = {name: len(model.calls) - spent[name] for name, model in troupe.models.items()}
    assert sum(again.values()) == (0 if reduce == "pick" else 1)
    assert again["j"] == 0
    assert run.calls == troupe.calls
    assert run.answer == ("No, 13" if reduce == "pick" else "1")


async def test_one_proposal_more_asks_nobody_twice(store: Store) -> None:
    """LangGraph knows what a task gave by its place among the tasks of the step."""
    troupe = Troupe("pairwise")
    troupe.document["stop"] = {"by": "judge", "model": "j"}
    troupe.models["a"].script[:] = [refusal()]
    troupe.hold("j", 0)
    told = await die_after(troupe.runs(store).start("What is it?", thread="t"), 2, "ranker")
    assert sorted(told) == ["draft/@compare:b:c", "draft/@compare:c:b", "draft/b", "draft/c"]
    troupe.models["a"].script[:] = [SAYS["a"]]
    troupe.gate.set()
    run = await troupe.runs(store).resume("t")
    assert len(troupe.models["p"].calls) == 6
    assert len(troupe.models["b"].calls) == 2  # once in each layer
    assert run.calls == troupe.calls


@pytest.mark.parametrize("shape", ["rank", "judge"])
async def test_after_a_crash_in_the_first_layer_it_is_known_what_was_shown(store: Store, shape: str) -> None:
    """The mark of a prompt is in the state only once the layer has ended; the next process draws another."""
    troupe = Troupe(shape)
    runs = troupe.runs(store)
    role = {"rank": "ranker", "judge": "judge"}[shape]
    told = await die_after(runs.start("What is it?", thread="t"), 1, role)
    (received,) = troupe.models["r" if shape == "rank" else "j"].calls
    assert exact(await runs.prompt("t", told[-1])) == exact(received)
    await runs.resume("t")
    assert exact(await runs.prompt("t", told[-1])) == exact(received)


# -- turns, edits, forks ---------------------------------------------------------------------------------


async def test_a_turn_that_was_given_up_does_not_stop_the_next_one(store: Store) -> None:
    troupe = Troupe("stopped")
    runs = troupe.runs(store)
    await runs.start("What is it?", thread="t", breakpoints=["aggregator"])
    for name, text in {"a": "1", "b": "2", "c": "3"}.items():
        troupe.models[name].script[:] = [text]
    run = await runs.start("And now?", thread="t", abandon=True, breakpoints="all")
    assert (run.stopped, run.next_layer, run.calls_left) == (None, "draft", 6)
    assert (await runs.step("t")).next_layer == "deep"
    run = await runs.step("t")
    assert (run.next_layer, run.calls) == ("aggregator", 5)
    copy = await runs.import_(pack(await runs.export("t")), to="copy")
    assert told(copy) == told(run)
    assert (await runs.resume("t")).answer == (await runs.resume("copy")).answer == "The end."


async def test_every_call_can_be_shown_at_every_checkpoint(store: Store) -> None:
    troupe = Troupe("rank")
    runs = troupe.runs(store)
    await runs.start("What is it?", thread="t", breakpoints=["deep"])
    await runs.edit("t", "draft/a", text="Edited.")
    await runs.resume("t")
    await runs.start("And now?", thread="t")
    received = [exact(call) for model in troupe.models.values() for call in model.calls]
    shown = []
    for point in await runs.history("t"):
        run = await runs.show("t", checkpoint=point.number)
        ids = [each["id"] for each in [*run.proposals, *run.aides, *run.aggregators] if each["attempts"]]
        shown += [exact(await runs.prompt("t", id_, checkpoint=point.number)) for id_ in ids]
    assert all(prompt in received for prompt in shown)
    assert all(prompt in shown for prompt in received)


async def test_what_was_edited_later_is_not_what_was_asked_about(store: Store) -> None:
    troupe = Troupe("rank")
    runs = troupe.runs(store)
    await runs.start("What is it?", thread="t", breakpoints=["deep"])
    await runs.edit("t", "draft/a", text="Edited.")
    assert exact(await runs.prompt("t", "draft/@ranker")) == exact(troupe.models["r"].calls[0])
    fork = await runs.fork("t")
    with pytest.raises(ThreadError, match="'draft/@ranker' was shown has been edited since"):
        await runs.prompt(fork.thread, "draft/@ranker")


async def test_the_one_that_was_kept_can_be_dropped_and_one_by_hand_takes_its_place(store: Store) -> None:
    troupe = Troupe("pairwise")
    runs = troupe.runs(store)
    run = await runs.start("What is it?", thread="t", breakpoints=["deep"])
    assert [each["id"] for each in run.proposals if not each.get("left_out")] == ["draft/a"]
    await runs.edit("t", "draft/a", drop=True)
    await runs.edit("t", "draft/me", text="Mine.", add=True)
    await runs.edit("t", "draft/b", text="Yours.")
    spent = troupe.calls
    run = await runs.resume("t")
    assert troupe.calls - spent == 3
    for name in "ab":
        assert str(troupe.models[name].calls[-1][0].text).endswith("models:\n1. Yours.\n2. Mine.")
    copy = await runs.import_(pack(await runs.export("t")), to="copy")
    assert told(copy) == told(replace(run, turn="", thread=""))


async def test_all_that_went_on_can_be_dropped_but_then_nobody_can_go_on(store: Store) -> None:
    runs = Troupe("pairwise").runs(store)
    await runs.start("What is it?", thread="t", breakpoints=["deep"])
    await runs.edit("t", "draft/a", drop=True)
    with pytest.raises(QuorumNotMet, match="layer draft left no proposal"):
        await runs.resume("t")
    await runs.edit("t", "draft/c", text="No, 13")
    assert (await runs.resume("t")).status == "answered"


async def test_an_export_without_texts_has_no_reason_that_quotes_one(store: Store) -> None:
    troupe = Troupe("stopped")
    troupe.document["layers"][0] = {**DRAFT, "select": {"by": "vote", "extract": "number"}}
    troupe.document["aggregator"] = {"reduce": "vote", "extract": "number"}
    runs = troupe.runs(store)
    await runs.start("What is it?", thread="t")
    said = r'says 13|agree on 12|"answer": "12"'
    assert len(set(re.findall(said, json.dumps(await runs.export("t"))))) == 3
    assert re.findall(said, json.dumps(await runs.export("t", texts=False))) == []
