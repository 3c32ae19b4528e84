from __future__ import annotations

import json
import sqlite3

from tests.cli.conftest import Moa, SpecFile
from tests.cli.threaded import ask


def test_each_checkpoint_is_a_line_under_its_turn(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a", "400"]], "ok@z")
    ask(spec)
    ask(spec, question="And \x1b[2Jnow?", breakpoints=["aggregator"])
    moa("edit", "t1", "layer-1/ok-a", "--drop", "--who", "ann\x1b[2J")
    result = moa("history", "t1")
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["#", "time", "event", "next", "ok", "failed", "calls", "cost"]
    assert lines[0] == "── turn 1: Why?"
    assert lines[4] == "── turn 2: And now?"
    # number, day, time, event …, next, ok, failed, calls, cost
    rows = [line.split() for line in lines if not line.startswith("──")]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [row[3:5] for row in rows[:5]] == [
        ["question", "layer-1"],
        ["layer-1", "aggregator"],
        ["aggregator", "–"],
        ["question", "layer-1"],
        ["layer-1", "aggregator"],
    ]
    assert rows[2][5:8] == ["1", "1", "3"]
    assert rows[5][3:9] == ["dropped", "layer-1/ok-a", "by", "ann", "aggregator", "0"]


def test_a_fork_says_where_it_comes_from_and_its_origin_lists_it(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    moa("fork", "t1", "--checkpoint", "1")
    moa("fork", "t1~1", "--to", "deep")
    assert moa("history", "t1~1").stdout.startswith("t1~1: fork of t1 at 1\n")
    lines = moa("history", "t1").stdout.splitlines()
    assert lines[-2:] == ["fork at 1: t1~1 (interrupted)", "  fork at 0: deep (interrupted)"]
    record = json.loads(moa("history", "t1", "--json").stdout)
    assert (record["thread"], record["origin"]) == ("t1", None)
    assert [each["event"] for each in record["checkpoints"]] == ["question", "layer-1", "aggregator"]
    assert [(each["thread"], each["number"]) for each in record["forks"]] == [("t1~1", 1), ("deep", 0)]
    origin = json.loads(moa("history", "deep", "--json").stdout)["origin"]
    assert (origin["thread"], origin["number"]) == ("t1~1", 0)


def test_an_origin_that_is_gone_is_said_to_be(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    moa("fork", "t1")
    moa("delete", "t1", "--yes")
    assert moa("history", "t1~1").stdout.startswith("t1~1: fork of t1, which is gone\n")


def test_a_fork_that_cannot_be_read_is_listed_all_the_same(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    moa("fork", "t1")
    with sqlite3.connect("moa.db") as connection:
        connection.execute("DELETE FROM writes WHERE thread_id = 't1~1'")
        connection.execute("DELETE FROM checkpoints WHERE thread_id = 't1~1'")
    connection.close()
    assert moa("history", "t1").stdout.splitlines()[-1].startswith("fork at 2: t1~1")


def test_an_unknown_thread_ends_with_2(moa: Moa) -> None:
    assert moa("history", "t1").exit_code == 2
