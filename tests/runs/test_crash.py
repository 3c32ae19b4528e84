"""Kill -9 anywhere: what was reported finished is never asked for again, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moa_graph.errors import AggregatorFailed, BudgetExceeded, DeadlineExceeded, QuorumNotMet, RunError
from moa_graph.runs.stores import open_store
from tests.fakes.crashing import CALLS, AidedRound, Round, check_aided, contend, seeded, work
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.process import ServerProcess, server_process
from tests.runs.test_store_failures import Mixture

ROUNDS = int(os.environ.get("MOA_CRASH_ROUNDS", "12"))
"""How many rounds are killed at a random point; `make soak` asks for more."""


@pytest.fixture(scope="module")
def models() -> Iterator[ServerProcess]:
    """Give the fake server in a process of its own."""
    with server_process(keep=False) as server:
        yield server


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/moa.db"


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_run_that_is_killed_at_a_random_point_is_paid_once(
    number: int, models: ServerProcess, url: str
) -> None:
    chance = seeded(f"round {number}")
    thread = Round(models, url, f"random-{number}")
    for _ in range(1 + number % 3):
        thread.kill_at(chance)
    thread.finish()


AIDED = [(shape, number) for shape in ("judged", "agreed") for number in range(max(1, ROUNDS // 6))]


@pytest.mark.parametrize(("shape", "number"), AIDED)
def test_what_was_said_about_proposals_is_paid_once(
    shape: str, number: int, models: ServerProcess, url: str
) -> None:
    chance = seeded(f"{shape} {number}")
    thread = AidedRound(models, url, f"{shape}-{number}", shape)
    for _ in range(2 + number % 2):
        thread.kill_at(chance)
    check_aided(thread)


@pytest.mark.parametrize("count", [5, 15, 20])
def test_a_model_that_is_asked_about_proposals_is_not_asked_again_once_that_is_told(
    count: int, models: ServerProcess, url: str
) -> None:
    thread = AidedRound(models, url, f"aided-{count}", "judged")
    thread.kill_after("call.finished", count)
    check_aided(thread)


@pytest.mark.parametrize("count", [1, 6, 11, 18])
def test_a_run_that_is_killed_right_after_it_reports_a_call_has_kept_that_call(
    count: int, models: ServerProcess, url: str
) -> None:
    thread = Round(models, url, f"told-{count}")
    thread.kill_after("call.finished", count)
    assert len(thread.told) == count
    assert thread.finish().before == "interrupted"


def test_an_answer_that_was_reported_is_there_when_its_run_is_killed_before_the_end(
    models: ServerProcess, url: str
) -> None:
    thread = Round(models, url, "answer")
    thread.kill_after("aggregator", 1)
    assert thread.told.keys() == thread.models.keys()
    assert thread.finish().before in ("interrupted", "answered")
    assert sum(thread.counts().values()) == CALLS


def test_a_run_that_is_killed_three_times_still_ends(models: ServerProcess, url: str) -> None:
    thread = Round(models, url, "thrice")
    for count in (3, 4, 5):
        thread.kill_after("call.finished", count)
    thread.finish()


def test_of_two_processes_that_resume_a_thread_one_runs_and_the_other_is_told_at_once(
    models: ServerProcess, url: str
) -> None:
    contend(models, url)


def test_ctrl_c_in_a_process_of_its_own_costs_nothing_on_resume(models: ServerProcess, url: str) -> None:
    thread = Round(models, url, "ctrl-c", final="gate@ctrl-c")
    with work(url, thread.spec, thread.name) as worker:
        while not models.count("gate@ctrl-c"):
            assert worker.hear(), worker.error
        os.kill(worker.process.pid or 0, signal.SIGINT)
        worker.end()
        thread.note(worker)
    models.release("gate@ctrl-c")
    thread.finish()
    assert thread.counts() == dict.fromkeys(thread.models, 1) | {"aggregator": 2}


DOWN = ValueError("down")
FAILURES: dict[str, tuple[type[RunError], dict[str, Any], dict[str, Any]]] = {
    "an exception in a layer's models": (
        QuorumNotMet,
        {"refine_a": Model(DOWN, "A"), "refine_b": Model(DOWN, "B")},
        {},
    ),
    "a quorum that was missed": (QuorumNotMet, {"refine_a": Model(DOWN, "A")}, {"quorum": 2}),
    "an aggregator that failed": (AggregatorFailed, {"z": Model(DOWN, "By z.")}, {}),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_a_resume_tries_again_what_failed_and_that_alone(what: str, url: str) -> None:
    expected, models, parts = FAILURES[what]
    made = Mixture(parts, **{name: Model(*model.script) for name, model in models.items()})
    async with open_store(url) as store:
        with pytest.raises(expected):
            await made.runs(store).start("Why?", thread="t")
        run = await made.runs(store).resume("t")
    assert (run.status, run.calls) == ("answered", sum(made.calls.values()))
    assert made.calls == {name: 1 + (name.replace("-", "_") in models) for name in made.models}


async def test_after_a_cancellation_only_the_call_under_way_is_made_again(url: str) -> None:
    here, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        here.set()
        await gate.wait()

    made = Mixture(z=Model("By z.", wait=wait))
    async with open_store(url) as store:
        work = asyncio.ensure_future(made.runs(store).start("Why?", thread="t")._finish())
        await here.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert (await made.runs(store).status("t")).status == "interrupted"
        gate.set()
        run = await made.runs(store).resume("t")
    assert (run.status, set(made.calls.values())) == ("answered", {1})


async def test_after_the_deadline_a_resume_has_time_again(url: str) -> None:
    gate = asyncio.Event()
    waiting = {name: Model(name, wait=gate.wait) for name in ("refine_a", "refine_b")}
    made = Mixture({"limits": {"deadline": 0.5}}, **waiting)
    async with open_store(url) as store:
        with pytest.raises(DeadlineExceeded):
            await made.runs(store).start("Why?", thread="t")
        gate.set()
        run = await made.runs(store).resume("t")
    assert (run.status, set(made.calls.values())) == ("answered", {1})


async def test_a_budget_that_is_spent_stays_spent_and_nothing_is_paid_twice(url: str) -> None:
    made = Mixture({"limits": {"max_calls": 4}})
    async with open_store(url) as store:
        for _ in range(2):
            with pytest.raises(BudgetExceeded):
                await made.runs(store).start("Why?", thread="t", turn="1")
    assert made.calls == {name: int(name != "z") for name in made.models}
