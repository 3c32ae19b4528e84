from __future__ import annotations

import asyncio
import json
import shlex
import shutil

import pytest
from typer.testing import Result

from moa_graph.runs.threads import Runs
from tests.cli.conftest import Moa, SpecFile
from tests.cli.threaded import ask, with_store


def test_an_interrupted_turn_says_what_is_done_paid_and_left(moa: Moa, served: SpecFile) -> None:
    slot = {"price": {"input": 1, "output": 2}, "max_tokens": 9}
    ask(served([["ok@a", "400"], ["ok@b"]], "ok@z", slot=slot), breakpoints=["layer-2"])
    result = moa("status", "t1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:6] == [
        "t1: interrupted (before layer-2)",
        "question: Why?",
        "  layer-1     1 ok, 1 failed of 2",
        "  layer-2     0 of 1, next",
        "  aggregator  waits",
        "failed:",
    ]
    assert lines[6].startswith("  layer-1/400: bad_request: ")
    assert lines[7].startswith("paid so far: 2 calls, ")
    assert lines[8].startswith("left: 2 calls, cost at most $0.00")
    assert lines[9:] == ["go on: moa resume t1", "one step only: moa step t1"]


def test_an_answered_turn_says_who_answered(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], {"model": "500", "fallbacks": ["ok@z"]}))
    out = moa("status", "t1").stdout
    assert "  aggregator  answered by ok-z" in out
    assert "  aggregator/500: server_error" in out
    assert "left: nothing\nsee it: moa show t1\n" in out


def test_a_failed_turn_says_why_and_what_the_layer_has_so_far(moa: Moa, served: SpecFile) -> None:
    layer = {"proposers": ["ok@a", "400"], "quorum": 2}
    ask(served([layer], "ok@z"))
    out = moa("status", "t1").stdout
    assert out.startswith("t1: failed (QuorumNotMet: ")
    assert "  layer-1     1 ok, 1 failed of 2, next\n" in out
    assert "go on: moa resume t1" in out


def test_a_turn_before_the_aggregator_and_an_unknown_price(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z", slot={}), breakpoints=["aggregator"])
    out = moa("status", "t1").stdout
    assert "  aggregator  next" in out
    assert "left: 1 call, cost unknown" in out


def test_a_turn_that_is_run_now_is_said_to_be(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"), breakpoints="all")

    async def while_leased(runs: Runs) -> tuple[Result, Result]:
        record = await runs.record("t1")
        record.turn.status, record.turn.reason = "running", ""
        await record.save(runs._store)
        async with runs._store.lease("t1"):
            leased = await asyncio.to_thread(moa, "status", "t1")
        return leased, await asyncio.to_thread(moa, "status", "t1")

    leased, left = with_store(while_leased)
    assert leased.stdout.startswith("t1: running\n")
    assert leased.stdout.endswith("somebody runs it now\n")
    assert left.stdout.startswith("t1: interrupted (its process ended without a word)\n")


def test_json_is_the_whole_run(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"), breakpoints=["aggregator"])
    record = json.loads(moa("status", "t1", "--json").stdout)
    assert (record["thread"], record["status"], record["next_layer"], record["calls_left"]) == (
        "t1",
        "interrupted",
        "aggregator",
        1,
    )
    assert [proposal["id"] for proposal in record["proposals"]] == ["layer-1/ok-a"]


def test_an_unknown_thread_ends_with_2_and_the_ids_that_are_near(moa: Moa, served: SpecFile) -> None:
    ask(served([], "ok@z"), "taxes-2024")
    result = moa("status", "taxes-2025")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no thread 'taxes-2025' in sqlite:///moa.db" in result.stderr
    assert "Did you mean 'taxes-2024'?" in result.stderr
    assert "See which there are with `moa threads`" in moa("status", "quite other").stderr


@pytest.mark.parametrize("thread", ["it's", "a b", "-x", "plain"])
def test_what_to_type_next_is_quoted_and_names_the_store(moa: Moa, served: SpecFile, thread: str) -> None:
    ask(served([["ok@a"]], "ok@z"), thread, breakpoints="all")
    shutil.copy("moa.db", "other.db")
    out = moa("status", "--db", "sqlite:///other.db", "--", thread).stdout
    line = next(line for line in out.splitlines() if line.startswith("go on: "))
    words = shlex.split(line.removeprefix("go on: "))
    assert words[:4] == ["moa", "resume", "--db", "sqlite:///other.db"]
    assert words[-1] == thread
