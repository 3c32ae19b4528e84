"""Kill -9 and a server that goes away, with threads in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from moa_graph.runs.stores import open_store
from tests.fakes.crashing import AidedRound, Round, check_aided, contend, seeded
from tests.fakes.models import ScriptedChatModel as Model
from tests.fakes.postgres import PostgresServer
from tests.fakes.process import ServerProcess, server_process
from tests.runs.test_store_failures import IDS, Mixture

pytestmark = pytest.mark.postgres

ROUNDS = int(os.environ.get("MOA_CRASH_ROUNDS", "12"))
GONE = 5.0
"""Seconds that the server is away in mid-run."""


@pytest.fixture(scope="module")
def models() -> Iterator[ServerProcess]:
    with server_process(keep=False) as server:
        yield server


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_run_that_is_killed_at_a_random_point_is_paid_once(
    number: int, models: ServerProcess, database: str
) -> None:
    chance = seeded(f"round {number}")
    thread = Round(models, database, f"random-{number}")
    for _ in range(1 + number % 3):
        thread.kill_at(chance)
    thread.finish()


@pytest.mark.parametrize("number", range(max(1, ROUNDS // 6)))
@pytest.mark.parametrize("shape", ["judged", "agreed"])
def test_what_was_said_about_proposals_is_paid_once(
    shape: str, number: int, models: ServerProcess, database: str
) -> None:
    chance = seeded(f"{shape} {number}")
    thread = AidedRound(models, database, f"{shape}-{number}", shape)
    for _ in range(2 + number % 2):
        thread.kill_at(chance)
    check_aided(thread)


@pytest.mark.parametrize("count", [1, 6, 18])
def test_a_run_that_is_killed_right_after_it_reports_a_call_has_kept_that_call(
    count: int, models: ServerProcess, database: str
) -> None:
    thread = Round(models, database, f"told-{count}")
    thread.kill_after("call.finished", count)
    assert thread.finish().before in ("running", "interrupted")  # the server may not have seen the end yet


def test_an_answer_that_was_reported_is_there_when_its_run_is_killed_before_the_end(
    models: ServerProcess, database: str
) -> None:
    thread = Round(models, database, "answer")
    thread.kill_after("aggregator", 1)
    thread.finish()
    assert set(thread.counts().values()) == {1}


def test_of_two_processes_that_resume_a_thread_one_runs_and_the_other_is_told_at_once(
    models: ServerProcess, database: str
) -> None:
    contend(models, database)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_of_the_server_in_mid_run_costs_nothing(
    mode: str, database: str, postgres: PostgresServer
) -> None:
    made = Mixture(refine_a=Model("A", wait=lambda: asyncio.to_thread(postgres.restart, mode)))
    async with open_store(database) as store:
        run = await made.runs(store).start("Why?", thread="t")
        assert (run.status, run.saved, [p["id"] for p in run.proposals]) == ("answered", True, IDS)
        assert (await made.runs(store).status("t")).answer == "By z."
    assert set(made.calls.values()) == {1}


async def test_a_server_that_is_gone_for_some_seconds_in_mid_run_only_delays_it(
    database: str, postgres: PostgresServer
) -> None:
    back = threading.Timer(GONE, postgres.start)

    def stop() -> None:
        postgres.stop("immediate")
        back.start()

    made = Mixture(refine_a=Model("A", wait=lambda: asyncio.to_thread(stop)))
    async with open_store(database) as store:
        run = await made.runs(store).start("Why?", thread="t")
        back.join()
        assert (run.status, run.saved, [p["id"] for p in run.proposals]) == ("answered", True, IDS)
    assert set(made.calls.values()) == {1}
