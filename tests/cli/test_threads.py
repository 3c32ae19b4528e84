from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from moa_graph.cli.tables import columns, family
from moa_graph.runs.summaries import Summary
from tests.cli.conftest import Moa, SpecFile
from tests.cli.threaded import ask, with_store


def summary(thread: str, created: int, origin: str | None = None) -> Summary:
    return Summary(thread, "answered", "", "Why?", 1, origin, f"2026-01-01T00:00:{created:02d}", "")


def test_a_store_that_is_not_there_is_not_made_by_looking(moa: Moa) -> None:
    result = moa("threads", "--db", "sqlite:///mistyped.db")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "mistyped.db does not exist" in result.stderr
    assert not Path("mistyped.db").exists()


def test_an_empty_store_has_no_threads(moa: Moa) -> None:
    with_store(lambda runs: runs.threads())
    result = moa("threads")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "there are no threads yet\n")
    assert json.loads(moa("threads", "--json").stdout) == {"threads": []}


def test_each_thread_is_a_line_and_forks_stand_below_their_origin(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a"]], "ok@z")
    ask(spec, "t1", "Why is that?\nReally?")
    moa("fork", "t1")
    moa("fork", "t1~1", "--to", "deep")
    ask(spec, "t2", breakpoints="all")
    result = moa("threads")
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["thread", "status", "turns", "last", "used", "question"]
    assert [line.split()[:3] for line in lines] == [
        ["t2", "interrupted", "1"],
        ["t1", "answered", "1"],
        ["t1~1", "answered", "1"],
        ["deep", "answered", "1"],
    ]
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 0, 2, 4]
    assert lines[1].endswith("Why is that? Really?")
    found = json.loads(moa("threads", "--json").stdout)["threads"]
    assert {each["thread"]: each["forked_from"] for each in found} == {
        "t1": None,
        "t2": None,
        "t1~1": "t1",
        "deep": "t1~1",
    }


def test_a_fork_whose_origin_is_gone_stands_alone_and_says_whose_it_is(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    moa("fork", "t1")
    moa("delete", "t1", "--yes")
    line = moa("threads").stdout.splitlines()[1]
    assert line.startswith("t1~1")
    assert line.endswith("(fork of t1)")


def test_terminal_escapes_in_ids_and_questions_are_stripped(moa: Moa, served: SpecFile) -> None:
    ask(served([], "ok@z"), "red\x1b[31m thread", "Why\x1b]0;owned\x07?")
    result = moa("threads")
    assert "\x1b" not in result.stdout
    assert "$'red\\x1b[31m thread'" in result.stdout, "as it can be typed"
    assert "Why?" in result.stdout


def test_a_thread_that_cannot_be_read_is_listed_with_the_reason_and_can_be_deleted(
    moa: Moa, served: SpecFile
) -> None:
    ask(served([], "ok@z"))
    with sqlite3.connect("moa.db") as connection:
        connection.execute("UPDATE moa_threads SET record = X'C0'")
    connection.close()
    line = moa("threads").stdout.splitlines()[1]
    assert line.split()[:2] == ["t1", "unreadable"]
    assert moa("delete", "t1", "--yes").exit_code == 0
    assert moa("threads").stdout == ""


def test_a_thread_that_took_the_name_of_a_deleted_origin_is_not_the_origin() -> None:
    old, new = summary("a~1", 1, "a"), summary("a", 2, "a~1")
    assert [(depth, each.thread) for depth, each in family([old, new])] == [(0, "a~1"), (1, "a")]
    assert [(depth, each.thread) for depth, each in family([summary("a", 1, "a")])] == [(0, "a")]


def test_wide_and_combining_signs_keep_the_columns_straight() -> None:
    assert columns([("漢字", "1"), ("e\u0301", "20")], right={1}) == ["漢字   1", "e\u0301     20"]


def test_looking_leaves_the_file_of_another_program_as_it_is(moa: Moa, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    result = moa("threads", "--db", "sqlite:///other.db")
    assert result.exit_code == 2
    assert f"there are no threads in {path}" in result.stderr
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["other.db"]
