"""A fork under another spec is what that spec would have given, and pays for nothing that is valid twice.

The models here are functions of their prompts, so a thread that was forked at any point, under any change,
has to end as one that was asked from the beginning; every prompt tells whether a call was made before.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from pydantic import ValidationError

from moa_graph.errors import MoAError, ThreadError
from moa_graph.resources import Registered
from moa_graph.runs.run import Run
from moa_graph.runs.stores import Store, open_store
from moa_graph.runs.threads import Runs
from moa_graph.selecting.asking import COMPARE, CONSISTENT, ENOUGH, PICK, RANK, RESIDUAL, SUMMARIZE
from moa_graph.spec.schema import MoASpec
from moa_graph.state import Proposal
from tests.fakes.crashing import seeded
from tests.fakes.models import ScriptedChatModel

Document = dict[str, Any]

ROUNDS = int(os.environ.get("MOA_CRASH_ROUNDS", "12"))
SLOTS = "abcryz"

_RANK = {"by": "rank", "model": "r"}
_JUDGE = {"by": "judge", "model": "r"}
SELECTS: list[Document | None] = [
    None,
    _RANK | {"keep": 1},
    _RANK | {"keep": 2},
    {"by": "rank", "model": "y", "keep": 1},
    {"by": "pairwise", "model": "r", "keep": 1},
    {"by": "cluster"},
    {"by": "vote", "extract": "number"},
    {"by": "random", "keep": 1},
]
STOPS: list[Document | None] = [
    None,
    {"by": "agreement", "agree": 2, "extract": "number"},
    _JUDGE,
    _JUDGE | {"min_layers": 2},
    _JUDGE | {"max_layers": 2},
    {"by": "no_change", "extract": "number"},
    {"by": "similarity", "threshold": 0.1},
]
REFERENCES: list[Document] = [
    {},
    {"payload": "summary", "summarizer": "r"},
    {"payload": "summary", "summarizer": "y"},
    {"from": "all", "anonymous": False},
    {"max_chars": 12},
    {"order": "shuffled"},
    {"placement": "user"},
]
AGGREGATORS: list[Document] = [
    {"model": "z"},
    {"model": "z", "system": "Be brief."},
    {"model": "z", "window": 2},
    {"model": "z", "reduce": "pick"},
    {"model": "z", "reduce": "consistency", "fallbacks": ["y"]},
    {"reduce": "vote", "extract": "number"},
]
PROPOSERS: list[list[Any]] = [["a", "b", "c"], ["a", "b"], ["a", {"model": "y", "id": "b"}, "c"]]


def bare(messages: Sequence[BaseMessage]) -> str:
    """Return a prompt without the mark of its turn."""
    text = "\n".join(f"[{message.type}] {message.text}" for message in messages)
    return re.sub(r"-[0-9a-f]{16}", "-mark", text)


def say(name: str, messages: Sequence[BaseMessage]) -> str:
    """Return what a model says to a prompt, in the form that it is asked for."""
    text = bare(messages)
    number = int(sha256(f"{name} {text}".encode()).hexdigest(), 16)
    count = max(1, text.count("<response-mark number"))
    match [each for each in (RANK, COMPARE, PICK, CONSISTENT, ENOUGH, SUMMARIZE, RESIDUAL) if each in text]:
        case [asked] if asked == RANK:
            order = [*range(1, count + 1)]
            random.Random(number).shuffle(order)
            return " > ".join(map(str, order))
        case [asked] if asked == COMPARE:
            return str(number % 3)
        case [asked] if asked in (PICK, CONSISTENT):
            return str(1 + number % count)
        case [asked] if asked == ENOUGH:
            return ("STOP", "CONTINUE", "CONTINUE")[number % 3]
        case [asked] if asked == RESIDUAL:
            return ("NONE", f"They changed {number % 1000}.")[number % 2]
        case [_]:
            return f"In short, {number % 1000}."
    return f"{name} thinks of {number % 10**6}. The answer is {number % 3}"


class World:
    """Hold models that are functions of their prompts, and all that they were sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.models = {slot: ScriptedChatModel(self._saying(slot)) for slot in SLOTS}

    def _saying(self, slot: str) -> Any:
        def reply(messages: Sequence[BaseMessage]) -> str:
            self.sent.append(bare(messages))
            return say(slot, messages)

        return reply

    def runs(self, store: Store, document: Document) -> Runs:
        return Runs(store, MoASpec.model_validate(document), Registered(self.models))


def any_spec(chance: random.Random, of: Document | None = None, most: int = 6) -> Document:
    """Return a spec of three layers with some primitives, or a changed copy of another one."""
    while True:
        document = copy.deepcopy(of) or {
            "moa": 1,
            "name": "any",
            "models": {slot: {"model": f"host:{slot}"} for slot in SLOTS},
            "layers": [{"name": name, "proposers": ["a", "b", "c"]} for name in ("draft", "deep", "last")],
            "aggregator": {"model": "z"},
        }
        for _ in range(chance.randrange(most + 1)):
            change(document, chance)
        try:
            MoASpec.model_validate(document)
        except ValidationError:
            continue
        return document


def change(document: Document, chance: random.Random) -> None:
    """Change one thing; the result need not be a valid spec."""
    number = chance.randrange(3)
    layer = document["layers"][number]
    match chance.choice(["select", "select", "stop", "stop", "residual", "references", "proposers", "end"]):
        case "select":
            layer["select"] = chance.choice(SELECTS)
        case "stop":
            document["stop"] = chance.choice(STOPS)
        case "residual" if number:
            layer["residual"] = chance.choice([None, {"model": "r"}, {"model": "y"}])
        case "references" if number:
            layer["references"] = chance.choice(REFERENCES)
        case "proposers":
            layer["proposers"] = chance.choice(PROPOSERS)
        case "end":
            document["aggregator"] = dict(chance.choice(AGGREGATORS))
            if "model" in document["aggregator"]:
                document["aggregator"]["references"] = chance.choice(REFERENCES)


def all_of(run: Run) -> list[Any]:
    return [*run.proposals, *run.aides, *run.aggregators]


def gist(run: Run) -> dict[str, Any]:
    """Return what a run comes to; what was cut off too early is not compared."""

    def of(record: Proposal) -> tuple[Any, ...]:
        status, left_out = record["status"], record.get("left_out") or ""
        return record["id"], status, record["text"] * (status == "ok"), left_out, record["references"]

    return {
        "answer": (run.answer, run.answered_by, run.decision),
        "stopped": run.stopped and run.stopped["layer"],
        "proposals": [of(record) for record in run.proposals],
        "aides": sorted(of(record) for record in run.aides),
    }


async def begin(runs: Runs, chance: random.Random) -> tuple[dict[str, str], str | None]:
    """Leave thread t at some point; return the prompts of what it has, by id, and a step to fork before."""
    match chance.choice(["answered", "answered", "stepped", "killed", "before"]):
        case "stepped":
            run = await runs.start("Why?", thread="t", breakpoints="all")
            for _ in range(chance.randrange(4)):
                run = await runs.step("t")
            return await prompts(runs, "t"), None
        case "killed":
            number = chance.randrange(6, 40)
            events = runs.start("Why?", thread="t").events()
            async for _ in events:
                if not (number := number - 1):
                    break
            await events.aclose()  # type: ignore[attr-defined]
            return await prompts(runs, "t"), None
        case "before":
            run = await runs.start("Why?", thread="t")
            return {}, chance.choice([record["layer"] for record in run.proposals])
    await runs.start("Why?", thread="t")
    return await prompts(runs, "t"), None


async def prompts(runs: Runs, thread: str) -> dict[str, str]:
    """Return the prompt of every call that succeeded, as the thread shows it."""
    asked = [record for record in all_of(await runs.status(thread)) if record["attempts"]]
    return {
        record["id"]: bare(await runs.prompt(thread, record["id"]))
        for record in asked
        if record.get("status", "ok") == "ok"
    }


def may_be_repeated(old: Document, new: Document) -> bool:
    """Tell whether calls may be repeated that would be the same: what changed might have changed them.

    So it is with another selection, and where a judge has to be asked before it is known what follows.
    """
    parts = ("select", "residual", "references", "proposers")
    layers = [[layer.get(part) or None for part in parts] for layer in [*old["layers"], *new["layers"]]]
    judged = (new.get("stop") or {}).get("by") == "judge" and new.get("stop") != old.get("stop")
    return layers[:3] != layers[3:] or judged or old["aggregator"] != new["aggregator"]


@pytest.mark.parametrize("part", range(4))
async def test_a_fork_ends_as_if_its_spec_had_been_asked_and_pays_for_the_rest_alone(part: int) -> None:
    chance = seeded(f"forks {part}")
    for _ in range(max(1, ROUNDS // 2)):
        old = any_spec(chance)
        async with open_store("memory:") as store:
            new = any_spec(chance, old, 2)
            try:
                await one_fork(store, chance, old, new)
            except BaseException as error:
                error.add_note(json.dumps({"old": old, "new": new}))
                raise


async def one_fork(store: Store, chance: random.Random, old: Document, new: Document) -> None:
    at_once = await World().runs(store, new).start("Why?", thread="at once")
    world = World()
    runs = world.runs(store, old)
    had, before = await begin(runs, chance)
    try:
        fork = await runs.fork("t", to="fork", before=before, spec=MoASpec.model_validate(new))
    except ThreadError as refused:
        assert "is made, and only has to be written down" in refused.message  # noqa: PT017 -- the one reason
        return
    known, spent = (
        {record["id"] for record in all_of(fork) if record.get("status", "ok") == "ok"},
        len(world.sent),
    )
    run = await runs.resume("fork")
    asked = len(world.sent) - spent

    expected, found = gist(at_once), gist(run)
    if fork.status == "answered" and old.get("stop") != new.get("stop"):
        expected["aides"] = found["aides"]  # a judge who would not have been asked
    assert found == expected
    chosen = any(layer.get("select") for layer in new["layers"])
    assert fork.calls_left == asked or (fork.calls_left > asked and (run.stopped or chosen))
    assert run.calls == sum(record["attempts"] for record in all_of(run))

    if fork.status != "answered":
        shown = await prompts(runs, "fork")
        assert set(shown.values()) <= set(world.sent)
        if not may_be_repeated(old, new):
            repeated = [id_ for id_ in shown.keys() - known if shown[id_] == had.get(id_)]
            assert not repeated, f"{repeated} were paid again"
    await check_copies(runs, world, ["fork", "t"])


async def check_copies(runs: Runs, world: World, threads: Sequence[str]) -> None:
    """Check that an imported thread stands as its original, and goes on as that does, for as many calls."""
    for thread in threads:
        lines = await runs.export(thread)
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        there, spent = await runs.status(thread), len(world.sent)
        imported = await runs.import_(content, to=f"copy of {thread}")
        assert len(world.sent) == spent
        assert gist(imported) == gist(there)
        if there.status == "answered":
            assert imported.calls == there.calls
            continue
        try:
            ended = [await runs.resume(name) for name in (imported.thread, thread)]
        except MoAError as error:
            raise AssertionError(content.decode()) from error
        assert gist(ended[0]) == gist(ended[1])
        assert ended[0].calls == ended[1].calls
