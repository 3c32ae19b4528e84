from __future__ import annotations

import subprocess

import pytest

from moa_graph.runs.commands import command, thread_name

ODD = ["a b", 'it\'s "q"', "-dash", "🍵", "new\nline", "esc\x1b[31mred", "$HOME", "~1", "a  b", "\\"]


@pytest.mark.parametrize("thread", ODD)
def test_a_shell_reads_the_id_as_it_is(thread: str) -> None:
    typed = command("resume", thread, options=("--db x",))
    assert typed.isprintable()
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {typed}"], capture_output=True, check=True, text=True
    ).stdout.split("\0")
    assert [word for word in words if word != "--"] == ["moa", "resume", "--db", "x", thread, ""]


def test_what_follows_an_id_with_a_dash_stands_before_it() -> None:
    assert command("fork", "t", "--before draft") == "moa fork t --before draft"
    assert command("fork", "-t", "--before draft") == "moa fork --before draft -- -t"


def test_only_an_id_that_disturbs_a_line_is_shown_quoted() -> None:
    assert thread_name("a  b") == "a  b"
    assert thread_name("a\nb") == "$'a\\x0ab'"
